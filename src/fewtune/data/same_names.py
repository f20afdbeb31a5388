"""Matching class names of two collections that mean the same class but are written a little differently."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fewtune.data.reading.order import some
from fewtune.data.twins import folded


def plain_name(name: str) -> str:
    """A name without blanks at the ends and in the NFC form, in which an accent is part of its letter (some systems store it apart)."""
    return unicodedata.normalize("NFC", name).strip()


def match_names(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """The position in `known` of each of `names`, -1 if none matches.

    First the exact name, then the one with the same plain form, then the one that looks the same (`twins.folded`: case and blanks are
    ignored). A form that several of `known` share matches none of them.
    """
    forms: tuple[Callable[[str], str], ...] = (str, plain_name, folded)
    tables = [_unique([form(name) for name in known]) for form in forms]
    return [next((table[form(name)] for form, table in zip(forms, tables, strict=True) if form(name) in table), -1) for name in names]


def matched_in_words(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence on the pairs (name, known name) that are not exactly equal; none if all are."""
    told = [f"{name!r} for {known!r}" for name, known in sorted(set(pairs)) if name != known]
    return [f"Class names were matched though they differ in case, blanks or how accents are stored: {some(told)}."] if told else []


def _unique(names: Sequence[str]) -> dict[str, int]:
    """The position of every name that occurs once."""
    times = Counter(names)
    return {name: place for place, name in enumerate(names) if times[name] == 1}
