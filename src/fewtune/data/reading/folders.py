"""A folder of class folders: `root/class/**/file`, or the same below `root/train`, `root/val`, `root/test`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from fewtune.data.examples import NO_SPLIT, Examples, Skipped, make_examples
from fewtune.data.items import Files, Items, Texts
from fewtune.data.reading.order import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, SPLIT_WORDS, TEXT_SUFFIXES, ignored, natural, some
from fewtune.data.reading.walk import walk
from fewtune.data.skipped_folders import folders_in, unseen_folders
from fewtune.errors import InputError
from fewtune.files import read_regular

LAYOUT = "expected one folder for each class with its files inside, as in birds/robin/1.jpg (or train/robin/1.jpg and test/robin/2.jpg)"


@final
@dataclass(frozen=True)
class Found:
    """One file below the root: the parts of its path after the split folder, and the split."""

    path: Path
    parts: tuple[str, ...]
    split: int

    @property
    def inner(self) -> str | None:
        """The folder below the class folder, None if there is none."""
        return self.parts[1] if len(self.parts) > 2 else None


def read_folder(root: Path, *, label: str | None = None, name: str | None = None, recursive: bool = True) -> Examples:
    """Images (or .txt texts) in class folders; the class is the outermost folder below the root or its split folders.

    If all files are two folders deep and the inner names repeat (photo/dog, sketch/dog), either folder could be the class, so `label` is
    needed: "inner" (class dog, group photo), "outer" (class photo) or "both" (class "photo dog", group photo).
    Links are followed, each folder once. Hidden files are skipped silently; other files are listed in `skipped`.
    Raises InputError for an empty or flat folder, for files beside class folders, and for images mixed with texts.
    """
    if label not in (None, "inner", "outer", "both"):
        raise InputError(f"a folder has no label column {label!r}: label can be inner, outer or both (it says which folder is the class).")
    splits = _split_folders(root)
    found, skipped = _collect(root, splits, recursive)
    images = [f for f in found if f.path.suffix.lower() in IMAGE_SUFFIXES]
    texts = [f for f in found if f.path.suffix.lower() in TEXT_SUFFIXES]
    if images:  # a README.txt or a list of classes beside the class folders is not an example
        skipped += [Skipped(f.path.name, "a text beside class folders of images") for f in texts if len(f.parts) == 1]
        texts = [f for f in texts if len(f.parts) > 1]
    rows = images or texts
    _refuse(root, images, texts, rows, skipped)
    if images and texts:
        first = "/".join(texts[0].parts)
        raise InputError(
            f"{root} holds {len(images)} images and {len(texts)} texts (such as {first}): expected one kind, so move the others away."
        )
    label = label or _which(root, rows)
    spelled, groups = zip(*(_class_and_group(f, label) for f in rows), strict=True)
    classes = [name.strip() for name in spelled]
    if "" in classes:
        raise InputError(f"the class folder of {rows[classes.index('')].path} has a name of blanks only: rename it.")
    items: Items = Files([f.path for f in rows]) if images else Texts([read_text(f.path).strip() for f in rows])
    made = make_examples(
        items,
        classes,
        name=name or root.resolve().name,
        class_names=sorted(set(classes), key=natural),
        row_names=[f.path.relative_to(root).as_posix() for f in rows],
        groups=list(groups) if label != "outer" else None,
        row_split=np.array([f.split for f in rows], dtype=np.int64),
    )
    remarks = (*_blanks(spelled), *unseen_folders(root, splits, _class_folders(root, splits, rows)))
    return replace(made, skipped=tuple(skipped), remarks=remarks)


def _blanks(names: Sequence[str]) -> list[str]:
    """Sentences on class folders whose names begin or end with a blank: the blanks are removed from the class names."""
    by_class: dict[str, set[str]] = defaultdict(set)
    for name in names:
        by_class[name.strip()].add(name)
    said = []
    for name, folders in sorted(by_class.items()):
        listed = " and ".join(repr(folder) for folder in sorted(folders))
        if len(folders) > 1:
            said.append(f"The class folders {listed} differ only in blanks and are read as one class, {name!r}.")
        elif folders != {name}:
            said.append(f"The class folder {listed} begins or ends with a blank; its class is called {name!r}.")
    return said


def reason_to_skip(path: Path) -> str | None:
    """Why a file is not an example, or None."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in TEXT_SUFFIXES:
        return None
    if suffix == ".avif":
        return "AVIF is not supported; convert it to JPEG or PNG"
    if suffix in ARCHIVE_SUFFIXES:
        return "an archive; unpack it"
    return f"not an image or a text (suffix {path.suffix!r})" if suffix else "not an image or a text (no suffix)"


