"""Names that look the same to a reader: they differ in case, in blanks, or in how an accent is stored."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def folded(name: str) -> str:
    """A name without differences in case, blanks and invisible marks; accents are kept, however they are stored."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
    shown = "".join(c for c in plain if unicodedata.category(c) != "Cf")  # zero-width blanks, joiners, byte order marks
    return " ".join(shown.split())


def twins(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of two or more different names that look the same, in order of appearance."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(folded(name), {})[name] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


def difference(names: tuple[str, ...]) -> str:
    """How twins differ, in words: "case", "how accents are stored", "blanks or invisible marks", or several of these."""
    found = []
    accents = [unicodedata.normalize("NFC", name) for name in names]
    if len(set(accents)) < len(set(names)):
        found.append("how accents are stored")
    blanks = ["".join(c for c in " ".join(name.split()) if unicodedata.category(c) != "Cf") for name in accents]
    if len(set(blanks)) < len(set(accents)):
        found.append("blanks or invisible marks")
    if len(set(blanks)) > 1:
        found.append("case")
    return " and ".join(found)
