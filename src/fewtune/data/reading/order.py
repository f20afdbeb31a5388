"""What all readers share: which files are images or texts, which files the system made, the names of splits, and natural order."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fewtune.data.examples import NO_SPLIT, TEST, TRAIN, VALIDATION

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .heic .heif .hif".split()  # noqa: SIM905
)
TEXT_SUFFIXES = frozenset({".txt"})
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
SPLIT_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
    "": NO_SPLIT,
    "any": NO_SPLIT,
    "none": NO_SPLIT,
}
_NOBODYS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"})


def ignored(name: str) -> bool:
    """Whether a file or folder is hidden or was made by the system, not by a person: Thumbs.db, __MACOSX, ..."""
    return name.startswith(".") or name.casefold() in _NOBODYS


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key: digits are compared as numbers and letters without case; of equal names, the exact spelling decides."""
    parts = re.split(r"(\d{1,4000})", name)  # Python refuses to convert longer digits to a number
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]
    return (*keys, (2, 0, name))


def some(names: Iterable[str], shown: int = 5) -> str:
    """The first few names, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
