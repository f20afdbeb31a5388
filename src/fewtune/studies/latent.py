"""ERM against MAML at growing budgets, on linear regression tasks whose risks are known in closed form.

A task has inputs x ~ N(0, h I) in d dimensions and targets y = x'w + noise, with a curvature h and an optimum w of its own. Its risk is
h |theta - w|^2 / 2 (noise left out). Methods are judged after one gradient step of rate a on n rows of the task, which leaves, on average,
h [(1 - a h)^2 + (d + 1) (a h)^2 / n] |theta - w|^2 / 2 (and a constant). Steep tasks are learned in that step wherever it starts; flat ones
are not. ERM minimises the mean risk before the step and ends where the steep tasks are; MAML minimises the risk after it and ends nearer to
the flat ones. So MAML ends lower, but its gradients are smaller and noisier: with few rows ERM is ahead, and the curves cross.

Reference: Collins, Mokhtari, Shakkottai, "Why does MAML outperform ERM? An optimization perspective", 2020 (steep and flat tasks); Gao,
Sener, "Modeling and optimization trade-off in meta-learning", NeurIPS 2020 (ERM's bound is tighter, MAML's optimum is better).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.statistics import Interval, paired_interval, t_interval

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Way: TypeAlias = Literal["erm", "maml"]
WAYS: tuple[Way, ...] = ("erm", "maml")
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@final
@dataclass(frozen=True, kw_only=True)
class LatentTasks:
    """Half of the tasks are steep and half are flat: curvatures `steep` and `flat`, optima normal around +1 and -1 in each of `width`
    coordinates with deviation `spread`; targets have noise of deviation `noise`. The one step on a task has the rate `inner` and sees
    `support` rows. Training begins at `start` in every coordinate."""

    width: int = 2
    steep: float = 1.0
    flat: float = 0.1
    spread: float = 0.5
    noise: float = 1.0
    inner: float = 0.9
    support: int = 50
    start: float = 3.0

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 < self.flat <= self.steep or self.spread < 0 or self.noise < 0 or self.inner < 0 or self.support < 1:
            raise InputError(
                "expected a width of at least 1, 0 < flat <= steep, spread, noise and inner of at least 0, and a row of support."
            )

    def weight(self, way: Way) -> tuple[float, float]:
        """How much steep and flat tasks count: h before the step (ERM), or what is left of it after the step (MAML)."""
        steep, flat = (h * (self._left(h) if way == "maml" else 1.0) for h in (self.steep, self.flat))
        return steep, flat

    def _left(self, h: float) -> float:
        """E |(I - inner H) v|^2 / |v|^2, H the mean of xx' over the support."""
        return (1 - self.inner * h) ** 2 + (self.width + 1) * (self.inner * h) ** 2 / self.support

    def optimum(self, way: Way) -> float:
        """The best theta, the same in every coordinate: the mean of the tasks' middles (+1 and -1) by their weights."""
        steep, flat = self.weight(way)
        return (steep - flat) / (steep + flat)

    def risk(self, theta: Floats) -> Floats:
        """The mean risk [...] over all tasks after the step, of theta [..., width]."""
        steep, flat = self.weight("maml")
        each = (steep * ((theta - 1) ** 2 + self.spread**2) + flat * ((theta + 1) ** 2 + self.spread**2)) / 4
        return np.asarray(each.sum(-1))

    def floor(self, way: Way) -> float:
        """The risk after the step of what a method ends at with infinitely many rows."""
        return float(self.risk(np.full(self.width, self.optimum(way))))


def families(model: LatentTasks, count: int, tasks: int, seed: int = 0) -> tuple[Floats, Floats]:
    """(optima [count, tasks, width] of tasks, what those of a family share [count, width]): half of the families are steep and around +1,
    the others flat and around -1. For `fewtune.transfer.task_entropy`: H(phi | theta) is width / 2 log(2 pi e spread^2)."""
    random = key(seed, "latent families").generator()
    middle = np.where(random.random(count) < 0.5, 1.0, -1.0)[:, None].repeat(model.width, 1)
    return middle[:, None] + model.spread * random.normal(size=(count, tasks, model.width)), middle


def rows(model: LatentTasks, name: str, tasks: int, points: int, seed: int = 0) -> Examples:
    """`points` rows of each of so many tasks, half of them steep, as labelled rows: a group is a task. For
    `fewtune.studies.regression.compare_regression`."""
    random = key(seed, "latent rows").generator()
    steep = np.arange(tasks) % 2 == 0
    h, middle = np.where(steep, model.steep, model.flat), np.where(steep, 1.0, -1.0)
    w = middle[:, None] + model.spread * random.normal(size=(tasks, model.width))
    x = np.sqrt(h)[:, None, None] * random.normal(size=(tasks, points, model.width))
    y = np.einsum("tnd,td->tn", x, w) + model.noise * random.normal(size=(tasks, points))
    groups = [f"{name} {task:04}" for task in range(tasks) for _ in range(points)]
    items = Vectors(x.reshape(-1, model.width).astype(np.float32))
    return make_examples(items, Column("float", y.reshape(-1, 1)), name=name, groups=groups)


