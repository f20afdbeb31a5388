"""Names of files and folders made from any text: allowed on every system, never outside the folder, and different for different texts."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable

from fewtune.words import harmless

_FORBIDDEN = frozenset('/\\:*?"<>|')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))})
_LONGEST = 120  # bytes; 255 is the most, and other programs add to names


def safe_name(text: str) -> str:
    """The text as the name of a file or folder. What is not allowed in one becomes "_"; it never is empty, hidden, "." or ".."."""
    letters = "".join("_" if c in _FORBIDDEN or not harmless(c) else c for c in text).strip().rstrip(". ")
    stem, suffix = os.path.splitext(letters)  # noqa: PTH122  (a text, not a path)
    if stem.casefold() in _DEVICES:
        stem += "_"
    if len(os.fsencode(suffix)) > _LONGEST // 4:
        stem, suffix = stem + suffix, ""
    while len(os.fsencode(stem + suffix)) > _LONGEST:
        stem = stem[:-1]
    letters = stem.rstrip(". ") + suffix
    return "_" + letters.lstrip(".") if not letters or letters.startswith(".") else letters


def distinct_names(texts: Iterable[str]) -> list[str]:
    """A safe name for each text. Those that differ in nothing but case or the form of accents differ on no disk: they get a number."""
    found: list[str] = []
    taken: set[str] = set()
    for text in texts:
        name = safe_name(text)
        tries = (numbered(name, number) for number in range(1, len(taken) + 2))
        found.append(next(one for one in tries if _folded(one) not in taken))
        taken.add(_folded(found[-1]))
    return found


def numbered(name: str, number: int) -> str:
    """photo.jpg, photo-2.jpg, photo-3.jpg, ..."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return name if number == 1 else f"{stem}-{number}{suffix}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
