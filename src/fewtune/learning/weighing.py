"""Weighing: what a phase's aggregator knows from step to step, its state and the weights that are used again."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators import Aggregator, LooksBack, Seen, State, every_of, remembers, weights_of
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.task import Tasks

_USED = "used"  # the state's entry of the weights in use, NaN for a task that had none, and how often they have been used


@final
class Weighing:
    """The weights of the tasks of each step. `tasks`: how many tasks the collection has; None where steps have no memory (inside `Adapt`),
    and then an aggregator with a state raises InputError.

    The state is replaced as a whole in each step. A task that is absent keeps its entries.
    """

    def __init__(self, aggregator: Aggregator, tasks: int | None = None) -> None:
        if tasks is None and remembers(aggregator):
            raise InputError(
                f"{type(aggregator).__name__} remembers tasks from step to step, but an inner loop begins anew in each episode: "
                "use it in a source phase, and Mean() inside Adapt."
            )
        self._aggregator, self._every = aggregator, every_of(aggregator)
        self._state: State = aggregator.begin(tasks or 0)
        if self._every > 1:
            self._state[_USED] = torch.full((tasks or 0,), torch.nan, dtype=torch.float64)
            self._state[f"{_USED}.times"] = torch.zeros((), dtype=torch.int64)
        self._seen: Seen | None = None
        self._last: tuple[Tensor, Tensor] | None = None

    @property
    def last(self) -> dict[str, float]:
        """The weights of the last step by the tasks' numbers; empty for an aggregator whose weights are always the same."""
        if self._last is None or self._aggregator.constant:
            return {}
        tasks, weights = self._last
        return {str(task): weight for task, weight in zip(tasks.tolist(), weights.tolist(), strict=True)}

    def used(self, tasks: Tensor) -> Tensor | None:
        """The weights [T] of an earlier step, where they are used again: for `every` - 1 steps, and only if each task present has one."""
        if self._every == 1 or int(self._state[f"{_USED}.times"]) >= self._every - 1:
            return None
        weights = self._state[_USED][tasks]
        if bool(weights.isnan().any()):
            return None
        self._state = {**self._state, f"{_USED}.times": self._state[f"{_USED}.times"] + 1}
        self._last = tasks, weights
        return weights

    def weigh(self, seen: Seen) -> Tensor:
        """The weights [T] of this step, by what is seen of it."""
        if remembers(self._aggregator) and int(seen.tasks.max()) >= len(next(iter(self._state.values()))):
            raise InputError(episodes_are_tasks(self._aggregator))
        own = {n: t for n, t in self._state.items() if not n.startswith(_USED)}
        weights, state = weights_of(self._aggregator, seen, own)
        self._seen, self._last = seen, (seen.tasks, weights.detach())
        if self._every > 1:
            whole = torch.full_like(self._state[_USED], torch.nan).index_copy(0, seen.tasks, weights)
            state = {**state, _USED: whole, f"{_USED}.times": torch.zeros((), dtype=torch.int64)}
        self._state = state
        return weights

    @property
    def looks_back(self) -> bool:
        """Whether the aggregator wants the losses after the step."""
        return isinstance(self._aggregator, LooksBack)

    def look_back(self, after: Tensor) -> None:
        """Learn from the losses [T] of the same batch after the step."""
        assert isinstance(self._aggregator, LooksBack) and self._seen is not None
        self._state = self._aggregator.look_back(self._seen, after, self._state)

    def state(self) -> State:
        """All that a checkpoint keeps."""
        return dict(self._state)

    def load(self, state: State) -> None:
        """Go on from a state that was kept."""
        self._state = dict(state)


def weighing_of(aggregator: Aggregator, sampler: Sampler, tasks: Tasks) -> Weighing:
    """The weighing of a source phase at its first step.

    Raises InputError where an aggregator remembers tasks but every episode is a task of its own, which never comes again.
    """
    if remembers(aggregator) and own_tasks(sampler):
        raise InputError(episodes_are_tasks(aggregator))
    return Weighing(aggregator, max(len(tasks), int(tasks.ids.max(initial=-1)) + 1))


def own_tasks(sampler: Sampler) -> bool:
    """Whether every episode counts as a task of its own."""
    drawing = sampler.sampler if isinstance(sampler, Chosen) else sampler
    return isinstance(drawing, InSequence) or getattr(drawing, "task", None) == "episode"


def episodes_are_tasks(aggregator: Aggregator) -> str:
    """What to do about it, in a sentence."""
    return (
        f"{type(aggregator).__name__} remembers tasks from step to step, but here every episode is a task of its own: set "
        "task='collection' in the sampler, where sources, groups or label columns are the tasks, or draw them in turn (PerTask)."
    )
