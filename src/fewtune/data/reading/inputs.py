"""Inputs for a saved model to label: files, folders, tables and texts, in the order given, without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from fewtune.data.examples import Examples, Integers, Skipped, make_examples, on_disk, source_of
from fewtune.data.excel import OTHER_SHEETS
from fewtune.data.items import Files, Item, Items, Modality, Pixels, Texts, Wanted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.folders import read_text
from fewtune.data.reading.order import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, TEXT_SUFFIXES
from fewtune.data.reading.read import TABLE_SUFFIXES, read_asked
from fewtune.data.reading.walk import walk
from fewtune.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Chained:
    """Several collections of items, one after another."""

    parts: Sequence[Items]
    starts: Integers
    modality: Modality

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def on_disk(self) -> bool:
        return any(on_disk(part) for part in self.parts)

    def locate(self, row: int) -> tuple[Items, int]:
        """The items that hold a row, and its number there."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part], row - int(self.starts[part])

    def fetch(self, row: int, size_hint: int | None = None) -> Item:
        items, local = self.locate(row)
        return items.fetch(local, size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        items, local = self.locate(row)
        return items.digest(local)


def read_inputs(paths: Sequence[Path], texts: Sequence[str], wanted: Wanted | Modality, column: str | None = None) -> Examples:
    """The rows to label; `row_names` are paths as given, "table.csv:3" (the third row of a table), or the texts themselves.

    A folder stands for every image (or .txt file, for texts) below it, in natural order. Links to folders are followed, and each folder is
    read once, as in `read_folder`. `wanted`: what the model labels. Raises InputError for a path that does not exist, holds nothing to
    label, or holds another modality.
    """
    wanted = wanted if isinstance(wanted, Wanted) else Wanted(wanted)
    modality = wanted.modality
    parts: list[tuple[Items, list[str]]] = []
    skipped: list[Skipped] = []
    for path in paths:
        made, left = _one(path, wanted, column)
        parts.append(made)
        skipped += left
    if texts:
        if modality != "text":
            raise InputError(f"this model labels {modality}s, but a text was given: give {modality} files instead.")
        parts.append((Texts(list(texts)), list(texts)))
    if not parts:
        raise InputError(
            f"expected something to label: {'files, folders, tables or texts' if modality == 'text' else 'files, folders or tables'}."
        )
    starts = np.cumsum([0, *(len(items) for items, _ in parts)])
    names = [name for _, listed in parts for name in listed]
    whole = make_examples(Chained([items for items, _ in parts], starts, modality), row_names=names, name="inputs")
    return replace(whole, skipped=tuple(skipped))


def taught_size(examples: Examples) -> tuple[int, ...] | None:
    """Height and width, if the rows were given as one array of grey pictures [N, H, W]; else None (see `Wanted`)."""
    items = source_of(examples.items, 0)[0] if len(examples) else examples.items
    return items.pixels.shape[1:] if isinstance(items, Pixels) and items.pixels.ndim == 3 else None


def _one(path: Path, wanted: Wanted, column: str | None) -> tuple[tuple[Items, list[str]], list[Skipped]]:
    modality = wanted.modality
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir and exists raise for too long a name)
        return _folder(path, modality)
    suffix = path.suffix.lower()
    absent = not os.path.exists(path)  # noqa: PTH110
    if absent or suffix in TABLE_SUFFIXES | OTHER_SHEETS | ARCHIVE_SUFFIXES or suffix == ".npz":
        return _table(path, wanted, column), []
    if modality == "image":
        return (Files([path]), [str(path)]), []
    if modality == "text" and suffix in TEXT_SUFFIXES:
        return (Texts([read_text(path)]), [str(path)]), []
    expected = "a .txt file, or a table with a text column" if modality == "text" else "an .npz file or a table with an embedding column"
    raise InputError(f"{path}: this model labels {modality}s; expected {expected}.")


def _table(path: Path, wanted: Wanted, column: str | None) -> tuple[Items, list[str]]:
    made = read_asked(path, Asked(input=column, labelled=False, wanted=wanted))
    if made.modality != wanted.modality:
        raise InputError(f"{path} holds {made.modality}s, but this model labels {wanted.modality}s.")
    return made.items, [f"{path}:{row + 1}" for row in range(len(made))]


def _folder(path: Path, modality: Modality) -> tuple[tuple[Items, list[str]], list[Skipped]]:
    wanted = {"image": IMAGE_SUFFIXES, "text": TEXT_SUFFIXES}.get(modality)
    if wanted is None:
        raise InputError(f"{path} is a folder, but this model labels embeddings: give .npz files or tables with an embedding column.")
    passed: list[Skipped] = []
    files = list(walk(path, passed))
    skipped = [Skipped(str(path / s.name), s.reason) for s in passed]
    chosen = [f for f in files if f.suffix.lower() in wanted]
    skipped += [
        Skipped(str(f), f"not {'an image' if modality == 'image' else 'a .txt file'}") for f in files if f.suffix.lower() not in wanted
    ]
    if not chosen:
        found = f"{len(files)} other files" if files else f"no files ({passed[0].reason})" if passed else "no files"
        raise InputError(f"{path} holds {found} but nothing that this model can label: expected {modality}s.")
    items: Items = Files(chosen) if modality == "image" else Texts([read_text(f) for f in chosen])
    return (items, [str(f) for f in chosen]), skipped
