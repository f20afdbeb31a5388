"""Entropies of task parameters where they are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from fewtune.errors import InputError
from fewtune.studies import latent, sinusoid
from fewtune.transfer import differential_entropy, task_entropy


def gauss(width: int, spread: float) -> float:
    return width / 2 * math.log(2 * math.pi * math.e * spread**2)


@pytest.mark.parametrize(("width", "spread"), [(1, 1.0), (2, 0.3), (3, 5.0)])
def test_normal_and_uniform_samples_have_their_entropy(width: int, spread: float) -> None:
    random = np.random.default_rng(0)
    assert differential_entropy(spread * random.normal(size=(4000, width))) == pytest.approx(gauss(width, spread), abs=0.06)
    assert differential_entropy(spread * random.random((4000, width))) == pytest.approx(width * math.log(spread), abs=0.12)
    moved = 3 * random.normal(size=(500, width)) + 7
    assert differential_entropy(2 * moved) == pytest.approx(differential_entropy(moved) + width * math.log(2))


def test_two_samples_by_hand() -> None:
    """Three points on a line, one neighbour: distances 1, 1, 2; psi(3) - psi(1) = 3/2, the unit ball has length 2."""
    assert differential_entropy([[0.0], [1.0], [3.0]], neighbours=1) == pytest.approx(1.5 + math.log(2) + math.log(2) / 3)
    assert differential_entropy([[0.0], [0.0], [3.0]], neighbours=1) == -math.inf
    with pytest.raises(InputError, match="neighbours"):
        differential_entropy([[0.0], [1.0], [2.0]])


def test_sinusoids_of_a_family() -> None:
    found = task_entropy(*sinusoid.families(1500, 60, windows=4))
    assert found.marginal == pytest.approx(math.log(4.9 * math.pi), abs=0.12)
    assert found.shared == pytest.approx(2 * math.log(4), abs=0.2)
    assert found.together == pytest.approx(1 - 1 / 16, abs=0.02)  # the share of a window's variance is 1 / 16
    assert abs(found.together_given) < 0.02


def test_latent_tasks_of_a_family() -> None:
    """H(phi) is that of two normal clouds, exact by an integral along the line between them."""
    model = latent.LatentTasks(width=2, spread=0.5)
    found = task_entropy(*latent.families(model, 3000, 60))
    apart = 2 * math.sqrt(2) / 0.5
    density = lambda x: (norm.pdf(x - apart / 2) + norm.pdf(x + apart / 2)) / 2  # noqa: E731
    along = quad(lambda x: -density(x) * math.log(density(x)), -12, 12)[0] - gauss(1, 1.0)
    assert found.given == pytest.approx(gauss(2, 0.5), abs=0.08)
    assert found.marginal == pytest.approx(gauss(2, 0.5) + along, abs=0.08)
    assert found.shared == pytest.approx(math.log(2), abs=0.1)
    assert found.together == pytest.approx(1 / 1.25, abs=0.02) and abs(found.together_given) < 0.02


def test_families_of_equal_tasks_leave_nothing_to_learn() -> None:
    model = latent.LatentTasks(spread=0.0)
    found = task_entropy(*latent.families(model, 20, 6))
    assert found.given == -math.inf and found.together == pytest.approx(1.0)
    with pytest.raises(InputError, match="at least 5"):
        task_entropy(np.zeros((3, 6, 2)), np.zeros((3, 2)))


def test_what_is_shared_is_known() -> None:
    parameters, shared = sinusoid.families(6, 6)
    shared[0, 0] = np.nan
    with pytest.raises(InputError, match="found NaN"):
        task_entropy(parameters, shared)
