"""Laws that every aggregator obeys, and PcGrad against its definition carried out on the gradients themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.parts.aggregators import AGGREGATORS, Aggregator, Fixed, Mean, PcGrad, WorstCase, gram, projection_order
from fewtune.spec import parse, text
from fewtune.testing import check_aggregator
from fewtune.testing.aggregators import gradients, statistic

WEIGHTS = (0.5, 2.0, 1.0, 0.0, 3.0)
CASES = (Fixed(weights=WEIGHTS), Mean(), PcGrad(), WorstCase())
WORDS = {kind.__name__: kind for kind in AGGREGATORS}
each = pytest.mark.parametrize("aggregator", CASES, ids=text)
seeds, counts = st.integers(0, 10**6), st.integers(1, 5)


def projected(g: Tensor, order: Tensor) -> Tensor:
    """PCGrad's algorithm 1, word for word: the sum of the projected gradients."""
    total = torch.zeros_like(g[0])
    for i in range(len(g)):
        mine = g[i].clone()
        for j in order[i].tolist():
            if mine @ g[j] < 0:
                mine = mine - (mine @ g[j]) / (g[j] @ g[j]) * g[j]
        total = total + mine
    return total


def test_every_aggregator_is_a_case() -> None:
    assert {type(case) for case in CASES} == set(AGGREGATORS)
    assert all(isinstance(case, Aggregator) for case in CASES)


@each
def test_what_others_run_on_their_aggregators_holds_for_ours(aggregator: Aggregator) -> None:
    check_aggregator(aggregator, one_is_itself=not isinstance(aggregator, Fixed))


@each
def test_an_aggregator_is_its_text(aggregator: Any) -> None:
    assert parse(text(aggregator), WORDS) == aggregator
    assert parse(type(aggregator).__name__, WORDS) == type(aggregator)()


@each
def test_one_task_is_itself(aggregator: Aggregator) -> None:
    if isinstance(aggregator, Fixed):
        pytest.skip("declared exception: one task is weighted as the user said")
    weights = aggregator.weigh(statistic(aggregator, gradients(0, 1)), projection_order(key(0), 1))
    assert weights.tolist() == [1.0]


@each
@settings(max_examples=10, deadline=None)
@given(seed=seeds, T=counts)
def test_permuting_tasks_permutes_weights(aggregator: Aggregator, seed: int, T: int) -> None:
    g, order, tasks = gradients(seed, T), projection_order(key(seed), T), torch.arange(T)
    permuted = torch.randperm(T, generator=torch.Generator().manual_seed(seed))
    place = permuted.argsort()  # where each old position is now
    before = aggregator.weigh(statistic(aggregator, g), order, tasks)
    after = aggregator.weigh(statistic(aggregator, g[permuted]), place[order[permuted]], tasks[permuted])
    torch.testing.assert_close(after, before[permuted], rtol=1e-12, atol=1e-12)


@each
@settings(max_examples=10, deadline=None)
@given(seed=seeds, T=counts, size=st.sampled_from([1e-100, 1e-30, 1.0, 1e30, 1e100]))
def test_extreme_scales_stay_finite(aggregator: Aggregator, seed: int, T: int, size: float) -> None:
    g = gradients(seed, T, spread=4)
    reads = size**2 * (g @ g.T) if aggregator.needs == "gram" else size * g[:, 0]
    weights = aggregator.weigh(reads, projection_order(key(seed), T), torch.arange(T))
    assert bool(weights.isfinite().all()) and bool((weights >= 0).all())
    if not isinstance(aggregator, WorstCase):  # the greatest loss is another when signs differ, but never when all scale
        torch.testing.assert_close(
            weights, aggregator.weigh(reads / size**2, projection_order(key(seed), T), torch.arange(T)), rtol=1e-9, atol=1e-9
        )


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_constants_in_the_dtype_of_the_statistic(aggregator: Aggregator, dtype: torch.dtype) -> None:
    reads = statistic(aggregator, gradients(1, 5)).to(dtype).requires_grad_()
    weights = aggregator.weigh(reads, projection_order(key(1), 5), torch.arange(5))
    assert weights.dtype == dtype and not weights.requires_grad and weights.shape == (5,)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, T=st.integers(1, 7), n=st.integers(1, 12), spread=st.sampled_from([0.0, 1.0, 2.0]))
def test_pcgrad_is_its_definition(seed: int, T: int, n: int, spread: float) -> None:
    """Also in spaces of fewer dimensions than tasks, and with norms from 1e-2 to 1e2: a spread of 1e4."""
    g, order = gradients(seed, T, n, spread), projection_order(key(seed), T)
    weights = PcGrad().weigh(g @ g.T, order)
    torch.testing.assert_close(weights @ g, projected(g, order), rtol=1e-9, atol=1e-9 * float(g.norm(dim=1).max()))
    assert bool((weights >= 1).all())


def test_pcgrad_by_hand() -> None:
    """g1 = (1, 0), g2 = (-1, 1): g1' = (1, 0) + 1/2 (-1, 1) = (1/2, 1/2), g2' = (-1, 1) + (1, 0) = (0, 1); the sum, not the mean."""
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    weights = PcGrad().weigh(g @ g.T, projection_order(key(0), 2))
    assert weights.tolist() == [2.0, 1.5]
    assert (weights @ g).tolist() == [0.5, 1.5]


