"""The laws of aggregators."""

from __future__ import annotations

import torch
from torch import Tensor

from fewtune.keys import key
from fewtune.parts.aggregators import Aggregator, Seen, State, weights_of
from fewtune.testing.law import equal, is_its_text, law

TASKS = 4
STEPS = 3


def check_aggregator(aggregator: Aggregator, *, one_is_itself: bool = True, signed: bool = False) -> None:
    """Run the laws of the axis on an aggregator.

    It is a value that its text spells; one task alone weighs 1 (`one_is_itself` False: a declared exception); weights are [T], float64,
    finite and never negative (`signed` True: a declared exception), for gradients whose norms differ by 10,000 too; permuting the tasks
    permutes the weights, step after step; the given state is not changed, and absent tasks keep theirs. Raises AssertionError with a
    sentence that names the law.
    """
    law(isinstance(aggregator, Aggregator), aggregator, "it must have everything that fewtune.parts.aggregators.Aggregator names")
    is_its_text(aggregator)
    law(aggregator.needs in ("losses", "gram"), aggregator, f"`needs` must be 'losses' or 'gram', found {aggregator.needs!r}")
    law(aggregator.scale in ("mean", "own"), aggregator, f"`scale` must be 'mean' or 'own', found {aggregator.scale!r}")
    if one_is_itself:
        alone, _ = weights_of(aggregator, seen(gradients(0, 1)), aggregator.begin(TASKS))
        law(equal(alone.double(), torch.ones(1).double(), 1e-12), aggregator, f"one task alone must weigh 1, found {alone.tolist()}")
    _keeps(aggregator)
    _permutes(aggregator)
    wide, _ = weights_of(aggregator, seen(gradients(1, TASKS, spread=4)), aggregator.begin(TASKS))
    good = bool(wide.isfinite().all()) and (signed or bool((wide >= 0).all()))
    law(good, aggregator, f"weights must be finite and never negative, found {wide.tolist()}")


def _permutes(aggregator: Aggregator) -> None:
    permuted = torch.tensor([2, 0, 3, 1])
    here = there = aggregator.begin(TASKS)
    for step in range(STEPS):
        g = gradients(step, TASKS)
        weights, here = weights_of(aggregator, seen(g, step=step), here)
        law(weights.shape == (TASKS,), aggregator, f"weights must be [T], found {list(weights.shape)}")
        law(weights.dtype == torch.float64, aggregator, f"weights must be float64, found {weights.dtype}")
        after, there = weights_of(aggregator, seen(g[permuted], permuted, step=step), there)
        law(equal(after, weights[permuted], 1e-9), aggregator, "permuting the tasks must permute the weights")
        law(_same(here, there, 1e-9), aggregator, "permuting the tasks must not change the state")


def _keeps(aggregator: Aggregator) -> None:
    state = aggregator.begin(TASKS)
    before = {n: t.clone() for n, t in state.items()}
    _, after = weights_of(aggregator, seen(gradients(2, 2), torch.tensor([0, 3])), state)
    law(_same(state, before), aggregator, "the given state must not change")
    absent = torch.tensor([1, 2])
    kept = all(torch.equal(after[n][absent], t[absent]) for n, t in before.items())
    law(after.keys() == before.keys() and kept, aggregator, "absent tasks must keep their state")


def _same(one: State, two: State, tolerance: float = 0.0) -> bool:
    return one.keys() == two.keys() and all(equal(one[n], two[n], tolerance) for n in one)


def gradients(seed: int, T: int, n: int = 7, spread: float = 0.0) -> Tensor:
    """Random gradients [T, n], float64, correlated, so that some conflict; norms spread evenly over 10^-spread..10^spread."""
    g = torch.Generator().manual_seed(seed)
    raw = torch.randn(T, n, generator=g, dtype=torch.float64) - 0.8 * torch.randn(1, n, generator=g, dtype=torch.float64)
    size = torch.linspace(-spread, spread, T, dtype=torch.float64)[torch.randperm(T, generator=g)]
    return raw * 10 ** size[:, None]


def seen(g: Tensor, tasks: Tensor | None = None, *, step: int = 0, size: float = 1.0) -> Seen:
    """What an aggregator sees of gradients [T, n] times `size`: their Gram matrix, and losses above 0, some function of each."""
    numbers = torch.arange(len(g)) if tasks is None else tasks
    return Seen(tasks=numbers, losses=size * g[:, 0].clamp(-50, 50).exp(), gram=size**2 * (g @ g.T), key=key(0, "step", step))
