"""Laws that every aggregator obeys: the axis' own, one scale for all, and what the papers say of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.parts.aggregators import (
    AGGREGATORS,
    Aggregator,
    AlignedMtl,
    CaGrad,
    Dwa,
    FairGrad,
    Famo,
    Fixed,
    GradNorm,
    GradVac,
    GroupDro,
    ImtlG,
    ImtlL,
    Mean,
    MinNorm,
    Nash,
    PcGrad,
    Rlw,
    Seen,
    Stch,
    TorchJd,
    Uncertainty,
    UpGrad,
    WorstCase,
    gram,
    layer_gram,
    projection_order,
    weights_of,
)
from fewtune.spec import parse, text
from fewtune.testing import check_aggregator
from fewtune.testing.aggregators import gradients, seen

WEIGHTS = (0.5, 2.0, 1.0, 0.0, 3.0)
CASES = (
    AlignedMtl(),
    CaGrad(),
    Dwa(window=1),
    FairGrad(),
    Famo(),
    Fixed(weights=WEIGHTS),
    GradNorm(),
    GradVac(),
    GroupDro(),
    GroupDro(relative=True),
    ImtlG(),
    ImtlL(),
    Mean(),
    MinNorm(),
    MinNorm(unit=True),
    Nash(),
    PcGrad(),
    PcGrad(scale="own"),
    Rlw(),
    Stch(),
    Stch(mu=0.1, preference=(1.0, 2.0, 1.0, 3.0, 1.0), ideal=(0.1, 0.0, 0.0, 0.0, 0.0)),
    Uncertainty(),
    UpGrad(),
    WorstCase(),
)
WORDS = {kind.__name__: kind for kind in AGGREGATORS}
OF_GRADIENTS = tuple(a for a in CASES if a.needs == "gram")
SIGNED = (AlignedMtl, ImtlG)  # declared exceptions: their weights may be negative
STEPWISE = (Dwa, Famo, GroupDro, ImtlL, Stch, Uncertainty, WorstCase)  # weights that depend on the size of the losses, not on their ratios
each = pytest.mark.parametrize("aggregator", CASES, ids=text)
each_of_gradients = pytest.mark.parametrize("aggregator", OF_GRADIENTS, ids=text)
seeds, counts = st.integers(0, 10**6), st.integers(1, 5)


def own(aggregator: Any, g: Tensor, **given: Any) -> Tensor:
    """The weights of a fresh state at the aggregator's own scale."""
    return aggregator.weigh(seen(g, **given), aggregator.begin(len(g)))[0]


def usual(aggregator: Any, g: Tensor, **given: Any) -> Tensor:
    """The weights of a fresh state at the common scale."""
    return weights_of(aggregator, seen(g, **given), aggregator.begin(len(g)))[0]


def of_losses(*losses: float) -> Seen:
    return Seen(tasks=torch.arange(len(losses)), losses=torch.tensor(losses, dtype=torch.float64))


def run(aggregator: Any, losses: Sequence[Sequence[float]], g: Tensor | None = None) -> list[list[float]]:
    """Weights step after step."""
    state, found = aggregator.begin(len(losses[0])), []
    for step in losses:
        looked = of_losses(*step)
        weights, state = weights_of(aggregator, looked if g is None else replace(looked, gram=g @ g.T), state)
        found.append(weights.tolist())
    return found


def test_every_aggregator_is_a_case() -> None:
    assert {type(case) for case in CASES} | {TorchJd} == set(AGGREGATORS)
    assert all(isinstance(case, Aggregator) for case in CASES)


@each
def test_what_others_run_on_their_aggregators_holds_for_ours(aggregator: Aggregator) -> None:
    check_aggregator(aggregator, one_is_itself=not isinstance(aggregator, Fixed), signed=isinstance(aggregator, SIGNED))


@each
def test_an_aggregator_is_its_text(aggregator: Any) -> None:
    assert parse(text(aggregator), WORDS) == aggregator
    assert parse(type(aggregator).__name__, WORDS) == type(aggregator)()


