"""Class names of two collections that mean the same class, though they are written a little differently."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fewtune.data.reading.order import some
from fewtune.data.twins import folded


def plain_name(name: str) -> str:
    """Without blanks at the ends and with every accent part of its letter (NFC): some systems write it as a letter of its own."""
    return unicodedata.normalize("NFC", name).strip()


def match_names(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """The place in `known` of each of `names`, -1 where none fits.

    First the very same name, then the one with the same plain form, then the one that reads the same (`twins.folded`: case and
    blanks are of no account); a form that several of `known` share fits none of them.
    """
    forms: tuple[Callable[[str], str], ...] = (str, plain_name, folded)
    tables = [_unique([form(name) for name in known]) for form in forms]
    return [next((table[form(name)] for form, table in zip(forms, tables, strict=True) if form(name) in table), -1) for name in names]


def matched_in_words(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence on the (name, known name) that are not the very same, none where all are."""
    told = [f"{name!r} for {known!r}" for name, known in sorted(set(pairs)) if name != known]
    return [f"Class names were matched though they differ in case, blanks or how accents are stored: {some(told)}."] if told else []


def _unique(names: Sequence[str]) -> dict[str, int]:
    """The place of every name that occurs once."""
    times = Counter(names)
    return {name: place for place, name in enumerate(names) if times[name] == 1}
