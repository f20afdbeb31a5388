"""Class folders that gave no example: empty ones, and hidden ones with examples in them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from fewtune.data.examples import Skipped
from fewtune.data.reading.order import IMAGE_SUFFIXES, TEXT_SUFFIXES, ignored, natural, some
from fewtune.data.reading.walk import walk


def unseen_folders(root: Path, splits: Iterable[str], read: Collection[str]) -> list[str]:
    """Sentences on class folders of `root` (or of its split folders `splits`) that gave no example; empty if there are none.

    `read`: the class folders that gave examples, as "robin" or "train/robin".
    """
    empty, hidden = [], []
    for top in [root / name for name in splits] or [root]:
        for folder in folders_in(top):
            shown = folder.relative_to(root).as_posix()
            if not ignored(folder.name) and shown not in read:
                empty.append(shown)
            elif folder.name.startswith(".") and _holds_examples(folder):
                hidden.append(shown)
    said = []
    if empty:
        what = "Class folders" if len(empty) > 1 else "A class folder"
        said.append(f"{what} without an example: {some(map(repr, empty))}.")
    if hidden:
        what = "Folders whose names begin with a dot count" if len(hidden) > 1 else "A folder whose name begins with a dot counts"
        verb, them = ("were", "them") if len(hidden) > 1 else ("was", "it")
        said.append(f"{what} as hidden and {verb} skipped: {some(map(repr, hidden))}; rename {them} if that is a class.")
    return said


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, also links to folders, in natural order; none if it cannot be read."""
    try:
        return sorted((e for e in folder.iterdir() if os.path.isdir(e)), key=lambda e: natural(e.name))  # noqa: PTH112  (raises nothing)
    except OSError:
        return []


def _holds_examples(folder: Path) -> bool:
    passed: list[Skipped] = []
    return any(path.suffix.lower() in IMAGE_SUFFIXES | TEXT_SUFFIXES for path in walk(folder, passed))
