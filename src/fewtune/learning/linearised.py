"""Which tasks help each other, by retraining a linearised network on many subsets of tasks: Grad-TAG.

A network is trained on all tasks once. Near its weights theta its outputs are f(theta) + J (theta' - theta), so that "train on the tasks of
a subset" is a convex problem in theta' - theta, solved in a random subspace in a moment. A task's loss on other rows, over many subsets,
says who helps it.
Reference: Li, Sharma, Lu, Zhang, "Scalable multitask learning using gradient-based estimation of task affinity" (Grad-TAG), KDD 2024.
Departs: any loss of the tasks' kinds instead of logistic regression; gains are relative to the task alone, so that 0 is "neither helped nor
harmed"; groups are found by `choose_groups` instead of a relaxed clustering.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil, comb
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.special import stdtrit
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.learning.affinity import Floats, Spread
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.parts.plan import resolve
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.task import Tasks

Weights: TypeAlias = Mapping[str, Tensor]
Outputs: TypeAlias = Callable[[Weights], Tensor]
Costs: TypeAlias = Callable[[Tensor], Tensor]

SUBSETS, MEETINGS = 60, 10  # at least so many subsets, and so many in which two tasks meet, on average
SIZE, DIRECTIONS, PENALTY = 4, 256, 0.03
ROWS = 1000  # of a task, to fit and to judge by


@final
@dataclass(frozen=True, eq=False)
class Linearised:
    """T tasks by their `names`. `help` [T, T]: entry [i, j] is the mean, over the subsets that hold i and j, of 1 - loss of j / loss of j
    fitted alone, on rows that nothing was fitted to (the diagonal: over all subsets that hold j). Its interval is over subsets, which
    share tasks and rows. `subsets` [S, T]: which tasks were fitted together; `losses` [S, T]: of each then, NaN where it was not among
    them; `alone` [T]: of each fitted by itself."""

    names: tuple[str, ...]
    help: Spread
    subsets: npt.NDArray[np.bool_]
    losses: Floats
    alone: Floats


def linearised_affinity(
    ground: Ground,
    phase: Phase,
    weights: Weights,
    fit: Tasks,
    judged: Tasks,
    key: Key,
    *,
    subsets: int | None = None,
    size: int = SIZE,
    directions: int = DIRECTIONS,
    penalty: float = PENALTY,
) -> Linearised:
    """Affinities of tasks around `weights`, which `phase` was trained to on rows of `fit`. `judged`: the same tasks on other rows.

    `subsets`: how many subsets of `size` tasks are drawn (all of them, where there are fewer; None: 60, or so many that two tasks meet in
    10 on average); size is cut to T - 1, or 2. `directions`: of the random subspace; all coordinates, where the names that the phase moves
    have no more. `penalty`: see `refitted`, with slopes scaled to a mean square length of 1.
    Raises InputError for fewer than two tasks, and for tasks that differ.
    """
    if len(fit) < 2 or fit.names != judged.names:
        raise InputError(f"affinities are between two or more tasks, the same to fit and to judge, found {fit.names} and {judged.names}.")
    moving = resolve(phase.plan, ground.movable(weights), ground.backbone.groups).moving
    basis = directions_of({n: weights[n] for n in moving}, directions, key.child("directions"))
    asked = [_costs(ground, phase, weights, tasks, basis, key.child(name)) for name, tasks in (("fit", fit), ("judged", judged))]
    (base, slopes, costs), (its_base, its_slopes, its_costs) = asked
    scale = float(slopes.square().sum(-1).mean().sqrt()) or 1.0
    slopes, its_slopes = slopes / scale, its_slopes / scale

    def judge(chosen: npt.NDArray[np.bool_]) -> Floats:
        flags = torch.from_numpy(chosen).to(base)
        moved = refitted(lambda outputs: (flags * costs(outputs)).sum() / flags.sum(), base, slopes, penalty)
        found = its_costs(its_base + its_slopes @ moved).cpu().numpy()
        return np.where(chosen, found, np.nan)

    alone = np.diag(np.stack([judge(one) for one in np.eye(len(fit), dtype=bool)]))
    tasks, together = len(fit), max(2, min(size, len(fit) - 1))
    most = subsets or max(SUBSETS, ceil(MEETINGS * tasks * (tasks - 1) / (together * (together - 1))))
    drawn = some_subsets(tasks, together, most, key.child("subsets"))
    losses = np.stack([judge(one) for one in drawn])
    return Linearised(fit.names, help_of(losses, alone), drawn, losses, alone)


def directions_of(weights: Weights, count: int, key: Key) -> list[dict[str, Tensor]]:
    """`count` random normal directions in the space of some weights, of expected squared length P / count, P its dimension; every
    coordinate where P is no larger than `count`. In float64."""
    total = sum(t.numel() for t in weights.values())
    if total <= count:
        rows = torch.eye(total, dtype=torch.float64)
    else:
        rows = torch.randn(count, total, generator=key.torch_generator(), dtype=torch.float64) / count**0.5
    sizes = [t.numel() for t in weights.values()]
    return [{n: part.view_as(t) for (n, t), part in zip(weights.items(), torch.split(row, sizes), strict=True)} for row in rows]


def slopes_of(outputs: Outputs, weights: Weights, basis: Sequence[Weights]) -> tuple[Tensor, Float[Tensor, "... d"]]:
    """(outputs, their derivative along each direction) at some weights, in float64: J r by differentiating v -> J^T v, whose gradient along
    r is the same for every v. One forward and d + 1 backward passes."""
    leaves = {n: weights[n].detach().double().requires_grad_() for n in basis[0]}
    with torch.enable_grad():
        found = outputs({**{n: t.double() if t.is_floating_point() else t for n, t in weights.items()}, **leaves})
        dummy = torch.zeros_like(found, requires_grad=True)
        back = torch.autograd.grad(found, list(leaves.values()), dummy, create_graph=True, allow_unused=True)
        slopes = []
        for direction in basis:
            along = sum((g * direction[n].to(g)).sum() for n, g in zip(leaves, back, strict=True) if g is not None)
            (slope,) = torch.autograd.grad(along, dummy, retain_graph=True) if isinstance(along, Tensor) else (torch.zeros_like(found),)
            slopes.append(slope)
    return found.detach(), torch.stack(slopes, dim=-1)


def refitted(loss: Costs, base: Tensor, slopes: Float[Tensor, "... d"], penalty: float) -> Float[Tensor, " d"]:
    """argmin over x of loss(base + slopes x) + penalty / 2 |x|^2, for a convex loss; by L-BFGS."""
    x = torch.zeros(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device, requires_grad=True)
    solver = torch.optim.LBFGS([x], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        total = loss(base + slopes @ x) + penalty / 2 * x.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return x.detach()


def some_subsets(tasks: int, size: int, most: int, key: Key) -> npt.NDArray[np.bool_]:
    """Distinct subsets [S, T] of `size` of T tasks as flags: all of them, or `most` drawn ones."""
    if comb(tasks, size) <= most:
        every = list(combinations(range(tasks), size))
    else:
        random, found = key.generator(), dict[tuple[int, ...], None]()
        while len(found) < most:
            found[tuple(sorted(random.permutation(tasks)[:size].tolist()))] = None
        every = list(found)
    flags = np.zeros((len(every), tasks), dtype=bool)
    for row, one in enumerate(every):
        flags[row, list(one)] = True
    return flags


def help_of(losses: Floats, alone: Floats) -> Spread:
    """The mean gain over `alone` [T] in the subsets that hold both tasks, from `losses` [S, T] with NaN; 95% intervals over subsets. NaN
    for tasks that never met, NaN bounds for those that met once."""
    gains = 1 - losses / alone
    among = ~np.isnan(losses)
    tasks = losses.shape[1]
    mean, half = np.full((2, tasks, tasks), np.nan)
    for i in range(tasks):
        for j in range(tasks):
            met = gains[among[:, i] & among[:, j], j]
            if len(met):
                mean[i, j] = met.mean()
            if len(met) > 1:
                half[i, j] = float(stdtrit(len(met) - 1, 0.975)) * met.std(ddof=1) / np.sqrt(len(met))
    return Spread(mean, mean - half, mean + half)


def _costs(
    ground: Ground, phase: Phase, weights: Weights, tasks: Tasks, basis: Sequence[Weights], key: Key
) -> tuple[Tensor, Tensor, Costs]:
    """(outputs, slopes, the loss [T] of each task as a function of outputs) of at most `ROWS` rows of each task."""
    episodes = PerTask(batch=min(ROWS, int(tasks.sizes().max()))).draw(tasks, key, 0, len(tasks))
    outcome = respond(ground, phase.learner, weights, episodes, key)

    def outputs(at: Weights) -> Tensor:
        return respond(ground, phase.learner, at, episodes, key).logits

    base, slopes = slopes_of(outputs, weights, basis)
    finite = torch.isfinite(base)
    base, slopes = base.masked_fill(~finite, -torch.inf), slopes.masked_fill(~finite[..., None], 0.0)

    def costs(given: Tensor) -> Tensor:
        return phase.losses[0](replace(outcome, logits=given, query=None))

    return base, slopes, costs
