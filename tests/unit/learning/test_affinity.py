"""Affinity over a training run: planted pairs of tasks, and a run that is not changed by being looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.keys import key
from fewtune.learning.affinity import Affinity, run_affinity
from fewtune.learning.ground import Ground
from fewtune.learning.laid_out import laid_out
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.recipes.sharing import independent, shared_bottom
from fewtune.statistics import choose_groups
from fewtune.tasks.task import Tasks
from tests.unit.learning.grounds import vectors_with

PLANTED = ("a", "a again", "b", "b again")


def planted(rows: int = 400) -> tuple[Ground, Tasks]:
    """Two pairs of equal tasks: a follows one direction of the inputs, b another one; each has noise and gaps of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    one, other = np.tanh(x[:, 0] + x[:, 1]), np.tanh(x[:, 2] - x[:, 3])
    values = np.stack([one, one, other, other], 1) + 0.1 * rng.normal(size=(rows, 4))
    values[rng.random((rows, 4)) < 0.2] = np.nan
    return vectors_with(x, {name: values[:, t] for t, name in enumerate(PLANTED)})


def run(method: Method, ground: Ground, tasks: Tasks, every: int = 10) -> tuple[Affinity, Phase]:
    (phase,) = laid_out(method, (1,) * len(tasks), 0).phases
    assert isinstance(phase, Phase)
    return run_affinity(ground, phase, tasks, key(0), every=every)[0], phase


def test_planted_pairs_help_each_other_and_are_grouped() -> None:
    found, _ = run(shared_bottom(width=16, batch=400, steps=200, lr=1e-2), *planted(), every=5)
    help, cosine = found.help.mean, found.cosine.mean
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        others = [t for t in range(4) if t not in (i, j)]
        assert help[i, j] > max(help[t, j] for t in others)
        assert found.help.low[i, j] > 0 and cosine[i, j] > max(cosine[t, j] for t in others)
    assert set(choose_groups(help, 2).groups) == {(0, 1), (2, 3)}
    assert found.names == PLANTED
    assert found.shared and all(name.startswith("head.trunk") for name in found.shared)


def test_the_run_is_the_same_as_without_looks() -> None:
    ground, tasks = planted(60)
    (phase,) = laid_out(shared_bottom(width=4, steps=20), (1,) * 4, 0).phases
    assert isinstance(phase, Phase)
    plain = train(ground, (phase,), tasks, key(0))
    _, looked = run_affinity(ground, phase, tasks, key(0), every=5)
    assert all(torch.equal(t, looked.weights[n]) for n, t in plain.weights.items())
    assert (plain.visits, [row["loss"] for row in plain.curve]) == (looked.visits, [row["loss"] for row in looked.curve])


def test_looks_are_averaged_with_their_t_interval() -> None:
    ground, tasks = planted(60)
    found, _ = run(shared_bottom(width=4, steps=20), ground, tasks, every=5)
    assert found.steps.tolist() == [5, 10, 15, 20] and found.losses.shape == (4, 4)
    one, _ = run(shared_bottom(width=4, steps=5), ground, tasks, every=5)
    assert np.isnan(one.help.low).all() and np.isfinite(one.help.mean).all()
    two, _ = run(shared_bottom(width=4, steps=10), ground, tasks, every=5)
    second = 2 * two.help.mean - one.help.mean
    half = 12.706204736 * np.abs(second - one.help.mean) / 2  # t with one degree of freedom, times the standard error of two
    np.testing.assert_allclose(two.help.low, two.help.mean - half, rtol=1e-6)
    np.testing.assert_allclose(two.help.high, two.help.mean + half, rtol=1e-6)
    short, _ = run(shared_bottom(width=4, steps=3), ground, tasks, every=10)
    assert short.steps.tolist() == [3]


def test_independent_networks_do_nothing_to_each_other() -> None:
    ground, tasks = planted(60)
    found, _ = run(independent(width=4, steps=10), ground, tasks)
    assert found.shared == () and (found.help.mean == 0).all() and np.isnan(found.cosine.mean).all()


@pytest.mark.parametrize("rate", [1e-4, 1e-3])
def test_help_grows_with_the_rate(rate: float) -> None:
    ground, tasks = planted(60)
    (phase,) = laid_out(shared_bottom(width=4, steps=5), (1,) * 4, 0).phases
    assert isinstance(phase, Phase)
    small, _ = run_affinity(ground, phase, tasks, key(0), every=5, rate=rate)
    large, _ = run_affinity(ground, phase, tasks, key(0), every=5, rate=10 * rate)
    np.testing.assert_allclose(large.help.mean, 10 * small.help.mean, rtol=0.2, atol=2e-4)
