"""Why rows cannot be read, and refusing them by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewtune.data.examples import Examples
from fewtune.data.images import why_unreadable
from fewtune.data.items import NO_FILE, Files, Items, Texts, Vectors, not_finite
from fewtune.data.subset import source_of
from fewtune.data.threads import in_threads
from fewtune.errors import InputError

_SHOWN = 5  # rows in a message
_NOT_FINITE = "it holds NaN or infinite values"


def unreadable(examples: Examples, deep: bool = False) -> dict[int, str]:
    """Row -> why it cannot be used: an image that does not decode, an empty text, a vector with NaN. Threads do the reading.

    If not `deep`, only the headers of images are read, so a file that is cut off in the middle is not noticed.
    """

    if isinstance(examples.items, Vectors):
        return dict.fromkeys(not_finite(examples.items.vectors).tolist(), _NOT_FINITE)

    def one(row: int) -> str | None:
        items, at = source_of(examples.items, row)
        return reason_of(items, at, deep, None)

    return {row: reason for row, reason in enumerate(in_threads(one, len(examples))) if reason is not None}


def refuse_unreadable(examples: Examples, bad: Mapping[int, str], todo: str = "Repair or remove them.") -> None:
    """Raise InputError with the names of the rows that cannot be read, if there are any. `todo`: what to do, as a sentence."""
    if bad:
        listed = "; ".join(f"{examples.row_names[row]} ({reason})" for row, reason in sorted(bad.items())[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise InputError(f"{len(bad)} of {len(examples)} rows cannot be read: {listed}{more}. {todo}")


def reason_of(items: Items, row: int, deep: bool, content: bytes | Path | None) -> str | None:
    """Why one row cannot be used, or None. `content`: its encoded image, if it was read already."""
    if isinstance(items, Texts):
        if (known := items.problems.get(row)) is not None:
            return known
        return None if items.texts[row].strip() else "the text is empty"
    if isinstance(items, Vectors):
        return None if np.isfinite(items.vectors[row]).all() else _NOT_FINITE
    source = content if content is not None else encoded_image(items, row, deep)
    if isinstance(source, str):
        return source
    if source is None:
        return why_lost(items, row) if deep else None
    return _tidy(why_unreadable(source, deep=deep))


def why_lost(items: Items, row: int) -> str | None:
    """Why a picture that is decoded already cannot be used, or None (it may have too many pixels, or its file may be broken)."""
    try:
        items.fetch(row)
    except InputError as problem:
        return str(problem).rsplit(": ", 1)[-1].rstrip(".")
    return None


def short_reason(sentence: str) -> str:
    """Why a row cannot be read, from a sentence that begins with its name."""
    for words in (" cannot be read as an image: ", " cannot be read: "):
        sentence = sentence.rpartition(words)[2]
    return sentence.rstrip(".")


def _tidy(reason: str | None) -> str | None:
    return None if reason is None else reason.rstrip(".")


def encoded_image(items: Items, row: int, deep: bool) -> bytes | Path | str | None:
    """A row's encoded image (only its path if not deep), the reason why it cannot be read (a str), or None if it is decoded already."""
    if isinstance(items, Files) and not deep:
        return items.paths[row] or NO_FILE
    try:
        content: bytes | None = items.read(row) if hasattr(items, "read") else None
        return content
    except InputError as problem:
        return str(problem).rsplit(": ", 1)[-1].rstrip(".")