def learned(model: LatentTasks, way: Way, budgets: Sequence[int], rate: float, *, runs: int, seed: int) -> Floats:
    """theta [budgets, runs, width] by SGD, as it stands when each of `budgets` rows have been looked at.

    Every step draws a task and twice `support` rows of it for each run. ERM takes the gradient of all of them; MAML takes a step of rate
    `inner` on the first half and the gradient of the second half through that step. The rate falls as 1 / sqrt(1 + step / 10).
    """
    rows = 2 * model.support
    random = key(seed, "latent", way).generator()
    theta, kept = np.full((runs, model.width), model.start), dict[int, Floats]()
    wanted = [budget // rows for budget in budgets]
    for step in range(max(wanted) + 1):
        kept[step] = theta
        steep = random.random(runs) < 0.5
        h = np.where(steep, model.steep, model.flat)
        middle = np.where(steep, 1.0, -1.0)
        w = middle[:, None] + model.spread * random.normal(size=theta.shape)
        x = np.sqrt(h)[:, None, None] * random.normal(size=(runs, rows, model.width))
        y = np.einsum("rnd,rd->rn", x, w) + model.noise * random.normal(size=(runs, rows))
        theta = theta - rate / math.sqrt(1 + step / 10) * _gradient(model, way, theta, x, y)
    return np.stack([kept[step] for step in wanted])


def _gradient(model: LatentTasks, way: Way, theta: Floats, x: Floats, y: Floats) -> Floats:
    if way == "erm":
        return _slope(theta, x, y)
    half = x.shape[1] // 2
    tuned = theta - model.inner * _slope(theta, x[:, :half], y[:, :half])
    outer = _slope(tuned, x[:, half:], y[:, half:])
    bent = np.einsum("rnd,rn->rd", x[:, :half], np.einsum("rnd,rd->rn", x[:, :half], outer)) / half  # the Hessian times the gradient
    return np.asarray(outer - model.inner * bent)


def _slope(theta: Floats, x: Floats, y: Floats) -> Floats:
    """The gradient of the mean squared error / 2."""
    wrong = np.einsum("rnd,rd->rn", x, theta) - y
    return np.asarray(np.einsum("rnd,rn->rd", x, wrong) / x.shape[1])


@final
@dataclass(frozen=True)
class Curve:
    """Excess risk of one method: `risks` [budgets, runs] after the step, its `rate` and the `floor` it tends to. `constant`: C of the bound
    floor + C / sqrt(budget), by least squares on the mean."""

    way: Way
    rate: float
    floor: float
    risks: Floats
    constant: float

    def intervals(self) -> tuple[Interval, ...]:
        """95% over runs, one for each budget."""
        return tuple(t_interval(one) for one in self.risks)


@final
@dataclass(frozen=True)
class Race:
    """ERM and MAML at the same `budgets` of rows. `gaps`: MAML minus ERM with 95% intervals over runs. `crossing`: the first budget from
    which MAML is lower at every larger one, None if it is never; `bound`: where the bounds of the two cross."""

    budgets: tuple[int, ...]
    erm: Curve
    maml: Curve
    gaps: tuple[Interval, ...]
    crossing: int | None
    bound: float


def race(
    model: LatentTasks | None = None,
    budgets: Sequence[int] = (200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400),
    *,
    runs: int = 50,
    seed: int = 0,
) -> Race:
    """Both methods at growing budgets, each at the rate that is best for it at each budget, chosen on runs of another seed.

    >>> found = race(budgets=(400, 40000), runs=20)
    >>> found.gaps[0].mean > 0 > found.gaps[1].mean
    True
    """
    tasks, sizes = model or LatentTasks(), tuple(sorted(budgets))
    erm, maml = (_curve(tasks, way, sizes, runs, seed) for way in WAYS)
    gaps = tuple(paired_interval(m - e) for m, e in zip(maml.risks, erm.risks, strict=True))
    ahead = [gap.mean < 0 for gap in gaps]
    first = next((i for i in range(len(sizes)) if all(ahead[i:])), None)
    apart = erm.floor - maml.floor
    bound = ((maml.constant - erm.constant) / apart) ** 2 if apart > 0 and maml.constant > erm.constant else 0.0 if apart > 0 else math.inf
    return Race(sizes, erm, maml, gaps, None if first is None else sizes[first], bound)


def _curve(model: LatentTasks, way: Way, budgets: tuple[int, ...], runs: int, seed: int) -> Curve:
    tried = np.stack([model.risk(learned(model, way, budgets, rate, runs=runs, seed=seed + 1)).mean(1) for rate in RATES])
    best = np.nan_to_num(tried, nan=np.inf).argmin(0)  # [budgets]
    each = {int(i): model.risk(learned(model, way, budgets, RATES[int(i)], runs=runs, seed=seed)) for i in np.unique(best)}
    risks = np.stack([each[int(i)][place] for place, i in enumerate(best)])
    floor, root = model.floor(way), 1 / np.sqrt(np.array(budgets, dtype=np.float64))
    constant = float(root @ (risks.mean(1) - floor) / (root @ root))
    return Curve(way, RATES[int(best[-1])], floor, risks, constant)