@each
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=seeds, T=counts)
def test_permuting_tasks_permutes_weights(aggregator: Aggregator, seed: int, T: int) -> None:
    g, permuted = gradients(seed, T), torch.randperm(T, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(usual(aggregator, g[permuted], tasks=permuted), usual(aggregator, g)[permuted], rtol=1e-9, atol=1e-9)


@each
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=seeds, T=counts, size=st.sampled_from([1e-100, 1e-30, 1.0, 1e30, 1e100]))
def test_extreme_scales_stay_finite(aggregator: Aggregator, seed: int, T: int, size: float) -> None:
    g = gradients(seed, T, spread=4)
    weights = usual(aggregator, g, size=size)
    assert bool(weights.isfinite().all()) and (isinstance(aggregator, SIGNED) or bool((weights >= 0).all()))
    if not isinstance(aggregator, STEPWISE):
        torch.testing.assert_close(weights, usual(aggregator, g), rtol=1e-7, atol=1e-9)


@each
def test_weights_are_constants(aggregator: Aggregator) -> None:
    looked = seen(gradients(1, 5))
    looked.losses.requires_grad_()
    weights, state = weights_of(aggregator, replace(looked, losses=looked.losses.detach()), aggregator.begin(5))
    assert not weights.requires_grad and weights.shape == (5,) and not any(t.requires_grad for t in state.values())


@each
@pytest.mark.parametrize("numbers", [(7, 2, 5), (2, 5)])
def test_tasks_go_by_their_numbers(aggregator: Aggregator, numbers: tuple[int, ...]) -> None:
    """The same three tasks called 7, 2 and 5, and two of them: the state is theirs."""
    if isinstance(aggregator, Fixed) or (isinstance(aggregator, Stch) and aggregator.preference):
        pytest.skip("has numbers for tasks 0 to 4 alone")
    state, tasks = aggregator.begin(9), torch.tensor(numbers)
    for step in range(3):
        before = state
        weights, state = weights_of(aggregator, seen(gradients(step, len(numbers)), tasks, step=step), state)
        absent = [i for i in range(9) if i not in numbers]
        assert bool(weights.isfinite().all())
        assert all(torch.equal(state[n][absent], before[n][absent]) for n in before)


# the scale


@each_of_gradients
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=seeds, T=counts, spread=st.sampled_from([0.0, 1.0]))
def test_updates_are_as_long_as_the_mean(aggregator: Any, seed: int, T: int, spread: float) -> None:
    """Where the gradients do not cancel to less than a hundredth of their lengths, and shorter where they do."""
    g = gradients(seed, T, spread=spread)
    weights = usual(replace(aggregator, scale="mean"), g)
    length, mean = float((weights @ g).norm()), float(g.mean(0).norm())
    parts = float((weights.abs() * g.norm(dim=1)).sum())
    assert length == pytest.approx(mean, rel=1e-6) or (length < mean and length < 0.0101 * parts)
    own_weights = own(aggregator, g)
    torch.testing.assert_close(weights / weights.abs().sum(), own_weights / own_weights.abs().sum(), rtol=1e-9, atol=1e-12)


def test_weights_of_losses_sum_to_one() -> None:
    for aggregator in CASES:
        if aggregator.needs == "losses" and not isinstance(aggregator, Fixed):
            assert float(usual(aggregator, gradients(3, 4)).sum()) == pytest.approx(1, abs=1e-12), aggregator


@each_of_gradients
def test_two_equal_tasks_are_one(aggregator: Any) -> None:
    """At the common scale the update is that of one of them."""
    g = gradients(0, 1).expand(2, -1)
    torch.testing.assert_close(usual(replace(aggregator, scale="mean"), g) @ g, g[0], rtol=1e-6, atol=1e-9)


@each_of_gradients
@pytest.mark.parametrize("g", [torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), torch.zeros(3, 2)])
def test_tasks_that_cancel_and_gradients_of_zero_stay_finite(aggregator: Any, g: Tensor) -> None:
    assert bool(usual(aggregator, g.double()).isfinite().all())
    assert bool(usual(aggregator, torch.cat([g, torch.zeros(1, 2), torch.ones(1, 2)]).double()).isfinite().all())


