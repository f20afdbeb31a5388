"""Which tasks help each other, from one training run of all of them: looks ahead every few steps, averaged.

Reference: Fifty et al., "Efficiently identifying task groupings for multi-task learning" (TAG), NeurIPS 2021. Departs: the step looked at
is a plain gradient step of a fixed small rate whatever the optimizer of the run, and an interval over the looks stands beside each mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from fewtune.keys import Key
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.lookahead import Look, look_ahead
from fewtune.learning.phase import Phase
from fewtune.learning.train import Trained, train
from fewtune.parts.plan import resolve
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.task import Tasks

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

EVERY = 10  # steps between two looks: a look costs about as much as T steps
RATE = 1e-2  # of the step that is looked at: much smaller ones change a loss by little more than float32 resolves


@final
@dataclass(frozen=True, eq=False)
class Spread:
    """The mean of S looks and its 95% interval, each [T, T]. The looks are of one run and depend on each other: another run may differ by
    more. NaN bounds for one look.
    """

    mean: Floats
    low: Floats
    high: Floats


@final
@dataclass(frozen=True, eq=False)
class Affinity:
    """T tasks by their `names`. `help`: entry [i, j] is by what share of its loss a step of task i alone lowers the loss of task j (below
    0: it raises it). `cosine`: of their gradients by shared weights. `steps` [S]: when it was looked; `losses` [S, T]: of each task
    then.
    """

    names: tuple[str, ...]
    help: Spread
    cosine: Spread
    steps: Floats
    losses: Floats
    shared: tuple[str, ...]


def run_affinity(
    ground: Ground, phase: Phase, tasks: Tasks, key: Key, *, every: int = EVERY, rate: float = RATE
) -> tuple[Affinity, Trained]:
    """Train one phase on all tasks and look ahead after every `every` steps, each time on rows drawn for it; the looks change nothing in
    the run.

    A task's loss is the first of the phase's losses (penalties beside it belong to no task). `rate`: see `look_ahead`. Fewer steps than
    `every`: one look, after the last one.
    """
    looks = _Looks(ground, phase, tasks, key.child("affinity"), rate)
    trained = train(ground, (phase,), tasks, key, validate=looks, watch=min(every, phase.steps))
    found = looks.found
    return Affinity(
        names=tasks.names,
        help=_spread([look.help for look in found]),
        cosine=_spread([look.cosine for look in found]),
        steps=min(every, phase.steps) * np.arange(1.0, len(found) + 1),
        losses=torch.stack([look.losses for look in found]).double().cpu().numpy(),
        shared=tuple(dict.fromkeys(n for look in found for n in look.shared)),
    ), trained


@final
class _Looks:
    """The validation of a training run that looks ahead instead."""

    def __init__(self, ground: Ground, phase: Phase, tasks: Tasks, key: Key, rate: float) -> None:
        self._ground, self._phase, self._tasks, self._key, self._rate = ground.metered(), phase, tasks, key, rate
        self._sampler = phase.sampler if isinstance(phase.sampler, PerTask) else PerTask()
        self.found: list[Look] = []

    def __call__(self, weights: Mapping[str, Tensor]) -> float:
        """Minus the mean loss (validation is more is better)."""
        number, count = len(self.found), len(self._tasks)
        episodes = self._sampler.draw(self._tasks, self._key, number * count, count)
        moving = resolve(self._phase.plan, self._ground.movable(dict(weights)), self._ground.backbone.groups).moving

        def losses(at: Mapping[str, Tensor]) -> Tensor:
            answer = answering(self._ground, self._phase, at, self._key.child("step", number))
            return self._phase.losses[0](answer(episodes, range(count)))

        self.found.append(look_ahead(losses, weights, tuple(moving), self._rate))
        return -float(self.found[-1].losses.mean())


def _spread(looks: list[Tensor]) -> Spread:
    values = torch.stack(looks).double().cpu().numpy()
    mean, n = values.mean(0), len(values)
    half = np.full_like(mean, np.nan)
    if n > 1:
        half = float(stdtrit(n - 1, 0.975)) * values.std(0, ddof=1) / np.sqrt(n)
    return Spread(mean, mean - half, mean + half)
