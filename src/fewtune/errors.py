"""What a person did wrong, said in one sentence: what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import final


@final
class InputError(ValueError):
    """Input that cannot be used. The command line prints its message alone and exits with code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, offering the nearest names that do."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    offered = [n for n in names if n.lower() in near]
    hint = f"did you mean {' or '.join(offered)}?" if offered else f"known are: {', '.join(names)}."
    return InputError(f"unknown {kind} {name!r}: {hint}")