def test_gradients_that_are_not_finite_are_not_hidden() -> None:
    for aggregator in OF_GRADIENTS:
        looked = replace(seen(gradients(0, 3)), gram=torch.full((3, 3), torch.nan, dtype=torch.float64))
        assert bool(weights_of(aggregator, looked, aggregator.begin(3))[0].isnan().all())


# PcGrad, UpGrad, GradVac


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


def order_of(step: int, T: int) -> Tensor:
    return projection_order(key(0, "step", step), torch.arange(T))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(1, 7), n=st.integers(1, 12), spread=st.sampled_from([0.0, 1.0, 2.0]))
def test_pcgrad_is_its_definition(seed: int, T: int, n: int, spread: float) -> None:
    """Also in spaces of fewer dimensions than tasks, and with norms from 1e-2 to 1e2: a spread of 1e4."""
    g = gradients(seed, T, n, spread)
    weights = own(PcGrad(), g, step=seed)
    torch.testing.assert_close(weights @ g, projected(g, order_of(seed, T)), rtol=1e-9, atol=1e-9 * float(g.norm(dim=1).max()))
    assert bool((weights >= 1).all())


def test_pcgrad_by_hand() -> None:
    """g1 = (1, 0), g2 = (-1, 1): g1' = (1, 0) + 1/2 (-1, 1) = (1/2, 1/2), g2' = (-1, 1) + (1, 0) = (0, 1); the sum, not the mean."""
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    weights = own(PcGrad(), g)
    assert weights.tolist() == [2.0, 1.5]
    assert (weights @ g).tolist() == [0.5, 1.5]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=seeds, T=counts)
def test_pcgrad_without_conflict_is_the_sum(seed: int, T: int) -> None:
    for aggregator in (PcGrad(), UpGrad(), GradVac()):
        assert own(aggregator, gradients(seed, T).abs()).tolist() == [1.0] * T


def test_pcgrad_depends_on_the_order() -> None:
    g = gradients(3, 5, n=3)
    assert len({tuple(own(PcGrad(), g, step=s).tolist()) for s in range(8)}) > 1


def test_pcgrad_leaves_a_gradient_of_zero_alone() -> None:
    g = torch.cat([gradients(0, 3, 2), torch.zeros(1, 2, dtype=torch.float64)])
    torch.testing.assert_close(own(PcGrad(), g)[:3], own(PcGrad(), g[:3]))


def test_an_order_holds_the_others_once_and_is_a_function_of_its_key() -> None:
    for T in range(1, 7):
        order = order_of(5, T)
        assert order.shape == (T, T - 1) and order.dtype == torch.int64
        assert [sorted(row) for row in order.tolist()] == [[j for j in range(T) if j != i] for i in range(T)]
        assert torch.equal(order, order_of(5, T))
    first = torch.stack([order_of(s, 4) for s in range(600)])[:, 0, 0]
    share = torch.bincount(first, minlength=4)[1:] / 600
    assert bool(((share - 1 / 3).abs() < 0.08).all())  # 4 standard deviations


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=seeds, spread=st.sampled_from([0.0, 2.0]))
def test_upgrad_of_two_tasks_is_pcgrad(seed: int, spread: float) -> None:
    g = gradients(seed, 2, 3, spread)
    torch.testing.assert_close(own(UpGrad(), g), own(PcGrad(), g), rtol=1e-8, atol=1e-10)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(2, 8), n=st.integers(2, 12), spread=st.sampled_from([0.0, 2.0]))
def test_upgrad_hurts_no_task_and_is_a_sum_of_projections(seed: int, T: int, n: int, spread: float) -> None:
    g = gradients(seed, T, n, spread)
    update = own(UpGrad(), g) @ g
    lengths = g.norm(dim=1)
    assert bool(((g @ update) / lengths / lengths.max() >= -1e-6).all())
    one = minimize(lambda v: float(((torch.from_numpy(v) @ g + g[0]) ** 2).sum()), np.zeros(T), bounds=[(0, None)] * T)
    if spread == 0:
        from fewtune.parts.aggregators.solvers import non_negative, unit_gram

        R, S, _ = unit_gram(g @ g.T)
        mine = torch.from_numpy(non_negative(R, R[0]) * S[0] / S) @ g + g[0]
        assert float(mine.square().sum()) <= one.fun * (1 + 1e-6) + 1e-12


