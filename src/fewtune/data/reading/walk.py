"""Every file below a folder, for all functions that read folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fewtune.data.examples import Skipped
from fewtune.data.reading.order import ignored, natural


def walk(root: Path, skipped: list[Skipped], recursive: bool = True) -> Iterator[Path]:
    """Every plain file below `root`, in natural order. With `recursive=False`, only those directly in it.

    Links are followed, but no folder is read twice, and links to a folder that holds `root` are not followed. Hidden files and folders are
    skipped silently. Whatever cannot be read or is not a plain file is appended to `skipped`. Folders may be as deep as the system allows.
    """
    seen: set[tuple[int, int]] = set()
    above = {(s.st_dev, s.st_ino) for s in map(os.stat, root.resolve().parents)}
    waiting = [iter([root])]
    while waiting:
        path = next(waiting[-1], None)
        if path is None:
            waiting.pop()
        elif os.path.isdir(path):  # noqa: PTH112  (Path.is_dir and is_file raise for a link to itself and for too long a path)
            if path == root or recursive:
                waiting.append(iter(_entries(path, root, skipped, seen, above)))
        elif os.path.isfile(path):  # noqa: PTH113
            yield path
        else:
            skipped.append(Skipped(_relative(path, root), "a broken link or not a plain file"))


def _entries(folder: Path, root: Path, skipped: list[Skipped], seen: set[tuple[int, int]], above: set[tuple[int, int]]) -> list[Path]:
    """The entries of a folder, in natural order; none if it was read already or cannot be read."""
    try:
        status = folder.stat()
        place = (status.st_dev, status.st_ino)
        found = [] if place in seen or place in above else [path for path in folder.iterdir() if not ignored(path.name)]
    except OSError as problem:
        skipped.append(Skipped(_relative(folder, root), f"the folder cannot be read: {problem.strerror}"))
        return []
    if place in seen or place in above:
        where = "was read already" if place in seen else "holds this one"
        skipped.append(Skipped(_relative(folder, root), f"a link to a folder that {where}"))
        return []
    seen.add(place)
    return sorted(found, key=lambda path: natural(path.name))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else root.name
