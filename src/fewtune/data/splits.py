"""Splits of classes: training, validation and test use different classes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewtune.data.examples import NO_SPLIT, SPLITS, TEST, TRAIN, VALIDATION, Examples, Integers
from fewtune.data.reading.order import SPLIT_WORDS
from fewtune.data.rotations import unturned
from fewtune.errors import InputError, unknown
from fewtune.files import read_regular
from fewtune.keys import key


def split_classes(
    examples: Examples,
    names: Mapping[str, Sequence[str]] | Path | str | None = None,
    *,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
) -> Examples:
    """The same collection with every class in one split.

    `names`: split -> class names ({"train": [...], "test": [...]}; classes that it does not name have no split), or a file with it: JSON
    ({"train": [...]} or {"class": "train"}) or CSV (columns class and split). None: a random split by `seed`. The classes are put in an
    order that depends only on the seed and on each class's name, and are cut by `fractions` (train, validation, test; rounded to whole
    classes; train and test get at least one class if their fraction is above zero). Raises InputError for unknown classes (with the nearest
    names), unknown splits, and a class in two splits.
    """
    if names is None:
        codes = _by_seed(examples.class_names, fractions, seed)
    else:
        codes = _by_name(examples, _read(Path(names)) if isinstance(names, str | Path) else names)
    return replace(examples, class_split=codes)


def _by_seed(classes: Sequence[str], fractions: tuple[float, float, float], seed: int) -> Integers:
    total = len(classes)
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions are {fractions}: expected three numbers of at least 0 that sum to 1 (train, validation, test).")
    order = sorted(range(total), key=lambda c: (key(seed, "class split", classes[c]).value, classes[c]))
    edges = np.rint(np.cumsum((0.0, *fractions)) * total).astype(np.int64)
    sizes = np.diff(edges)
    for asked in (TRAIN, TEST):  # takes a class from another split if it is empty
        if fractions[asked] > 0 and sizes[asked] == 0:
            spare = {s: int(sizes[s]) for s in (VALIDATION, TRAIN, TEST) if sizes[s] > (s != VALIDATION)}
            if spare:
                sizes[max(spare, key=lambda s: spare[s])] -= 1
                sizes[asked] = 1
    codes = np.full(total, NO_SPLIT, dtype=np.int64)
    codes[order] = np.repeat([TRAIN, VALIDATION, TEST], sizes)
    return codes


def _by_name(examples: Examples, names: Mapping[str, Sequence[str]]) -> Integers:
    index = {name: c for c, name in enumerate(examples.class_names)}
    codes = np.full(len(index), NO_SPLIT, dtype=np.int64)
    for split, members in names.items():
        code = SPLIT_WORDS.get(split.casefold())
        if code is None:
            raise unknown("split", split, SPLITS)
        for member in [members] if isinstance(members, str) else members:
            if member not in index:
                raise unknown(f"class in the {split} split of {examples.name}", str(member), index)
            if codes[index[member]] not in (NO_SPLIT, code):
                raise InputError(f"class {member!r} is in two splits: expected each class in at most one.")
            codes[index[member]] = code
    return codes


def _read(path: Path) -> Mapping[str, Sequence[str]]:
    """Split -> class names, from a JSON or CSV file."""
    try:
        text = read_regular(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: expected a JSON or CSV file with the split of each class.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} cannot be read as UTF-8 text: {problem}.") from None
    pairs = _json_pairs(path, text) if path.suffix.lower() == ".json" else _csv_pairs(path, text)
    found: dict[str, list[str]] = {}
    for split, name in pairs:
        found.setdefault(split, []).append(name)
    return found


def _json_pairs(path: Path, text: str) -> list[tuple[str, str]]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is not JSON: {problem}.") from None
    if isinstance(table, dict) and all(isinstance(v, list) for v in table.values()):
        return [(split, str(name)) for split, names in table.items() for name in names]
    if isinstance(table, dict) and all(isinstance(v, str) for v in table.values()):
        return [(split, name) for name, split in table.items()]
    raise InputError(f'{path}: expected {{"train": ["class", ...], "test": [...]}} or {{"class": "train", ...}}.')


def _csv_pairs(path: Path, text: str) -> list[tuple[str, str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as problem:
        raise InputError(f"{path} cannot be read as CSV: {problem}.") from None
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    if header not in (["class", "split"], ["split", "class"]) or any(len(row) != 2 for row in rows):
        raise InputError(f"{path}: expected a CSV file with the two columns class and split, found {', '.join(header) or 'nothing'}.")
    at, of = header.index("split"), header.index("class")
    return [(row[at].strip(), row[of].strip()) for row in rows[1:]]


def held_out(examples: Examples, fraction: float = 0.2, seed: int = 0) -> Examples:
    """The same collection with validation classes: if it has none, `fraction` of its training classes (at least two) become them.

    Training classes are the classes in the train split or, in a collection without class splits, all classes. Test classes are never used.
    The choice depends only on the seed and the class names. All turns of one class (`rotated`) go together, so that validation classes are
    never turned training classes. Two classes must remain to train on: with fewer than four training classes, or if all of them are turns
    of too few classes, the collection is returned without validation classes. Raises InputError for a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction is {fraction:g}: expected a number between 0 and 1.")
    codes = examples.class_split.copy()
    if (codes == NO_SPLIT).all():
        codes[:] = TRAIN
    train = np.flatnonzero(codes == TRAIN)
    if (codes == VALIDATION).any() or len(train) < 4:
        return examples
    wanted = min(max(2, round(fraction * len(train))), len(train) - 2)
    names, families = set(examples.class_names), dict[str, list[int]]()
    for c in train.tolist():
        families.setdefault(unturned(examples.class_names[c], names), []).append(c)
    chosen: list[int] = []
    for name in sorted(families, key=lambda name: (key(seed, "held out", name).value, name)):
        if len(chosen) < wanted and len(chosen) + len(families[name]) <= len(train) - 2:
            chosen += families[name]
    if len(chosen) < 2:
        return examples
    codes[chosen] = VALIDATION
    return replace(examples, class_split=codes)