def test_gradvac_turns_gradients_to_their_usual_cosine() -> None:
    """Two steps by hand: at first PcGrad; then the running mean of the cosines is the goal, above 0 or below."""
    aggregator = GradVac(beta=0.5)
    first = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)  # cosine 0.8: no conflict, and the usual cosine becomes 0.4
    weights, state = aggregator.weigh(seen(first), aggregator.begin(2))
    assert weights.tolist() == [1.0, 1.0] and state["usual"][0, 1] == pytest.approx(0.4) and state["usual"][1, 0] == pytest.approx(0.4)
    g = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)  # cosine 0, less than 0.4
    weights, state = aggregator.weigh(seen(g), state)
    turned = weights @ g
    rise = 0.4 / np.sqrt(1 - 0.16)  # of a unit vector along the other, so that the cosine is 0.4
    assert turned.tolist() == pytest.approx([2 + 3 * rise, 3 + 2 * rise])
    assert state["usual"][0, 1] == pytest.approx(0.2)


# methods with a problem of their own


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=seeds, n=st.integers(1, 4), spread=st.sampled_from([0.0, 1.0, 2.0]))
def test_min_norm_of_two_tasks_is_the_closed_form(seed: int, n: int, spread: float) -> None:
    g = gradients(seed, 2, n, spread)
    expected = float((((g[1] - g[0]) @ g[1]) / (g[0] - g[1]).square().sum()).clamp(0, 1))
    assert own(MinNorm(), g).tolist() == pytest.approx([expected, 1 - expected], abs=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(1, 12), n=st.integers(1, 12), spread=st.sampled_from([0.0, 2.0]))
def test_min_norm_is_the_shortest_combination(seed: int, T: int, n: int, spread: float) -> None:
    """Its optimality: d . g_i >= |d|^2 for all tasks, and equal where a task has weight."""
    g = gradients(seed, T, n, spread)
    w = own(MinNorm(), g)
    d = w @ g
    assert bool((w >= 0).all()) and float(w.sum()) == pytest.approx(1)
    room = (g @ d - d @ d) / (g.norm(dim=1) * g.norm(dim=1).max())
    assert bool((room >= -1e-7).all()) and float((w * room).abs().max()) < 1e-7


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(2, 6), n=st.sampled_from([1, 2, 4]), c=st.sampled_from([0.2, 0.5, 0.9]))
def test_cagrad_is_the_best_update_near_the_mean(seed: int, T: int, n: int, c: float) -> None:
    """Against SciPy's solution of the primal problem, max_d min_i g_i . d within c |g_0| of g_0; with few numbers a gradient, some
    convex combination of the gradients is 0."""
    g = gradients(seed, T, n)
    mean = g.mean(0)
    d = own(CaGrad(c=c), g) @ g * (1 + c**2)
    radius = c * float(mean.norm())
    assert float((d - mean).norm()) <= radius * (1 + 1e-6)
    start = np.append(mean.numpy(), float((g @ mean).min()))
    rules = (
        {"type": "ineq", "fun": lambda x: (g.numpy() @ x[:-1]) - x[-1]},
        {"type": "ineq", "fun": lambda x: radius**2 - float(((x[:-1] - mean.numpy()) ** 2).sum())},
    )
    best = minimize(lambda x: -x[-1], start, constraints=rules, method="SLSQP", options={"maxiter": 500, "ftol": 1e-12})
    assert float((g @ d).min()) >= -best.fun - 1e-5 * float(g.square().sum())


@pytest.mark.parametrize(
    ("g", "wanted"),
    [
        ([[1.0, 0.0], [-2.0, 0.0]], [-0.25, 0.0]),
        ([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.2]], [0.0, -0.1 / 3]),
        ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [0.0, 1 / 3]),
    ],
)
def test_cagrad_moves_where_gradients_can_cancel(g: list[list[float]], wanted: list[float]) -> None:
    """By hand. Where g_w = 0 is the best there is, rounding stays small: weights do not explode."""
    weights = own(CaGrad(), torch.tensor(g).double()) * 1.25
    torch.testing.assert_close(weights @ torch.tensor(g).double(), torch.tensor(wanted).double(), atol=1e-7, rtol=1e-7)
    assert float(weights.abs().max()) < 1e4


