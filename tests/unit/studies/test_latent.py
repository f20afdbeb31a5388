"""The latent tasks: closed forms against simulation, gradients against finite differences, and the curves that cross."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtune.errors import InputError
from fewtune.studies.latent import LatentTasks, _gradient, learned, race

MODEL = LatentTasks(width=3, support=12, inner=0.6)


def test_the_risk_after_a_step_is_that_of_simulated_tasks() -> None:
    """40,000 tasks, each with a step on 12 rows without noise."""
    random = np.random.default_rng(0)
    theta, count = np.array([0.5, -1.0, 2.0]), 40_000
    steep = random.random(count) < 0.5
    h = np.where(steep, MODEL.steep, MODEL.flat)
    w = np.where(steep, 1.0, -1.0)[:, None] + MODEL.spread * random.normal(size=(count, 3))
    x = np.sqrt(h)[:, None, None] * random.normal(size=(count, 12, 3))
    slope = np.einsum("tnd,tn->td", x, np.einsum("tnd,td->tn", x, theta - w)) / 12
    risks = h * ((theta - MODEL.inner * slope - w) ** 2).sum(1) / 2
    assert abs(float(MODEL.risk(theta)) - risks.mean()) < 4 * risks.std() / math.sqrt(count)


@pytest.mark.parametrize("way", ["erm", "maml"])
def test_the_optimum_is_where_the_risk_of_the_way_is_least(way: str) -> None:
    steep, flat = MODEL.weight(way)  # type: ignore[arg-type]
    at = np.linspace(-1.5, 1.5, 3001)
    risks = steep * (at - 1) ** 2 + flat * (at + 1) ** 2
    assert MODEL.optimum(way) == pytest.approx(at[risks.argmin()], abs=1e-3)  # type: ignore[arg-type]
    assert MODEL.floor("maml") < MODEL.floor("erm")
    assert float(MODEL.risk(np.full(3, MODEL.optimum("maml") + 0.01))) > MODEL.floor("maml")


def test_gradients_are_those_of_central_differences() -> None:
    random = np.random.default_rng(1)
    theta, x, y = random.normal(size=(2, 3)), random.normal(size=(2, 24, 3)), random.normal(size=(2, 24))

    def loss(way: str, at: np.ndarray) -> float:  # type: ignore[type-arg]
        if way == "erm":
            return float((((np.einsum("rnd,rd->rn", x, at) - y) ** 2).mean(1) / 2).sum())
        wrong = np.einsum("rnd,rd->rn", x[:, :12], at) - y[:, :12]
        tuned = at - MODEL.inner * np.einsum("rnd,rn->rd", x[:, :12], wrong) / 12
        return float((((np.einsum("rnd,rd->rn", x[:, 12:], tuned) - y[:, 12:]) ** 2).mean(1) / 2).sum())

    for way in ("erm", "maml"):
        found = _gradient(MODEL, way, theta, x, y)  # type: ignore[arg-type]
        for place in np.ndindex(2, 3):
            step = np.zeros((2, 3))
            step[place] = 1e-6
            assert found[place] == pytest.approx((loss(way, theta + step) - loss(way, theta - step)) / 2e-6, rel=1e-5, abs=1e-7)


def test_erm_is_ahead_with_few_rows_and_maml_with_many() -> None:
    found = race(budgets=(200, 1600, 25600), runs=30)
    assert found.gaps[0].low > 0 > found.gaps[2].high
    assert found.crossing == 1600 and 200 < found.bound < 1600
    assert found.maml.constant > found.erm.constant > 0  # C_maml > C_erm
    assert float(found.erm.risks[2].mean()) == pytest.approx(found.erm.floor, rel=0.05)
    assert float(found.maml.risks[2].mean()) == pytest.approx(found.maml.floor, rel=0.1)


def test_where_all_tasks_are_alike_both_end_at_one_place() -> None:
    model = LatentTasks(steep=0.5, flat=0.5)
    assert model.optimum("erm") == model.optimum("maml") == 0 and model.floor("erm") == model.floor("maml")


def test_a_budget_is_a_stop_on_the_way_to_a_larger_one() -> None:
    together = learned(MODEL, "maml", (48, 240), 0.1, runs=3, seed=0)
    np.testing.assert_array_equal(together[0], learned(MODEL, "maml", (48,), 0.1, runs=3, seed=0)[0])
    np.testing.assert_array_equal(learned(MODEL, "maml", (240, 48), 0.1, runs=3, seed=0), together[::-1])  # in the order that was asked for
    with pytest.raises(InputError, match="0 < flat <= steep"):
        LatentTasks(flat=2.0)