def _class_folders(root: Path, splits: dict[str, int], rows: list[Found]) -> set[str]:
    """The class folders that gave examples, as "robin" or "train/robin"."""
    first, most = len(root.parts), 2 if splits else 1
    return {"/".join(f.path.parts[first : first + most]) for f in rows}


def _collect(root: Path, splits: dict[str, int], recursive: bool) -> tuple[list[Found], list[Skipped]]:
    skipped: list[Skipped] = []
    found: list[Found] = []
    for path in walk(root, skipped, recursive=True):
        parts = path.relative_to(root).parts
        if why := reason_to_skip(path):
            skipped.append(Skipped("/".join(parts), why))
        elif splits and parts[0] not in splits:
            skipped.append(Skipped("/".join(parts), f"beside the split folders {', '.join(splits)}"))
        elif splits and len(parts) == 2:
            skipped.append(Skipped("/".join(parts), "in a split folder, but not in a class folder"))
        else:
            found.append(Found(path, parts[1:], splits[parts[0]]) if splits else Found(path, parts, NO_SPLIT))
            if not recursive and len(found[-1].parts) > 2:
                skipped.append(Skipped("/".join(found.pop().path.relative_to(root).parts), "deeper than a class folder"))
    return found, skipped


def _split_folders(root: Path) -> dict[str, int]:
    """Folder name -> split, if the root has the layout train/class/file; else empty."""
    try:
        folders = [e for e in os.scandir(root) if os.path.isdir(e.path) and not ignored(e.name)]  # noqa: PTH112  (no errors)
    except OSError as problem:
        raise InputError(f"{root} cannot be read: {problem.strerror}.") from None
    splits = {e.name: SPLIT_WORDS[e.name.casefold()] for e in folders if SPLIT_WORDS.get(e.name.casefold(), NO_SPLIT) != NO_SPLIT}
    nested = any(not ignored(folder.name) for name in splits for folder in folders_in(root / name))
    alone = len(splits) == len(folders)
    return splits if nested and (alone or len(set(splits.values())) > 1) else {}


def _refuse(root: Path, images: list[Found], texts: list[Found], rows: list[Found], skipped: list[Skipped]) -> None:
    if not rows:
        seen = f"only {some(f'{s.name} ({s.reason})' for s in skipped[:3])}" if skipped else "nothing"
        raise InputError(f"{root} holds no images or texts, {seen} was found: {LAYOUT}.")
    loose = [f.path.name for f in rows if len(f.parts) == 1]
    if loose and len(loose) == len(rows):
        raise InputError(f"{root} holds {len(images) or len(texts)} files such as {loose[0]} but no class folders: {LAYOUT}.")
    if loose:
        raise InputError(f"{root} holds files beside its class folders ({some(loose, 3)}), so their class is unknown: {LAYOUT}.")


def _which(root: Path, rows: list[Found]) -> str:
    """ "outer". Raises InputError if the inner folders look like the classes."""
    if any(f.inner is None for f in rows):
        return "outer"
    outers: dict[str, set[str]] = defaultdict(set)
    for f in rows:
        outers[f.inner or ""].add(f.parts[0])
    repeated = sorted((inner for inner, where in outers.items() if len(where) > 1), key=natural)
    if len(repeated) < 2:
        return "outer"
    raise InputError(
        f"{root} holds files two folders deep and the inner folders repeat ({some(repeated, 3)}), so the class is unclear: "
        "pass label=inner (the inner folder is the class, the outer its group), label=outer, or label=both."
    )


def _class_and_group(found: Found, label: str) -> tuple[str, str | None]:
    outer, inner = found.parts[0], found.inner
    if label == "outer" or inner is None:
        return outer, None
    return (inner, outer) if label == "inner" else (f"{outer.strip()} {inner.strip()}", outer)


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError if it is not UTF-8 or cannot be read."""
    try:
        return read_regular(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as problem:
        raise InputError(f"{path} is not UTF-8 text (byte {problem.start}): save it as UTF-8.") from None
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror}.") from None