def test_cagrad_without_radius_is_the_mean() -> None:
    g = gradients(0, 4)
    torch.testing.assert_close(own(CaGrad(c=0.0), g), torch.full((4,), 0.25).double())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(1, 10), alpha=st.sampled_from([1.0, 0.5, 2.0, 4.0]))
def test_nash_and_fairgrad_solve_their_equation(seed: int, T: int, alpha: float) -> None:
    """Residual of G a = a^(-1/alpha) to 1e-8 where norms spread over 1e4 (1e-2 to 1e2)."""
    g = gradients(seed, T, 16, spread=2)
    G = g @ g.T
    a = own(Nash() if alpha == 1 else FairGrad(alpha=alpha), g)
    assert bool((a > 0).all())
    assert float(((G @ a) * a ** (1 / alpha) - 1).abs().max()) < 1e-8
    if alpha == 1:
        torch.testing.assert_close(own(FairGrad(alpha=1.0), g), a)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(1, 6))
def test_imtl_g_has_equal_projections(seed: int, T: int) -> None:
    g = gradients(seed, T, 12, spread=1)
    update = own(ImtlG(), g) @ g
    projections = (g @ update) / g.norm(dim=1)
    torch.testing.assert_close(projections, projections[:1].expand(T), rtol=1e-6, atol=0.0)
    assert bool((projections > 0).all())


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=seeds, T=st.integers(1, 6))
def test_aligned_mtl_is_the_mean_of_aligned_gradients(seed: int, T: int) -> None:
    """By the singular values of the gradients themselves: U V' times the least of them."""
    g = gradients(seed, T, 12)
    U, S, Vh = torch.linalg.svd(g, full_matrices=False)
    torch.testing.assert_close(own(AlignedMtl(), g) @ g, (S.min() * U @ Vh).mean(0), rtol=1e-7, atol=1e-9)


# methods that learn from step to step


def test_uncertainty_rests_where_the_paper_has_its_minimum() -> None:
    """exp(s) = L: weights are as 1 / L, and with their own scale 1 / (2 L)."""
    found = run(Uncertainty(rate=0.5, scale="own"), [(4.0, 0.25)] * 400)
    assert found[0] == [0.5, 0.5] and found[-1] == pytest.approx([1 / 8, 2.0], rel=1e-6)
    assert run(Uncertainty(rate=0.5), [(4.0, 0.25)] * 400)[-1] == pytest.approx([1 / 17, 16 / 17], rel=1e-6)


def test_uncertainty_moves_by_its_gradient() -> None:
    looked = of_losses(1.7, 0.4)
    s = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    (torch.exp(-s) * looked.losses / 2 + s / 2).sum().backward()
    assert s.grad is not None
    _, after = Uncertainty(rate=0.1).weigh(looked, {"s": s.detach()})
    torch.testing.assert_close(after["s"], s.detach() - 0.1 * s.grad)


def test_imtl_l_rests_where_all_weighted_losses_are_one() -> None:
    assert run(ImtlL(rate=0.5, scale="own"), [(4.0, 0.25)] * 400)[-1] == pytest.approx([0.25, 4.0], rel=1e-6)


@pytest.mark.parametrize("aggregator", [Uncertainty(), ImtlL(), Dwa(), GroupDro(relative=True), GradNorm(), Famo()], ids=text)
def test_losses_below_zero_are_refused_where_they_mean_nothing(aggregator: Any) -> None:
    looked = replace(of_losses(1.0, -0.5), gram=torch.eye(2, dtype=torch.float64))
    with pytest.raises(InputError, match=r"losses of at least 0, found -0.5 for task 1"):
        aggregator.weigh(looked, aggregator.begin(2))


