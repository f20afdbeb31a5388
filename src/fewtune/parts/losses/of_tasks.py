"""What losses on the weights of several tasks share."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import widened


def of_tasks(outcome: Outcome, names: str, loss: str) -> list[Tensor]:
    """The weights in hand whose names match, each [E, T, ...]; [1, T, ...] where all episodes have the same.

    Raises InputError where none matches.
    """
    found = [t for name, t in outcome.own.items() if fnmatchcase(name, names) and t.ndim > 1]
    if not found:
        raise InputError(
            f"{loss} is a loss on weights of several tasks called {names!r}, but none of what moves has such a name: use it with a head "
            "that has them, such as Independent() or SharedBottom(tower=32)."
        )
    same = all(t.stride(0) == 0 for t in found)  # one tensor that all episodes look at is penalised once
    return [widened(t[:1] if same else t) for t in found]


def check_strength(loss: str, strength: float) -> None:
    """Raises InputError below 0 or where it is not finite."""
    if not 0 <= strength < float("inf"):
        raise InputError(f"{loss}: the strength must be a number of at least 0, found {strength}.")
