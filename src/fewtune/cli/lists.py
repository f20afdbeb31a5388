"""One syntax of lists: `--source a b` means `--source a --source b`, for every flag that takes several values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App


def spread(app: App, words: Sequence[str]) -> list[str]:
    """The words of a command line, each value of a list behind a flag of its own.

    Only where what has no flag, such as the data, comes first: in `--source more/ photos/` the last word is the data, not a source. Words
    after "--" stay.
    """
    if not words or words[0] not in app or words[0].startswith("-"):
        return list(words)
    flagged = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    if not any(_is_value(words[place - 1]) and _is_value(words[place]) for place in range(flagged + 1, len(words))):
        return list(words)  # the flags of the command take their time to read
    lists, positional = _flags(app[words[0]])
    if not 0 < positional <= flagged - 1:
        return list(words)
    made, flag = list(words[:flagged]), ""
    for place, word in enumerate(words[flagged:], flagged):
        if word == "--":
            return [*made, *words[place:]]
        value = _is_value(word)
        if value and flag in lists and words[place - 1] != flag:
            made.append(flag)
        elif not value:
            flag = word
        made.append(word)
    return made


def _flags(command: App) -> tuple[set[str], int]:
    """(the flags that take several values, how many words without a flag there are; 0 where there may be any number)."""
    arguments = command.assemble_argument_collection(parse_docstring=False)
    lists = {name for a in arguments if a.index is None and _several(a.hint) for name in a.names}
    places = [a for a in arguments if a.index is not None]
    return lists, 0 if any(_several(a.hint) for a in places) else len(places)


def _several(hint: object) -> bool:
    return any(getattr(one, "__origin__", None) is list for one in (hint, *getattr(hint, "__args__", ())))


def _is_value(word: str) -> bool:
    return not word.startswith("-") or _number(word)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