def test_dwa_weighs_by_the_ratio_of_windows() -> None:
    """Windows of two: means 2, 1 of the first task and 1, 1 of the second; then r = (1/2, 1)."""
    losses = [(3.0, 1.0), (1.0, 1.0), (1.5, 1.0), (0.5, 1.0), (9.0, 9.0)]
    found = run(Dwa(tau=2.0, window=2), losses)
    assert found[:4] == [[0.5, 0.5]] * 4
    assert found[4] == pytest.approx(torch.softmax(torch.tensor([0.25, 0.5]), 0).tolist())


def test_group_dro_is_mirror_ascent() -> None:
    found = run(GroupDro(rate=0.1), [(1.0, 2.0), (1.0, 2.0)])
    assert found[1] == pytest.approx(torch.softmax(torch.tensor([0.2, 0.4]), 0).tolist())
    relative = run(GroupDro(rate=0.1, relative=True), [(1.0, 20.0), (1.0, 20.0)])
    assert relative[1] == pytest.approx([0.5, 0.5])


def test_group_dro_leaves_an_absent_task_its_share() -> None:
    """What the tasks present have together does not change, so the third keeps a third."""
    looked = of_losses(1.0, 2.0)
    _, state = GroupDro(rate=0.1).weigh(looked, GroupDro().begin(3))
    assert torch.softmax(state["log_q"], 0)[2] == pytest.approx(1 / 3)


def test_stch_lies_between_the_worst_case_and_the_mean() -> None:
    looked = of_losses(0.3, 2.0, 1.0)
    p = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    losses = looked.losses.clone().requires_grad_()
    smooth = 0.7 * torch.logsumexp(p * (losses - 0.1) / 0.7, 0)
    (expected,) = torch.autograd.grad(smooth, losses)
    torch.testing.assert_close(Stch(mu=0.7, preference=tuple(p.tolist()), ideal=(0.1, 0.1, 0.1)).weigh(looked, {})[0], expected)
    assert Stch(mu=1e-4).weigh(looked, {})[0].tolist() == pytest.approx([0, 1, 0])
    assert Stch(mu=1e4).weigh(looked, {})[0].tolist() == pytest.approx([1 / 3] * 3, abs=1e-3)
    with pytest.raises(InputError, match="preference of Stch has 2 numbers"):
        Stch(preference=(1.0, 1.0)).weigh(looked, {})


def test_famo_is_the_gradient_of_its_objective_and_moves_as_torch_would() -> None:
    aggregator = Famo(rate=0.1, weight_decay=1e-2)
    state = aggregator.begin(3)
    xi = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.Adam([xi], lr=0.1, weight_decay=1e-2)
    random = torch.Generator().manual_seed(0)
    for _ in range(4):
        before, after = torch.rand(2, 3, generator=random, dtype=torch.float64) + 0.1
        looked = of_losses(*before.tolist())
        weights, state = aggregator.weigh(looked, state)
        z = torch.softmax(xi, 0)
        losses = before.clone().requires_grad_()
        c = 1 / (z.detach() / before).sum()
        torch.testing.assert_close(weights, torch.autograd.grad(c * (z.detach() @ losses.log()), losses)[0], rtol=1e-6, atol=1e-8)
        (xi.grad,) = torch.autograd.grad(z, xi, grad_outputs=before.log() - after.log())
        theirs.step()
        state = aggregator.look_back(looked, after, state)
        torch.testing.assert_close(state["xi"], xi.detach(), rtol=1e-6, atol=1e-7)


def test_famo_gives_more_to_the_task_that_fell_less() -> None:
    aggregator = Famo()
    state, looked = aggregator.begin(2), of_losses(1.0, 1.0)
    for _ in range(5):
        state = aggregator.look_back(looked, torch.tensor([0.5, 0.99], dtype=torch.float64), state)
    weights, _ = aggregator.weigh(looked, state)
    assert weights[1] > weights[0]


def test_grad_norm_with_alpha_zero_makes_weighted_gradients_alike() -> None:
    g = gradients(0, 4, spread=1)
    weights = torch.tensor(run(GradNorm(alpha=0.0, rate=0.2, scale="own"), [(1.0,) * 4] * 200, g)[-1])
    lengths = weights * g.norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand(4), rtol=1e-6, atol=0.0)
    assert float(weights.sum()) == pytest.approx(4)


