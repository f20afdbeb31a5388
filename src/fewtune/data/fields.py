"""Texts of several fields, such as a premise and a hypothesis: one string, with an ASCII unit separator between its fields.

So a pair of texts is stored, compared and hashed like any other text. Only the preparation of a backbone takes it apart.
"""

from __future__ import annotations

from collections.abc import Sequence

DIVIDER = "\x1f"
TYPED = "|||"  # what people type between two fields
_MARKS = str.maketrans(dict.fromkeys("\x02\x03\x1a\x1e\x1f", " "))  # characters that divide fields or mark a filled template


def cleaned(text: str) -> str:
    """A text without the characters that divide fields or mark a filled template; they become blanks."""
    return text.translate(_MARKS)


def joined(fields: Sequence[str]) -> str:
    """One string of several fields. If all of them are blank, it is empty, like a missing text."""
    return DIVIDER.join(map(cleaned, fields)) if any(field.strip() for field in fields) else ""


def fields_of(text: str, count: int) -> tuple[str, ...]:
    """The fields of a text. With fewer than `count`, the others are empty; what is beyond them belongs to the last one.

    >>> fields_of("It rains." + DIVIDER + "It is wet.", 2)
    ('It rains.', 'It is wet.')
    """
    found = text.split(DIVIDER, count - 1)
    return (*found, *[""] * (count - len(found)))


def shown(text: str) -> str:
    """A text for people: ` | ` between its fields."""
    return text.replace(DIVIDER, " | ")
