"""Heads against their scikit-learn twins, episode by episode, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import LinearSVC
from torch import Tensor

from fewtune.parts.heads import Centroid, Logistic, Matching, Ridge, Svm, Text, TextPrior
from fewtune.parts.heads.head import answer
from fewtune.parts.heads.leave_one_out import GRID
from fewtune.tasks.episodes import Episodes

Array = np.ndarray[Any, np.dtype[np.float64]]
SHAPES = [(2, (1, 1), 20), (5, (1,) * 5, 64), (5, (5,) * 5, 64), (4, (2, 7, 3, 5), 6), (3, (20, 20, 20), 8)]
each_shape = pytest.mark.parametrize(("K", "shots", "D"), SHAPES, ids=lambda value: str(value))


def problem(K: int, shots: tuple[int, ...], D: int, E: int = 4, Q: int = 60, seed: int = 0) -> tuple[Tensor, Tensor, Episodes]:
    """Overlapping classes about a common mean; support, query and episodes of unequal classes."""
    g = torch.Generator().manual_seed(seed)
    label = torch.cat([torch.full((n,), k) for k, n in enumerate(shots)]).expand(E, -1)
    centres = 0.7 * torch.randn(E, K, D, generator=g, dtype=torch.float64) + 0.5
    noise = torch.randn(E, label.shape[1] + Q, D, generator=g, dtype=torch.float64)
    drawn = torch.randint(K, (E, Q), generator=g)
    features = centres.gather(1, torch.cat([label, drawn], 1)[..., None].expand(-1, -1, D)) + noise
    S = label.shape[1]
    none = torch.zeros(E, Q, dtype=torch.long)
    rows = torch.arange(S).expand(E, -1)
    episodes = Episodes(rows, label.clone(), none, drawn, torch.arange(K).expand(E, -1), torch.zeros(E, dtype=torch.long))
    return features[:, :S], features[:, S:], episodes


def unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def each(fit: Callable[[Array, Any, Array], Array], support: Tensor, query: Tensor, episodes: Episodes) -> Array:
    """What scikit-learn says, one episode at a time."""
    triples = zip(support.numpy(), episodes.support_label.numpy(), query.numpy(), strict=True)
    return np.stack([fit(x, y, q) for x, y, q in triples])


@each_shape
def test_euclidean_centroid_is_nearest_centroid(K: int, shots: tuple[int, ...], D: int) -> None:
    support, query, episodes = problem(K, shots, D)
    head = Centroid(metric="euclidean")
    with np.errstate(invalid="ignore"):  # with 1 shot NearestCentroid divides 0 by 0 for a deviation that it does not use
        theirs = each(lambda x, y, q: NearestCentroid().fit(x, y).predict(q), support, query, episodes)
    ours = answer(head, support, query, episodes)
    assert np.array_equal(ours.argmax(-1).numpy(), theirs)
    # and the logits are negative squared distances, but for a term of the query alone
    centres = torch.stack(
        [torch.stack([s[y == k].mean(0) for k in range(K)]) for s, y in zip(support, episodes.support_label, strict=True)]
    )
    distances = -(torch.cdist(query, centres) ** 2)
    torch.testing.assert_close(ours - ours.mean(-1, keepdim=True), distances - distances.mean(-1, keepdim=True), rtol=1e-9, atol=1e-9)


@each_shape
@pytest.mark.parametrize("first", [True, False])
def test_cosine_centroid_is_the_formula(K: int, shots: tuple[int, ...], D: int, first: bool) -> None:
    support, query, episodes = problem(K, shots, D)
    used = unit(support) if first else support
    for e in range(len(episodes)):
        centres = torch.stack([used[e][episodes.support_label[e] == k].mean(0) for k in range(K)])
        expected = 10 * unit(query[e]) @ unit(centres).T
        ours = answer(Centroid(normalize_first=first), support[e : e + 1], query[e : e + 1], episodes[e : e + 1])
        torch.testing.assert_close(ours[0], expected, rtol=1e-12, atol=1e-12)


@each_shape
@pytest.mark.parametrize("k", [1, 3, 5])
def test_vote_is_k_nearest_neighbours(K: int, shots: tuple[int, ...], D: int, k: int) -> None:
    k = min(k, sum(shots))
    support, query, episodes = problem(K, shots, D)

    def proba(x: Array, y: Any, q: Array) -> Array:
        found: Array = KNeighborsClassifier(k, metric="cosine").fit(x, y).predict_proba(q)
        return found

    votes = k * each(proba, support, query, episodes)
    ours = answer(Matching(neighbours=k, temperature=float(k)), support, query, episodes).numpy()
    assert np.abs(np.floor(ours) - votes).max() < 1e-9  # the tie break stays below one vote
    assert (np.take_along_axis(votes, ours.argmax(-1)[..., None], -1)[..., 0] == votes.max(-1)).all()


def test_ties_go_to_the_more_similar_class() -> None:
    support = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    query = torch.tensor([[[0.6, 0.8], [0.8, 0.6]]])
    none = torch.zeros(1, 2, dtype=torch.long)
    episodes = Episodes(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), none, none, torch.tensor([[0, 1]]), torch.tensor([0]))
    logits = answer(Matching(neighbours=2, temperature=1.0), support, query, episodes)
    # one vote each; ties (1 + cosine) / 4: .4 and .45; over k = 2
    torch.testing.assert_close(logits[0], torch.tensor([[0.7, 0.725], [0.725, 0.7]]))


@each_shape
def test_attention_is_the_formula(K: int, shots: tuple[int, ...], D: int) -> None:
    support, query, episodes = problem(K, shots, D)
    weights = (7 * unit(query) @ unit(support).mT).softmax(-1)
    members = torch.nn.functional.one_hot(episodes.support_label, K).double()
    ours = answer(Matching(temperature=7.0), support, query, episodes)
    torch.testing.assert_close(ours.exp(), weights @ members, rtol=1e-11, atol=1e-12)


@each_shape
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("penalty", [1e-4, 2.5, 1e3])
def test_ridge(K: int, shots: tuple[int, ...], D: int, intercept: bool, penalty: float) -> None:
    support, query, episodes = problem(K, shots, D)

    def fit(x: Array, y: Any, q: Array) -> Array:
        found: Array = SklearnRidge(alpha=penalty, fit_intercept=intercept, solver="svd").fit(x, np.eye(K)[y]).predict(q)
        return found

    theirs = each(fit, support, query, episodes)
    ours = answer(Ridge(penalty=penalty, normalize=False, intercept=intercept), support, query, episodes).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-8)
    labels = each(lambda x, y, q: RidgeClassifier(alpha=penalty).fit(x, y).predict(q), unit(support), unit(query), episodes)
    ours = answer(Ridge(penalty=penalty, intercept=True), support, query, episodes).numpy()
    assert np.array_equal(ours.argmax(-1), labels)


@pytest.mark.parametrize(("K", "shots", "D"), SHAPES[2:], ids=lambda value: str(value))
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_by_leave_one_out(K: int, shots: tuple[int, ...], D: int, intercept: bool) -> None:
    support, query, episodes = problem(K, shots, D)

    def fit(x: Array, y: Any, q: Array) -> Array:
        grid = [penalty * float(np.square(x).sum(-1).mean()) for penalty in GRID]
        found: Array = RidgeCV(alphas=grid, fit_intercept=intercept).fit(x, np.eye(K)[y]).predict(q)
        return found

    theirs = each(fit, support, query, episodes)
    ours = answer(Ridge(penalty="loo", normalize=False, intercept=intercept), support, query, episodes).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    labels = each(lambda x, y, q: RidgeClassifierCV(alphas=GRID).fit(x, y).predict(q), unit(support), unit(query), episodes)
    ours = answer(Ridge(penalty="loo", intercept=True), support, query, episodes).numpy()
    assert (ours.argmax(-1) == labels).mean() >= 0.999


def test_one_shot_takes_the_default_penalty() -> None:
    support, query, episodes = problem(5, (1,) * 5, 64)
    chosen = answer(Ridge(penalty="loo"), support, query, episodes)
    torch.testing.assert_close(chosen, answer(Ridge(penalty=1.0), support, query, episodes), rtol=1e-12, atol=1e-12)


def test_float_targets_with_missing_values_are_regressions_of_their_own() -> None:
    support, query, episodes = problem(3, (4, 4, 4), 7)
    g = torch.Generator().manual_seed(1)
    target = torch.randn(4, 12, 2, generator=g, dtype=torch.float64)
    target[0, 3, 1] = target[1, :2] = target[2, 5:9, 0] = torch.nan
    regression = Episodes(
        episodes.support, target, episodes.query, torch.zeros(4, 60, 2, dtype=torch.float64), episodes.classes[:, :0], episodes.task
    )
    for whole in (False, True):
        if whole:
            target[target.isnan().any(-1)] = torch.nan
        for head in (Ridge(penalty=0.3, normalize=False, intercept=True), Ridge(penalty=0.3, normalize=False)):
            ours = answer(head, support, query, regression)
            for e in range(4):
                for column in range(2):
                    known = ~target[e, :, column].isnan()
                    twin = SklearnRidge(alpha=0.3, fit_intercept=head.intercept).fit(support[e][known], target[e][known][:, column])
                    np.testing.assert_allclose(ours[e, :, column], twin.predict(query[e]), rtol=1e-9, atol=1e-9)


@each_shape
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("C", [1e-7, 1e-3, 3.0, 100.0])
def test_logistic(K: int, shots: tuple[int, ...], D: int, intercept: bool, C: float) -> None:
    support, query, episodes = problem(K, shots, D)

    def fit(x: Array, y: Any, q: Array) -> Array:
        twin = LogisticRegression(C=C, fit_intercept=intercept, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        found: Array = twin.fit(x, y).predict_proba(q)
        return found

    theirs = each(fit, unit(support), unit(query), episodes)
    ours = answer(Logistic(C=C, intercept=intercept), support, query, episodes).softmax(-1).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() >= 0.999


@pytest.mark.parametrize("C", [1e-7, 1.0, 1e4])
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_is_at_its_minimum(C: float, intercept: bool) -> None:
    """Whatever C is, no descent is left: the gradient of the objective, written out anew, is next to nothing."""
    support, _, episodes = problem(4, (2, 7, 3, 5), 10)
    head = Logistic(C=C, intercept=intercept, normalize=False)
    state = {key: value.requires_grad_() for key, value in head.fit(support, episodes, None, {}).items()}
    logits = support @ state["weight"].mT + state["bias"][:, None]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), episodes.support_label.flatten(), reduction="sum")
    pull = 0.5 * state["weight"].square().sum() / C
    (loss + pull).backward()
    assert state["weight"].grad is not None
    assert state["bias"].grad is not None
    scale = float(state["weight"].detach().norm() / C)
    assert float(state["weight"].grad.norm()) <= 1e-7 * scale
    assert not intercept or float(state["bias"].grad.norm()) <= 1e-7 * max(scale, 1.0)


@each_shape
@pytest.mark.parametrize("form", ["crammer_singer", "one_vs_rest"])
@pytest.mark.parametrize("C", [1e-3, 0.1, 5.0])
def test_svm(K: int, shots: tuple[int, ...], D: int, form: Any, C: float) -> None:
    support, query, episodes = problem(K, shots, D)
    multi = "crammer_singer" if form == "crammer_singer" else "ovr"

    def fit(x: Array, y: Any, q: Array) -> Array:
        twin = LinearSVC(C=C, loss="hinge", multi_class=multi, fit_intercept=False, tol=1e-9, max_iter=200_000)
        found: Array = twin.fit(x, y).decision_function(q)
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = each(fit, unit(support), unit(query), episodes)
    ours = answer(Svm(C=C, form=form), support, query, episodes).numpy()
    ours = ours[..., 1] - ours[..., 0] if K == 2 and form == "crammer_singer" else ours[..., 1] if K == 2 else ours
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("form", ["crammer_singer", "one_vs_rest"])
@pytest.mark.parametrize("C", [1e-5, 1.0, 1e4])
def test_svm_has_no_duality_gap(form: Any, C: float) -> None:
    """Primal minus dual objective, written out anew; also where rows outnumber features and liblinear gives up."""
    from fewtune.parts.heads.svm import support_vectors

    for K, shots, D in SHAPES[1:]:
        support, _, episodes = problem(K, shots, D)
        x, members = unit(support), torch.nn.functional.one_hot(episodes.support_label, K).double()
        alpha = support_vectors(x, members, C, form)
        weight = alpha.mT @ x
        z, half = x @ weight.mT, 0.5 * weight.square().sum((1, 2))
        sign = 2 * members - 1
        if form == "crammer_singer":
            assert float(alpha.sum(-1).abs().max()) <= 1e-9 * C
            assert bool((alpha <= C * members + 1e-12 * C).all())
            primal, dual = half + C * ((z + 1 - members).amax(-1) - (z * members).sum(-1)).sum(-1), (alpha * members).sum((1, 2)) - half
        else:
            assert bool(((alpha * sign >= -1e-12 * C) & (alpha * sign <= C * (1 + 1e-12))).all())
            primal, dual = half + C * (1 - sign * z).clamp_min(0).sum((1, 2)), (alpha * sign).sum((1, 2)) - half
        assert float(((primal - dual) / primal).max()) <= (1e-9 if C <= 1 else 1e-7)


def test_text_heads_are_their_formulas() -> None:
    support, query, episodes = problem(5, (3,) * 5, 64)
    prior = torch.randn(4, 5, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    zero_shot = 100 * unit(query) @ unit(prior).mT
    torch.testing.assert_close(answer(Text(), support, query, episodes, prior), zero_shot, rtol=1e-12, atol=1e-12)
    x, y = unit(support), torch.nn.functional.one_hot(episodes.support_label, 5).double()
    for e in range(4):
        # ridge towards W0 is ridge on the residuals
        twin = SklearnRidge(alpha=1.0, fit_intercept=False).fit(x[e], (y[e] - x[e] @ unit(prior[e]).T).numpy())
        expected = zero_shot[e].numpy() + 100 * twin.predict(unit(query[e]))
        ours = answer(TextPrior(), support, query, episodes, prior)[e]
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)
    cache = torch.exp(-5.5 * (1 - unit(query) @ x.mT)) @ y
    torch.testing.assert_close(answer(TextPrior(form="cache"), support, query, episodes, prior), zero_shot + cache, rtol=1e-11, atol=1e-11)
    far = answer(TextPrior(penalty=1e9), support, query, episodes, prior)
    torch.testing.assert_close(far, zero_shot, rtol=1e-6, atol=1e-5)