def test_grad_norm_gives_a_stalled_task_more_weight() -> None:
    """Alike gradients; the first task's loss falls, the second's stands still: the second's weight rises in every step."""
    g = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    losses = [(1.0, 1.0)] * 10 + [(0.9**i, 1.0) for i in range(1, 20)]
    found = [second for _, second in run(GradNorm(scale="own"), losses, g)]
    assert found[:10] == pytest.approx([1.0] * 10)
    assert all(later > before for before, later in pairwise(found[9:]))


def test_a_first_loss_is_a_mean_of_ten_not_of_one_batch() -> None:
    aggregator, state = GroupDro(relative=True), GroupDro(relative=True).begin(2)
    for loss in (5.0, *[1.0] * 9, *[0.1] * 30):
        _, state = aggregator.weigh(of_losses(loss, 1.0), state)
    assert state["first"].tolist() == pytest.approx([1.4, 1.0])


def test_random_weights_are_keyed_and_even_on_average() -> None:
    g = gradients(0, 3)
    found = torch.stack([own(Rlw(), g, step=s) for s in range(800)])
    assert torch.equal(found[3], own(Rlw(), g, step=3)) and not torch.equal(found[3], found[4])
    assert bool(((found.mean(0) - 1 / 3).abs() < 0.03).all())
    spread = torch.softmax(torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)), 1).std(0)
    torch.testing.assert_close(found.std(0).float(), spread, rtol=0.1, atol=0.0)


# of losses, without memory


def test_worst_case_is_the_greatest_loss() -> None:
    def found(*losses: float) -> Tensor:
        return WorstCase().weigh(of_losses(*losses), {})[0]

    assert found(0.3, 2.0, -1.0, 2.0).tolist() == [0.0, 0.5, 0.0, 0.5]
    assert found(0.3, 2.0, -1.0).tolist() == [0.0, 1.0, 0.0]
    assert found(1.0, torch.inf).tolist() == [0.0, 1.0]
    assert bool(found(1.0, torch.nan).isnan().all())


def test_worst_case_gives_the_subgradient_of_the_maximum() -> None:
    theta = torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)
    losses = torch.stack([theta.square().sum(), (theta - 1).square().sum(), theta.exp().sum()])
    weights, _ = WorstCase().weigh(of_losses(*losses.tolist()), {})
    (ours,) = torch.autograd.grad(weights @ losses, theta, retain_graph=True)
    (theirs,) = torch.autograd.grad(losses.max(), theta)
    assert torch.equal(ours, theirs)


def test_fixed_weights_go_by_task() -> None:
    def found(*tasks: int) -> list[float]:
        looked = Seen(tasks=torch.tensor(tasks), losses=torch.rand(len(tasks), dtype=torch.float64))
        return list(weights_of(Fixed(weights=WEIGHTS), looked, {})[0].tolist())

    assert found(4, 1) == [3.0, 2.0]
    assert found(0, 1, 2, 3, 4) == list(WEIGHTS)
    with pytest.raises(InputError, match="has 5 weights, one a task, but there are 2 tasks, with ids up to 5"):
        found(0, 5)
    with pytest.raises(InputError, match="one finite weight"):
        Fixed(weights=(1.0, -1.0))


# settings, and the library TorchJD


