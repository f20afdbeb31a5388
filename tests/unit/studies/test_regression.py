"""Few-shot regression: beside scikit-learn row by row, a gradient step by hand, and a closed form of the error of least squares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

import fewtune
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.phase import Adapt, Phase
from fewtune.machine import Machine
from fewtune.parts.heads import Linear
from fewtune.parts.losses import CrossEntropy, SquaredError
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import only
from fewtune.recipes import maml, read_method
from fewtune.studies.latent import LatentTasks, rows
from fewtune.studies.regression import compare_regression, in_numbers
from fewtune.studies.sinusoid import waves
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.points import Points
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.target_rows import target_tasks

PLAIN = load_backbone("precomputed", machine=Machine(device="cpu"))
NEW = rows(LatentTasks(width=3), "new", 30, 40, seed=1)


def drawn(target: Examples, shots: int, queries: int, episodes: int) -> tuple[Episodes, Any, Any]:
    """The episodes of `compare_regression`, and all rows as arrays."""
    sampler = Points(shots=shots, queries=queries)
    asked = sampler.draw(target_tasks(RowSpace([target])), key(0, "episodes"), 0, episodes)
    x = np.stack([target.items.fetch(i) for i in range(len(target))]).astype(np.float64)
    return asked, x, target.column.values


def test_ridge_is_scikit_learns_on_every_episode() -> None:
    (found,) = compare_regression(NEW, ["ridge(penalty=0.3, normalize=False)"], PLAIN, shots=(6,), queries=20, episodes=25)
    asked, x, y = drawn(NEW, 6, 20, 25)
    for e in range(25):
        model = Reference(alpha=0.3, fit_intercept=False).fit(x[asked.support[e]], y[asked.support[e]])
        wrong = model.predict(x[asked.query[e]]).reshape(-1) - y[asked.query[e], 0]
        assert found.rmse[0, e] == pytest.approx(np.sqrt((wrong**2).mean()), rel=1e-4)
    assert found.over_episodes.mean == pytest.approx(found.rmse.mean()) and found.visits == 0


def test_one_gradient_step_from_zero_is_the_one_by_hand() -> None:
    head = Linear(start="shared", ways=7)  # in_numbers makes it one number
    inner = Phase(sampler=Pooled(), learner=head, plan=only("head.*", 0.05), steps=1, losses=(CrossEntropy(),), optimizer=SGD())
    method = fewtune.Method(learner=Adapt(phases=(inner,), then=head))
    (found,) = compare_regression(NEW, {"step": method}, PLAIN, shots=(5,), queries=10, episodes=12)
    asked, x, y = drawn(NEW, 5, 10, 12)
    for e in range(12):
        known, told = x[asked.support[e]], y[asked.support[e], 0]
        w, b = 0.05 * 2 / 5 * known.T @ told, 0.05 * 2 / 5 * told.sum()  # the gradient of the mean of (w x + b - y)^2 at 0
        wrong = x[asked.query[e]] @ w + b - y[asked.query[e], 0]
        assert found.rmse[0, e] == pytest.approx(np.sqrt((wrong**2).mean()), rel=1e-4)


def test_least_squares_has_the_error_of_its_closed_form() -> None:
    """E (y - x'w^)^2 = noise^2 (1 + d / (n - d - 1)) for Gaussian rows, whatever the curvature of the task."""
    model = LatentTasks(width=3, noise=0.5)
    target = rows(model, "new", 300, 60, seed=2)
    (found,) = compare_regression(target, ["ridge(penalty=1e-6, normalize=False)"], PLAIN, shots=(12,), queries=40, episodes=2000)
    squares = found.rmse[0] ** 2
    expected = 0.25 * (1 + 3 / (12 - 3 - 1))
    assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(2000) + 0.005


def test_what_is_learned_from_other_tasks_helps_and_is_the_same_again() -> None:
    backbone = load_backbone("mlp,inputs=1,width=20,depth=2", machine=Machine(device="cpu", chunk=4096))
    new, old = waves("new", 20, 30, seed=1), waves("old", 100, 30, seed=0)
    asked = {"shots": (5,), "queries": 20, "episodes": 40, "source": old}
    methods = {
        "maml": "maml(shots=5, queries=10, steps=200, batch=4, inner_lr=0.01, inner_steps=1, lr=0.01)",
        "still": "maml(steps=1, lr=1e-9)",
    }
    trained, still = compare_regression(new, methods, backbone, seeds=(0, 1), **asked)  # type: ignore[arg-type]
    assert trained.rmse.shape == (2, 40) and trained.above(still).high < 0
    assert trained.visits == 200 * 4 * (5 + 10) and not np.array_equal(*trained.rmse)
    assert trained.over_seeds.n == 2 and trained.over_seeds.mean == pytest.approx(trained.over_episodes.mean)
    again = compare_regression(new, {"maml": methods["maml"]}, backbone, seeds=(1,), **asked)  # type: ignore[arg-type]
    assert np.array_equal(again[0].rmse[0], trained.rmse[1])


def test_recipes_in_numbers() -> None:
    found = in_numbers(maml(shots=3, queries=7, ways=5), width=2)
    (phase,) = found.phases
    assert isinstance(phase, Phase) and phase.sampler == Points(shots=3, queries=7) and phase.losses == (SquaredError(),)
    assert isinstance(found.learner, Adapt) and found.learner.then == Linear(start="shared", ways=2)
    inner = phase.learner.phases[0]  # type: ignore[union-attr]
    assert inner.losses == (SquaredError(),) and inner.plan == maml().learner.phases[0].plan  # type: ignore[union-attr]
    for kept in ("ridge(penalty=3)", "ridge"):
        assert in_numbers(read_method(kept)) == read_method(kept)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"methods": ["centroid"]}, r"centroid: its head Centroid\(.*\) is for classes: expected one that predicts numbers"),
        ({"methods": ["standard(on='support')"]}, "is for classes"),
        ({"methods": ["maml"]}, "maml trains on a source, but none is given"),
        ({"methods": ["maml"], "source": NEW}, "'new 0000' is in the source and in the target"),
        ({"shots": (39,)}, "expected a task of 49 rows or more"),
        ({"target": make_examples(Vectors(np.eye(4, dtype=np.float32)), list("abab"))}, "holds classes: expected float"),
    ],
)
def test_what_does_not_fit_is_refused(asked: dict[str, Any], message: str) -> None:
    how = {"target": NEW, "methods": ["ridge"], "backbone": PLAIN, "queries": 10, "episodes": 4, **asked}
    with pytest.raises(InputError, match=message):
        compare_regression(how.pop("target"), how.pop("methods"), how.pop("backbone"), **how)


def test_other_widths_are_refused() -> None:
    wide = replace(NEW, columns={NEW.target: Column("float", np.repeat(NEW.column.values, 2, axis=1))}, group_names=tuple("x" * 31))
    with pytest.raises(InputError, match="2 numbers a row, new 1: expected as many"):
        compare_regression(NEW, ["r2d2(steps=1)"], PLAIN, source=wide, queries=10, episodes=2)


def test_latent_rows_have_the_curvatures_and_optima_of_the_model() -> None:
    model = LatentTasks(width=2, steep=4.0, flat=0.25, spread=0.0, noise=0.0)
    found = rows(model, "t", 2, 4000, seed=0)
    x = torch.from_numpy(np.stack([found.items.fetch(i) for i in range(8000)])).double().numpy()
    assert x[:4000].var() == pytest.approx(4.0, rel=0.05) and x[4000:].var() == pytest.approx(0.25, rel=0.05)
    assert np.allclose(found.column.values[:, 0], x.sum(1) * np.repeat([1, -1], 4000), atol=1e-5)
