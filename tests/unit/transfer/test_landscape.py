"""Lines between two solutions and their barrier, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fewtune import Backbone, InputError
from fewtune.statistics.ranking_metrics import auc
from fewtune.transfer import barrier, interpolation, mixed, reestimated
from tests.tiny import drawn

POINTS = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)


def test_a_line_is_measured_inside_and_outside() -> None:
    first, second = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, -2.0])}
    found = interpolation(first, second, lambda w: w["w"].numpy(), POINTS)
    np.testing.assert_allclose(found, [[1 + 2 * a, 2 - 4 * a] for a in POINTS], atol=1e-6)


def test_the_ends_are_the_solutions_themselves_and_counters_do_not_mix() -> None:
    first, second = {"w": torch.ones(2), "n": torch.tensor(3)}, {"w": torch.zeros(2), "n": torch.tensor(8)}
    assert mixed(first, second, 0)["w"] is first["w"] and mixed(first, second, 1)["n"] is second["n"]
    assert int(mixed(first, second, 0.5)["n"]) == 3


def test_a_tensor_of_both_stays_that_tensor() -> None:
    """Not (1 - a) t + a t, which rounds, and which a kept lower part of a network would take for another tensor."""
    frozen = torch.tensor([0.1])
    found = mixed({"f": frozen, "w": torch.zeros(1)}, {"f": frozen, "w": torch.ones(1)}, 0.3)
    assert found["f"] is frozen and float(found["w"]) == pytest.approx(0.3)


def test_settling_happens_at_every_point() -> None:
    found = interpolation({"w": torch.zeros(1)}, {"w": torch.ones(1)}, lambda w: float(w["w"]), (0, 0.5, 1), lambda w: {"w": w["w"] + 10})
    assert found.tolist() == [10, 10.5, 11]


@pytest.mark.parametrize("other", [{"v": torch.zeros(2)}, {"w": torch.zeros(3)}, {}])
def test_other_architectures_are_refused(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="one architecture with the same head"):
        interpolation({"w": torch.zeros(2)}, other, lambda _: 0.0)


def test_a_barrier_of_accuracies_is_the_largest_gap_below_the_line() -> None:
    found = barrier((0, 0.25, 0.5, 1), [0.8, 0.7, 0.2, 0.6])
    assert found.value.mean == pytest.approx(0.5)  # 0.7 on the line at 0.5
    assert found.at == 0.5 and np.isnan(found.value.low)
    assert found.middle.mean == 0.0


def test_a_barrier_of_losses_is_the_largest_gap_above_the_line_and_a_boost_is_found() -> None:
    assert barrier((0, 0.5, 1), [1.0, 4.0, 2.0], "loss").value.mean == pytest.approx(2.5)
    boosted = barrier((0, 0.5, 1), [0.5, 0.9, 0.6])
    assert boosted.value.mean == 0.0 and boosted.middle.mean == pytest.approx(0.35)


def test_points_outside_do_not_count_and_any_order_will_do() -> None:
    found = barrier((1.5, 1, 0.5, 0, -1), [0.0, 0.6, 0.5, 0.8, 0.0])
    assert found.value.mean == pytest.approx(0.2) and found.points.tolist() == [0, 0.5, 1]


def test_the_barrier_of_an_auc_is_that_of_its_curve() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(40) % 2
    scores = np.stack([truth + s * random.standard_normal(40) for s in (0.1, 3.0, 0.1)])
    found = barrier((0, 0.5, 1), scores, "auc", truth, resamples=100)
    areas = [auc(np.stack([-s, s], 1), truth) for s in scores]
    assert found.curve.tolist() == areas
    assert found.value.mean == pytest.approx((areas[0] + areas[2]) / 2 - areas[1])
    assert 0 < found.value.low < found.value.mean < found.value.high


def test_the_interval_contains_no_barrier_where_there_is_none() -> None:
    """The largest of noisy gaps is always above 0; the bounds must contain 0 in about 95 of 100 cases."""
    random = np.random.default_rng(1)
    holds = [0.0 in barrier(np.linspace(0, 1, 6), random.random((6, 100)) < 0.7, resamples=200, seed=i).value for i in range(100)]
    assert np.mean(holds) >= 0.93


def test_the_interval_finds_a_barrier_that_is_there() -> None:
    random = np.random.default_rng(2)
    rows = np.stack([random.random(200) < p for p in (0.9, 0.4, 0.9)])
    found = barrier((0, 0.5, 1), rows).value
    assert 0.3 < found.low < 0.5 < found.high < 0.7 and 0.5 in found


@pytest.mark.parametrize("points", [(0, 1), (0.0, 0.5), (0.5, 0.6, 1.0)])
def test_a_barrier_needs_both_ends_and_a_middle(points: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="needs the points 0 and 1"):
        barrier(points, [0.5] * len(points))


def test_nothing_is_no_negative_number() -> None:
    for metric in ("accuracy", "loss"):
        found = barrier((0, 0.5, 1), [0.5, 0.5, 0.5], metric)
        assert [str(v.mean) for v in (found.value, found.middle)] == ["0.0", "0.0"]


def test_other_metrics_and_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="auroc"):
        barrier((0, 0.5, 1), [0.5, 0.2, 0.5], "auroc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="found 1 NaN or infinite among 3"):
        barrier((0, 0.5, 1), [0.5, np.nan, 0.5])


def test_an_auc_needs_the_truth() -> None:
    with pytest.raises(InputError, match="truth of each row"):
        barrier((0, 0.5, 1), np.zeros((3, 4)), "auc")


def normalising() -> Backbone:
    with drawn(0):
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    return Backbone.of(network, inputs=3)


def test_statistics_are_those_of_the_batches() -> None:
    backbone = normalising()
    random = torch.Generator().manual_seed(0)
    batches = [torch.randn(32, 3, generator=random) * 3 + 1 for _ in range(4)]
    start = backbone.start()
    found = reestimated(backbone, start, batches)
    name = next(n for n in start if n.endswith("running_mean"))
    hidden = [
        torch.nn.functional.linear(b, start[next(n for n in start if n.endswith("0.weight"))], start[n0])
        for b in batches
        for n0 in [next(n for n in start if n.endswith("0.bias"))]
    ]
    torch.testing.assert_close(found[name], torch.stack([h.mean(0) for h in hidden]).mean(0))
    torch.testing.assert_close(found[name.replace("mean", "var")], torch.stack([h.var(0) for h in hidden]).mean(0))
    others = [n for n in start if "running" not in n]
    assert all(found[n] is start[n] for n in others)
    assert torch.equal(backbone.start()[name], start[name]) and not torch.equal(found[name], start[name])


def test_without_batches_or_without_normalisation() -> None:
    backbone = normalising()
    with pytest.raises(InputError, match="at least one batch"):
        reestimated(backbone, backbone.start(), [])
    plain = Backbone.of(nn.Linear(3, 2), inputs=3)
    assert reestimated(plain, plain.start(), []).keys() == plain.start().keys()
