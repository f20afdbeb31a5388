"""Rewinding and criticality on networks small enough to know the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fewtune import InputError
from fewtune.transfer import chosen_groups, criticality, rewind, rewound, with_buffers

GROUPS = (("one", ("a", "b")), ("two", ("c",)))
START = {"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(3), "n": torch.tensor(1)}
END = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([2.0]), "c": torch.full((3,), 3.0), "n": torch.tensor(9)}


def test_one_group_at_a_time_goes_back() -> None:
    found = rewind(START, END, GROUPS, lambda w: {n: float(t.float().sum()) for n, t in w.items()})
    assert found == {"one": {"a": 0, "b": 0, "c": 9, "n": 9}, "two": {"a": 2, "b": 2, "c": 0, "n": 9}}


def test_a_share_of_the_way() -> None:
    found = rewound(START, END, ["a", "n"], 0.25)
    assert found["a"].tolist() == [0.25, 0.25] and found["c"] is END["c"] and int(found["n"]) == 1
    assert rewound(START, END, ["a"], 1.0)["a"] is END["a"]


def test_groups_by_pattern_and_buffers_with_their_module() -> None:
    groups = (("blocks.0", ("blocks.0.bn.weight",)), ("blocks.1", ("blocks.1.bn.weight",)))
    names = ["blocks.0.bn.weight", "blocks.0.bn.running_mean", "blocks.1.bn.weight", "other.running_mean"]
    assert with_buffers(groups, names)[0][1] == ("blocks.0.bn.weight", "blocks.0.bn.running_mean")
    assert with_buffers(groups, names)[1][1] == ("blocks.1.bn.weight",)
    assert [t for t, _ in chosen_groups(groups, ("*.1",))] == ["blocks.1"]
    with pytest.raises(InputError, match="blocks"):
        chosen_groups(groups, ("block9",))


def test_criticality_is_the_smallest_ratio_that_keeps_the_error() -> None:
    """The error is 1 unless the mean of the module is above 0.45 of its end: alpha must be .5 of (0, .5, 1), with noise that cannot spoil
    it.
    """
    groups = (("m", ("w",)),)
    end = {"w": torch.ones(10_000)}
    start = {"w": torch.zeros(10_000)}
    seen: list[float] = []

    def error(weights: dict[str, torch.Tensor]) -> float:
        spread = float(weights["w"].std())
        seen.append(spread)
        return float(float(weights["w"].mean()) < 0.45 or spread > 1.5)

    found = criticality(start, end, groups, error, alphas=(0, 0.5, 1), sigmas=(4, 2, 1, 0.5), samples=2)
    module = found.modules["m"]
    assert (module.alpha, module.sigma) == (0.5, pytest.approx(1.0))  # the distance is 100 over 10,000 entries: sigma is in units of 1
    assert module.value == pytest.approx(0.25 * 10_000) == found.total
    assert module.distance == pytest.approx(100)
    assert found.threshold == pytest.approx(0.02)
    assert np.nanmax(module.errors[1, :2]) == 1 and module.errors[1, 2] == 0 and math.isnan(module.errors[1, 3])
    # at alpha = 1 only sigma = 4 would give less (10^4 / 16 < 2500), and sigma = 2 as much; both were left to the largest
    assert module.errors[2, 0] == 1 and np.isnan(module.errors[2, 1:]).all()


def test_a_module_that_may_be_rewound_is_not_critical_and_one_that_may_not_move_is_infinitely_so() -> None:
    groups = (("m", ("w",)),)
    start, end = {"w": torch.zeros(4)}, {"w": torch.ones(4)}
    assert criticality(start, end, groups, lambda _: 0.0).total == 0.0
    strict = criticality(start, end, groups, lambda w: float(not torch.equal(w["w"], end["w"])), samples=1)
    assert strict.total == math.inf


def test_the_noise_is_a_function_of_the_seed() -> None:
    groups = (("m", ("w",)),)
    start, end = {"w": torch.zeros(4)}, {"w": torch.ones(4)}

    def drawn(seed: int) -> list[float]:
        seen: list[float] = []
        criticality(start, end, groups, lambda w: seen.append(float(w["w"].sum())) or 1.0, threshold=0.5, samples=1, seed=seed)  # type: ignore[func-returns-value]
        return seen

    assert drawn(0) == drawn(0) != drawn(1)


def test_odd_input() -> None:
    with pytest.raises(InputError, match="no weights that both"):
        criticality(START, END, (("x", ("zzz",)),), lambda _: 0.0)
    with pytest.raises(InputError, match="samples of at least 1"):
        criticality(START, END, GROUPS, lambda _: 0.0, samples=0)
    with pytest.raises(InputError, match="one architecture"):
        criticality({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, (("x", ("w",)),), lambda _: 0.0)


@pytest.mark.parametrize("samples", [1, 3, 7])
def test_an_error_that_is_the_limit_keeps_it(samples: int) -> None:
    """The mean of three 0.1 is above 0.1 by rounding."""
    found = criticality(START, END, GROUPS, lambda _: 0.1, slack=0.0, samples=samples)
    assert found.total == 0 and (found.modules["one"].errors[0, 0], found.threshold) == (0.1, 0.1)


def test_noise_is_counted_in_how_far_a_module_went() -> None:
    """A module three times as far away has the same criticality where the error looks at shares of the way, and three times the noise."""

    def found(times: float) -> tuple[float, float]:
        end = {"w": torch.full((10_000,), times)}

        def error(weights: dict[str, torch.Tensor]) -> float:
            return float(float(weights["w"].mean()) < 0.45 * times or float(weights["w"].std()) > 1.5 * times)

        module = criticality({"w": torch.zeros(10_000)}, end, (("m", ("w",)),), error, alphas=(0, 0.5, 1), sigmas=(2, 1)).modules["m"]
        return module.value, module.sigma

    assert found(1.0) == (pytest.approx(2500), pytest.approx(1.0))
    assert found(3.0) == (pytest.approx(2500), pytest.approx(3.0))
