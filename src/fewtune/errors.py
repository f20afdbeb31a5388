"""What a person did wrong, said in one sentence: what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import final


@final
class Diverged(ValueError):  # noqa: N818  (as InputError it is a word of the field)
    """A loss is no longer a finite number. The message says where, and what to do; the command line prints it alone and exits with code
    2."""


@final
class InputError(ValueError):
    """Input that cannot be used. The command line prints its message alone and exits with code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, offering the nearest names that do."""
    names = list(known)
    # sorted puts capitals first, so of a class and a recipe alike in name the recipe is the one offered
    spelled = {n.lower(): n for n in sorted(names)}
    near = [spelled[n] for n in difflib.get_close_matches(name.lower(), list(spelled), n=3, cutoff=0.6)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are: {', '.join(sorted(names))}."
    return InputError(f"unknown {kind} {name!r}: {hint}")
