"""Items that cannot be read: listed and left without a label, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewtune.data.examples import Examples

LISTED = 20


def refuse_bad(examples: Examples, bad: Mapping[int, str], strict: bool) -> None:
    """Raise InputError with the items that cannot be read: if there is one and `strict`, or if they are all."""
    from fewtune.data.unreadable import refuse_unreadable

    if strict and len(bad) < len(examples):
        refuse_unreadable(examples, bad, "Repair or remove them, or leave out --strict.")
    elif len(bad) == len(examples):
        refuse_unreadable(examples, bad, "There is nothing to label.")


def listed_bad(examples: Examples, bad: Mapping[int, str]) -> tuple[str, ...]:
    """A sentence on the items that cannot be read, none where there are none."""
    from fewtune.data.reading.order import some
    from fewtune.words import counted

    if not bad:
        return ()
    named = some((f"{examples.row_names[row]} ({reason})" for row, reason in sorted(bad.items())), LISTED)
    return (f"{counted(len(bad), 'item', ('was', 'were'))} skipped and {'has' if len(bad) == 1 else 'have'} no label: {named}.",)