@pytest.mark.parametrize(
    ("kind", "given", "sentence"),
    [
        (PcGrad, {"gram": "whole"}, "gram is 'exact', 'layer' or 'representation', found 'whole'"),
        (Nash, {"every": 0}, "every is the number of steps"),
        (UpGrad, {"scale": "sum"}, "scale is 'mean' or 'own', found 'sum'"),
        (Uncertainty, {"scale": "sum"}, "scale is 'mean' or 'own', found 'sum'"),
        (Uncertainty, {"rate": 0.0}, "rate of Uncertainty is a finite number above 0"),
        (CaGrad, {"c": 1.0}, "c of CaGrad"),
        (FairGrad, {"alpha": -1.0}, "alpha of FairGrad is a finite number above 0"),
        (Stch, {"mu": 0.0}, "mu of Stch"),
        (Stch, {"ideal": (0.0, float("nan"))}, r"ideal\[1\] of Stch is a finite number, found nan"),
        (Dwa, {"window": 0}, "window of Dwa"),
        (Dwa, {"window": 2.5}, "window of Dwa is a whole number of at least 1, found 2.5"),
        (GradNorm, {"alpha": float("nan")}, "alpha of GradNorm is a finite number of at least 0, found nan"),
        (Famo, {"weight_decay": -1.0}, "weight_decay of Famo is a finite number of at least 0"),
        (Famo, {"lower": float("inf")}, "lower of Famo is a finite number, found inf"),
        (GradVac, {"beta": 1.5}, "beta of GradVac is a number above 0 and below 1, found 1.5"),
    ],
)
def test_bad_settings_are_refused(kind: Any, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        kind(**given)


def test_without_torchjd_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(InputError, match=r"pip install 'fewtune\[torchjd\]'"):
        TorchJd().weigh(seen(gradients(0, 3)), {})


THEIRS: dict[str, dict[str, Any]] = {
    "MGDA": {"epsilon": 1e-12, "max_iters": 3000},
    "IMTLG": {},
    "AlignedMTL": {},
    "FairGrad": {"alpha": 1.0},
    "Mean": {},
}


@pytest.mark.parametrize(
    ("name", "ours"),
    [("MGDA", MinNorm()), ("IMTLG", ImtlG()), ("AlignedMTL", AlignedMtl()), ("FairGrad", FairGrad(alpha=1.0)), ("Mean", Mean())],
)
def test_ours_are_as_those_of_torchjd(name: str, ours: Any) -> None:
    """Up to what their iterations leave; of ImtlG the direction alone, where the scale departs."""
    there = pytest.importorskip("torchjd.aggregation")
    for seed in range(5):
        g = gradients(seed, 4, 12)
        theirs, mine = getattr(there, f"{name}Weighting")(**THEIRS[name])(g @ g.T), own(ours, g)
        if name == "IMTLG":
            mine, theirs = mine / mine.norm(), theirs / theirs.norm() * theirs.sum().sign()
        torch.testing.assert_close(mine @ g, theirs @ g, rtol=2e-2, atol=2e-2)


def test_pcgrad_is_that_of_torchjd_where_the_order_does_not_matter() -> None:
    pytest.importorskip("torchjd")
    for seed in range(5):
        g = gradients(seed, 2, 3)
        torch.testing.assert_close(TorchJd(name="PCGrad").weigh(seen(g), {})[0], own(PcGrad(), g))


def test_a_weighting_that_torchjd_has_not_is_refused() -> None:
    pytest.importorskip("torchjd")
    with pytest.raises(InputError, match=r"no weighting of a Gram matrix named 'Krumm': expected one of .*UPGrad"):
        TorchJd(name="Krumm").weigh(seen(gradients(0, 3)), {})
    with pytest.raises(InputError, match="keeps a state of its own"):
        TorchJd(name="GradVac").weigh(seen(gradients(0, 3)), {})


# Gram matrices


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


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e18])
@pytest.mark.parametrize(("N", "i", "o"), [(6, 50, 40), (300, 5, 4), (7, 3, 90), (0, 3, 4), (64, 700, 900)])
@pytest.mark.parametrize("apart", [False, True])
def test_the_gram_matrix_of_a_layer_is_that_of_its_gradients(size: float, N: int, i: int, o: int, apart: bool) -> None:
    """In each of three orders of multiplication, also where every task has rows of its own."""
    g = torch.Generator().manual_seed(0)
    rows, back = torch.randn(N, i, generator=g) * 3, torch.randn(5, N, o, generator=g) * size
    if apart:
        back = back * (torch.arange(N) % 5 == torch.arange(5)[:, None])[..., None]
    whole = torch.einsum("tno,ni->toi", back.double(), rows.double()).flatten(1)
    expected = whole @ whole.T
    found = layer_gram(rows, back)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()) if N else 0.0)
    assert found.dtype == torch.float64 and torch.equal(found, found.T)
