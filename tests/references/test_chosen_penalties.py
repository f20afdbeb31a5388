"""Penalties that leave-one-out chooses on the support, beside heads that are fitted anew without each row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from fewtune.parts.heads import Logistic, Ridge, TextPrior
from fewtune.parts.heads import leave_one_out as ridges
from fewtune.parts.heads.head import answer
from fewtune.parts.heads.logistic_path import GRID, left_out
from fewtune.parts.heads.newton import fitted
from fewtune.parts.heads.softmax_regression import fitting_of
from fewtune.parts.heads.text_prior import SPREAD
from fewtune.tasks.episodes import Episodes
from fewtune.testing.heads import problem

EXACT = {"rtol": 1e-7, "atol": 1e-7}


def crowded(seed: int, K: int, each: int, D: int) -> tuple[Tensor, Tensor, Episodes, Tensor]:
    """Three episodes of classes that overlap more or less, by episode."""
    support, query, episodes, vectors = problem(seed, K=K, shots=(each,) * K, D=D)
    noise = torch.randn(support.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return support + torch.tensor([0.0, 1.0, 4.0])[:, None, None] * noise, query, episodes, vectors


def without_each(x: np.ndarray, y: np.ndarray, C: float) -> np.ndarray:
    """The log-probability of each row's class by scikit-learn's regression on all other rows."""
    found = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        twin = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(x[rest], y[rest])
        found.append(twin.predict_log_proba(x[i : i + 1])[0, y[i]])
    return np.array(found)


@pytest.mark.parametrize("C", [0.3, 3.0, 30.0])
def test_of_two_classes_a_row_that_is_left_out_is_one_newton_step_away(C: float) -> None:
    """That step lands within a few percent of a new fit without the row."""
    support, _, episodes, _ = crowded(3, 2, 6, 30)
    x, members = normalize(support, dim=-1), one_hot(episodes.support_label, 2).double()
    fitting = fitting_of(x - x.mean(1, keepdim=True), members, torch.full((3,), C / 2).double(), True)
    ours = (left_out(fitting, *fitted(fitting)) * members).sum(-1).numpy()
    for e in range(3):
        theirs = without_each(x[e].numpy(), episodes.support_label[e].numpy(), C)
        assert np.abs(ours[e] - theirs).max() < 0.15 * np.abs(theirs).max()
        assert abs(ours[e].mean() - theirs.mean()) < 0.03 * abs(theirs.mean())


def test_of_several_classes_the_curvature_is_its_mean_over_directions() -> None:
    """Newton's step without a row, written out with all R x K unknowns at once."""
    support, _, episodes, _ = crowded(4, 4, 5, 6)
    members = one_hot(episodes.support_label, 4).double()
    fitting = fitting_of(support - support.mean(1, keepdim=True), members, torch.full((3,), 2.0).double(), True)
    V, P = fitted(fitting)
    ours = left_out(fitting, V, P)
    for e in range(3):
        F, R, every = fitting.factors[e], fitting.ridge[e, :, 0], torch.eye(4).double()
        curved = [float((1 - P[e, i].square().sum()) / 3) for i in range(len(F))]
        for i in range(len(F)):
            hessian = torch.kron(torch.diag(R), every)
            for j in range(len(F)):
                if j != i:
                    hessian = hessian + curved[j] * torch.kron(torch.outer(F[j], F[j]), every)
            gradient = torch.outer(F[i], P[e, i] - members[e, i]).flatten()  # the others' sum at the minimum is minus the row's
            step = torch.linalg.solve(hessian, gradient).reshape(-1, 4)
            torch.testing.assert_close(ours[e, i], (F[i] @ (V[e] + step)).log_softmax(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("normal", [True, False])
def test_the_chosen_strength_of_logistic_is_nearly_the_best_when_each_row_is_left_out(normal: bool) -> None:
    support, query, episodes, _ = crowded(5, 4, 5, 30)
    found = answer(Logistic(C="loo", normalize=normal), support, query, episodes)
    taken = []
    for e in range(3):
        one = (support[e : e + 1], query[e : e + 1], episodes[e : e + 1])
        gaps = [float((answer(Logistic(C=C, normalize=normal), *one) - found[e]).abs().max()) for C in GRID]
        assert min(gaps) < 1e-5
        taken.append(GRID[int(np.argmin(gaps))])
        x, y = (normalize(support[e], dim=-1) if normal else support[e]).numpy(), episodes.support_label[e].numpy()
        losses = {C: -without_each(x, y, C).mean() for C in GRID}
        assert losses[taken[-1]] < 1.1 * min(losses.values())
    assert taken[0] > taken[2]


def test_one_label_a_class_says_nothing_of_logistic_regression() -> None:
    support, query, episodes, _ = crowded(6, 4, 1, 30)
    torch.testing.assert_close(answer(Logistic(C="loo"), support, query, episodes), answer(Logistic(), support, query, episodes), **EXACT)


@pytest.mark.parametrize("seed", range(7, 15))
def test_the_penalty_towards_class_names_has_the_least_error_when_each_row_is_left_out(seed: int) -> None:
    support, query, episodes, vectors = crowded(seed, 4, 4, 30)
    episodes.support_label[:, -1] = 0
    episodes.support_label[:, 5:8] = 0  # class 1 keeps a single row
    support[0], vectors[2] = support[0] + 3.0 * vectors[0][episodes.support_label[0]], vectors[2].flip(0)
    found = answer(TextPrior(penalty="loo"), support, query, episodes, vectors)
    x, w = normalize(support, dim=-1), normalize(vectors, dim=-1)
    for e in range(3):
        y = one_hot(episodes.support_label[e], 4).double()
        told = [i for i in range(len(y)) if (episodes.support_label[e] == episodes.support_label[e, i]).sum() > 1]
        assert 0 < len(told) < len(y)
        best = np.inf
        for penalty in ridges.GRID:
            errors = []
            for i in told:
                rest = torch.arange(len(y)) != i
                gram = x[e][rest].T @ x[e][rest] + penalty * torch.eye(30, dtype=torch.float64)
                moved = torch.linalg.solve(gram, x[e][rest].T @ (y[rest] - x[e][rest] @ w[e].T))
                errors.append(float((y[i] - x[e][i] @ (w[e].T + moved)).square().sum()))
            score = len(told) / 2 * np.log(np.sum(errors)) + 0.5 * (np.log(penalty) / SPREAD) ** 2
            best, chosen = (score, penalty) if score < best else (best, chosen)
        one = (support[e : e + 1], query[e : e + 1], episodes[e : e + 1], vectors[e : e + 1])
        torch.testing.assert_close(found[e : e + 1], answer(TextPrior(penalty=chosen), *one), **EXACT)


def test_one_label_a_class_says_nothing_of_the_penalty_towards_class_names() -> None:
    support, query, episodes, vectors = crowded(8, 4, 1, 30)
    found = answer(TextPrior(penalty="loo"), support, query, episodes, vectors)
    torch.testing.assert_close(found, answer(TextPrior(penalty=1.0), support, query, episodes, vectors), **EXACT)


def test_beyond_the_ends_of_the_path_of_ridge_nothing_changes() -> None:
    """The weakest penalty goes through the support as a weaker one does, and the strongest has the direction of the class sums."""
    support, query, episodes, _ = crowded(9, 4, 5, 60)
    weak, weaker = (answer(Ridge(penalty=p), support, query, episodes) for p in (ridges.GRID[0], ridges.GRID[0] / 1e4))
    assert float((weak - weaker).abs().max()) < 0.01 * float(weaker.abs().max())
    strong = answer(Ridge(penalty=ridges.GRID[-1]), support, query, episodes)
    sums = one_hot(episodes.support_label, 4).double().mT @ normalize(support, dim=-1)
    far = normalize(query, dim=-1) @ sums.mT / ridges.GRID[-1]
    assert float((strong - far).abs().max()) < 0.01 * float(far.abs().max())
