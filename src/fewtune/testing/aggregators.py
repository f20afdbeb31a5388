"""The laws of aggregators."""

from __future__ import annotations

import torch
from torch import Tensor

from fewtune.keys import key
from fewtune.parts.aggregators import Aggregator, projection_order
from fewtune.testing.law import equal, is_its_text, law

TASKS = 4


def check_aggregator(aggregator: Aggregator, *, one_is_itself: bool = True) -> None:
    """Run the laws of the axis on an aggregator.

    It is a value that its text spells; one task alone weighs 1 (`one_is_itself` False: a declared exception); weights are [T], finite and
    never negative, for gradients whose norms differ by 10,000 too; permuting the tasks permutes the weights. Raises AssertionError with
    a sentence that names the law.
    """
    law(isinstance(aggregator, Aggregator), aggregator, "it must have everything that fewtune.parts.aggregators.Aggregator names")
    is_its_text(aggregator)
    law(aggregator.needs in ("losses", "gram"), aggregator, f"`needs` must be 'losses' or 'gram', found {aggregator.needs!r}")
    g, order, tasks = gradients(0, TASKS), projection_order(key(0), TASKS), torch.arange(TASKS)
    if one_is_itself:
        alone = aggregator.weigh(statistic(aggregator, g[:1]), projection_order(key(0), 1), tasks[:1])
        law(alone.tolist() == [1.0], aggregator, f"one task alone must weigh 1, found {alone.tolist()}")
    weights = aggregator.weigh(statistic(aggregator, g), order, tasks)
    law(weights.shape == (TASKS,), aggregator, f"weights must be [T], found {list(weights.shape)}")
    permuted = torch.tensor([2, 0, 3, 1])
    place = permuted.argsort()  # where each old position is now
    after = aggregator.weigh(statistic(aggregator, g[permuted]), place[order[permuted]], tasks[permuted])
    law(equal(after, weights[permuted], 1e-12), aggregator, "permuting the tasks must permute the weights")
    wide = gradients(1, TASKS, spread=4)
    found = aggregator.weigh(statistic(aggregator, wide), order, tasks)
    good = bool(found.isfinite().all()) and bool((found >= 0).all())
    law(good, aggregator, f"weights must be finite and never negative, found {found.tolist()}")


def gradients(seed: int, T: int, n: int = 7, spread: float = 0.0) -> Tensor:
    """Random gradients [T, n], float64, correlated, so that some conflict; norms spread evenly over 10^-spread..10^spread."""
    g = torch.Generator().manual_seed(seed)
    raw = torch.randn(T, n, generator=g, dtype=torch.float64) - 0.8 * torch.randn(1, n, generator=g, dtype=torch.float64)
    size = torch.linspace(-spread, spread, T, dtype=torch.float64)[torch.randperm(T, generator=g)]
    return raw * 10 ** size[:, None]


def statistic(aggregator: Aggregator, g: Tensor) -> Tensor:
    """What the aggregator reads, of gradients [T, n]: their Gram matrix, or losses (here a function of each gradient)."""
    return g @ g.T if aggregator.needs == "gram" else g[:, 0].clamp(-50, 50).exp()
