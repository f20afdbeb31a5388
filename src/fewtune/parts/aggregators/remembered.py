"""What aggregators remember of each task: running means that fill up as the task is seen, and entries by the task's number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators.aggregator import Seen, State

FIRST = 10  # measurements of a task that make its first loss


def first_losses(tasks: int) -> State:
    """The state of first losses: "first", their means [tasks], and "count", of how many measurements [tasks]."""
    return {"first": torch.zeros(tasks, dtype=torch.float64), "count": torch.zeros(tasks, dtype=torch.float64)}


def with_first(seen: Seen, state: State) -> State:
    """The state with the losses of this step counted in: "first" is the mean of a task's first 10 losses, not of one batch."""
    before = state["count"][seen.tasks]
    old = state["first"][seen.tasks]
    new = torch.where(before < FIRST, old + (seen.losses - old) / (before + 1), old)
    return {**state, "first": put(state["first"], seen, new), "count": put(state["count"], seen, before + 1)}


def relative(seen: Seen, state: State) -> Tensor:
    """L_i / L_i(0) [T]. Raises InputError for losses below 0, which have no ratio."""
    tiny = torch.finfo(torch.float64).tiny
    return not_negative(seen, "a ratio to the first loss") / state["first"][seen.tasks].clamp_min(tiny)


def not_negative(seen: Seen, what: str) -> Tensor:
    """The losses [T]. Raises InputError where one is below 0."""
    return at_least(seen, what, 0.0)


def at_least(seen: Seen, what: str, lower: float) -> Tensor:
    """The losses [T]. Raises InputError where one is below `lower`."""
    bad = (seen.losses < lower).nonzero()[:, 0]
    if len(bad):
        found, task = float(seen.losses[bad[0]]), int(seen.tasks[bad[0]])
        raise InputError(
            f"{what} needs losses of at least {lower:g}, found {found:.3g} for task {task}: choose another aggregator, such as Mean()."
        )
    return seen.losses


def put(whole: Tensor, seen: Seen, values: Tensor) -> Tensor:
    """`whole` [tasks] with `values` [T] in the entries of the tasks that are present; others keep theirs."""
    return whole.index_copy(0, seen.tasks, values)


def check_positive(owner: object, **values: float) -> None:
    """Raises InputError unless every value is a finite number above 0."""
    _check(owner, "a finite number above 0", lambda value: 0 < value < inf, values)


def check_not_negative(owner: object, **values: float) -> None:
    """Raises InputError unless every value is a finite number of at least 0."""
    _check(owner, "a finite number of at least 0", lambda value: 0 <= value < inf, values)


def check_finite(owner: object, **values: float) -> None:
    """Raises InputError unless every value is a finite number."""
    _check(owner, "a finite number", isfinite, values)


def check_share(owner: object, **values: float) -> None:
    """Raises InputError unless every value lies strictly between 0 and 1."""
    _check(owner, "a number above 0 and below 1", lambda value: 0 < value < 1, values)


def check_count(owner: object, **values: int) -> None:
    """Raises InputError unless every value is a whole number of at least 1."""
    _check(owner, "a whole number of at least 1", lambda value: isinstance(value, int) and value >= 1, values)


def _check(owner: object, expected: str, holds: Callable[[float], bool], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise InputError(f"{name} of {type(owner).__name__} is {expected}, found {value!r}.")