@settings(max_examples=10, deadline=None)
@given(seed=seeds, T=counts)
def test_pcgrad_without_conflict_is_the_sum(seed: int, T: int) -> None:
    g = gradients(seed, T).abs()
    assert PcGrad().weigh(g @ g.T, projection_order(key(seed), T)).tolist() == [1.0] * T


def test_pcgrad_depends_on_the_order() -> None:
    g = gradients(3, 5, n=3)
    found = {tuple(PcGrad().weigh(g @ g.T, projection_order(key(s), 5)).tolist()) for s in range(8)}
    assert len(found) > 1


def test_pcgrad_leaves_a_gradient_of_zero_alone() -> None:
    g = torch.cat([gradients(0, 3, 2), torch.zeros(1, 2, dtype=torch.float64)])
    order = projection_order(key(0), 4)
    others = [[j for j in row if j != 3] for row in order[:3].tolist()]
    alone = PcGrad().weigh((g @ g.T)[:3, :3], torch.tensor(others))
    torch.testing.assert_close(PcGrad().weigh(g @ g.T, order)[:3], alone)


def test_pcgrad_asks_for_an_order() -> None:
    assert PcGrad().weigh(torch.ones(1, 1)).tolist() == [1.0]
    with pytest.raises(InputError, match=r"needs the order of its projections \[3, 2\]"):
        PcGrad().weigh(torch.eye(3))


def test_an_order_holds_the_others_once_and_is_a_function_of_its_key() -> None:
    for T in range(1, 7):
        order = projection_order(key(0, "step", 5), T)
        assert order.shape == (T, T - 1) and order.dtype == torch.int64
        assert [sorted(row) for row in order.tolist()] == [[j for j in range(T) if j != i] for i in range(T)]
        assert torch.equal(order, projection_order(key(0, "step", 5), T))
    first = torch.stack([projection_order(key(0, s), 4) for s in range(600)])[:, 0, 0]
    share = torch.bincount(first, minlength=4)[1:] / 600
    assert bool(((share - 1 / 3).abs() < 0.08).all())  # 4 standard deviations


def test_worst_case_is_the_greatest_loss() -> None:
    losses = torch.tensor([0.3, 2.0, -1.0, 2.0])
    assert WorstCase().weigh(losses).tolist() == [0.0, 0.5, 0.0, 0.5]
    assert WorstCase().weigh(losses[:3]).tolist() == [0.0, 1.0, 0.0]
    assert WorstCase().weigh(torch.tensor([1.0, torch.inf])).tolist() == [0.0, 1.0]
    assert bool(WorstCase().weigh(torch.tensor([1.0, torch.nan])).isnan().all())


def test_worst_case_gives_the_subgradient_of_the_maximum() -> None:
    theta = torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)
    losses = torch.stack([theta.square().sum(), (theta - 1).square().sum(), theta.exp().sum()])
    (ours,) = torch.autograd.grad(WorstCase().weigh(losses) @ losses, theta, retain_graph=True)
    (theirs,) = torch.autograd.grad(losses.max(), theta)
    assert torch.equal(ours, theirs)


def test_fixed_weights_go_by_task() -> None:
    losses = torch.rand(2)
    assert Fixed(weights=WEIGHTS).weigh(losses, tasks=torch.tensor([4, 1])).tolist() == [3.0, 2.0]
    assert Fixed(weights=WEIGHTS).weigh(torch.rand(5)).tolist() == list(WEIGHTS)
    with pytest.raises(InputError, match="has 5 weights, one a task, but there are 2 tasks, with ids up to 5"):
        Fixed(weights=WEIGHTS).weigh(losses, tasks=torch.tensor([0, 5]))
    with pytest.raises(InputError, match="has 5 weights, one a task, but there are 2 tasks: give"):
        Fixed(weights=WEIGHTS).weigh(losses)
    with pytest.raises(InputError, match="one finite weight"):
        Fixed(weights=(1.0, -1.0))


def flat(gradient: dict[str, Tensor], like: Sequence[tuple[str, Tensor]]) -> Tensor:
    return torch.cat([gradient.get(n, torch.zeros_like(t)).reshape(-1).double() for n, t in like])


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e18])
def test_the_gram_matrix_is_that_of_the_whole_gradients(size: float) -> None:
    """float32 gradients larger than a block, at sizes where products in float32 would vanish or overflow, and a name that a task lacks."""
    g = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (300, 250), "a.bias": (300,), "head": (4, 3)}
    tasks = [{n: torch.randn(*s, generator=g) * size for n, s in shapes.items()} for _ in range(3)]
    like = list(tasks[0].items())
    del tasks[1]["head"]
    stacked = torch.stack([flat(task, like) for task in tasks])
    found = gram(tasks)
    torch.testing.assert_close(found, stacked @ stacked.T, rtol=1e-11, atol=0.0)
    assert found.dtype == torch.float64 and torch.equal(found, found.T)


def test_the_gram_matrix_of_nothing() -> None:
    assert gram([]).shape == (0, 0)
    assert gram([{}, {}]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
