"""Compiled kernels say what the plain path says, on random and on degenerate episodes, up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fewtune.errors import InputError
from fewtune.evaluation import answers
from fewtune.evaluation.answers import score_table
from fewtune.keys import key
from fewtune.learning.judged import can_judge, judge_table
from fewtune.learning.on_features import answer_table, fit_on_table
from fewtune.parts.heads import Centroid, Gaussian, Logistic, Matching, Ridge, Shrink, Svm
from fewtune.parts.heads.fused import fitted_by
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Sampled, Varied
from fewtune.tasks.task import Tasks

CLASSES, ROWS, WIDTH = 12, 30, 37  # a width that no block of a kernel divides
ONE = np.arange(CLASSES)
TASKS = Tasks(np.arange(CLASSES * ROWS), ONE * ROWS, np.full(CLASSES, ROWS), ONE, ONE, np.array([0, CLASSES]), ("all",))
FITTED: list[Any] = [
    Centroid(),
    Centroid(normalize_first=False),
    Centroid(metric="euclidean"),
    Centroid(metric="euclidean", normalize_first=True, temperature=0.3),
    Ridge(),
    Ridge(penalty=0.01, intercept=True, normalize=False, scale=3.0),
    Logistic(),
    Logistic(C=100.0, intercept=False, normalize=False),
    Logistic(C=30.0, normalize=False),
]
OTHERS: list[Any] = [Ridge(penalty="loo"), Logistic(C="loo"), Svm(), Gaussian()]
SAMPLED = {
    "one shot": Sampled(ways=5, shots=1, queries=4),
    "several shots": Sampled(ways=7, shots=4, queries=3),
    "two classes": Sampled(ways=2, shots=3, queries=5),
    "unequal": Varied(least_ways=2, most_ways=9, most_queries=4, most_support=25),
}


def table(spread: float = 1.0, mean: float = 0.0) -> torch.Tensor:
    random = np.random.default_rng(5)
    found = random.normal(size=(CLASSES, 1, WIDTH)) + spread * random.normal(size=(CLASSES, ROWS, WIDTH)) + mean
    return torch.from_numpy(found.reshape(-1, WIDTH).astype(np.float32))


def with_edges(features: torch.Tensor) -> torch.Tensor:
    """A class of equal rows, and rows of zeros in others."""
    features = features.clone()
    features[:ROWS] = features[0]
    features[ROWS::7] = 0.0
    return features


def same(head: Any, features: torch.Tensor, episodes: Episodes, tolerance: float = 2e-5) -> None:
    """Loss within rounding, and the same answers wherever the two largest logits are further apart than rounding."""
    plain, ours = (score_table(head, features, episodes, None, fast=fast) for fast in (False, True))
    np.testing.assert_allclose(ours.loss, plain.loss, rtol=tolerance, atol=tolerance)
    logits = torch.cat([part for _, part in answer_table(head, features, episodes)]).double()
    top = logits.topk(2, dim=-1).values
    clear = (top[..., 0] - top[..., 1] > 1e-4 * (1 + top[..., 0].abs())).numpy()
    assert clear.mean() > 0.2 or isinstance(head, Gaussian)
    assert np.array_equal(ours.right[clear], plain.right[clear])
    asked = (episodes.query_label >= 0).numpy()
    assert not ours.right[~asked].any()
    np.testing.assert_allclose(ours.accuracy, ours.right.sum(1) / np.maximum(asked.sum(1), 1), rtol=0, atol=0)


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("head", [*FITTED, *OTHERS], ids=str)
def test_random_and_degenerate_episodes(head: Any, kind: str) -> None:
    episodes = SAMPLED[kind].draw(TASKS, key(3), 0, 30)
    same(head, table(), episodes)
    same(head, with_edges(table()), episodes)
    if head in FITTED and getattr(head, "normalize", True):
        same(head, table(mean=30.0), episodes, 2e-3)


@pytest.mark.parametrize("head", FITTED, ids=str)
def test_the_fitted_state_is_that_of_the_head(head: Any) -> None:
    episodes, parameters = SAMPLED["unequal"].draw(TASKS, key(4), 0, 40), head.declare(WIDTH)
    ours = fitted_by(head, with_edges(table()), episodes, parameters)
    assert ours is not None and bool(ours.pop("solved").all())
    plain = fit_on_table(head, with_edges(table()), episodes, None, parameters)
    inside = episodes.classes >= 0
    for name, tensor in plain.items():
        torch.testing.assert_close(ours[name][inside], tensor[inside], rtol=3e-5, atol=3e-5)


def test_other_parameters_than_those_at_the_start_are_read() -> None:
    episodes = SAMPLED["several shots"].draw(TASKS, key(3), 0, 10)
    head = Ridge(intercept=True)
    moved = {"head.scale": torch.tensor(2.5), "head.log_penalty": torch.tensor(1.5)}
    plain, ours = (score_table(head, table(), episodes, None, moved, fast=fast) for fast in (False, True))
    np.testing.assert_allclose(ours.loss, plain.loss, rtol=1e-5)
    assert abs(ours.loss - score_table(head, table(), episodes, None, fast=True).loss).max() > 1e-3


@pytest.mark.parametrize("head", [Centroid(), Centroid(metric="euclidean"), Ridge(), Logistic()], ids=str)
def test_ties_go_to_the_first_class(head: Any) -> None:
    features = table()
    features[:] = features[0]  # every class has the same row
    episodes = SAMPLED["one shot"].draw(TASKS, key(3), 0, 20)
    ours = score_table(head, features, episodes, None, fast=True)
    assert np.array_equal(ours.right, (episodes.query_label == 0).numpy())
    np.testing.assert_allclose(ours.loss, np.log(5), rtol=1e-6)


def test_classes_without_support_and_episodes_without_any() -> None:
    drawn = SAMPLED["several shots"].draw(TASKS, key(3), 0, 12)
    label, support = drawn.support_label.clone(), drawn.support.clone()
    gone = label == 6
    label[gone], support[gone] = -1, -1
    label[5], support[5] = -1, -1
    ours = Episodes(support, label, drawn.query, drawn.query_label.clamp_max(5), drawn.classes, drawn.task)
    for head in FITTED:
        plain, fast = (score_table(head, table(), ours, None, fast=fast) for fast in (False, True))
        np.testing.assert_allclose(fast.loss, plain.loss, rtol=3e-5, atol=3e-5)


def test_what_a_kernel_does_not_solve_is_fitted_in_the_plain_way() -> None:
    features = table()
    features[:ROWS] = features[0]  # a class of equal rows: almost no penalty makes their products singular
    episodes = SAMPLED["several shots"].draw(TASKS, key(3), 0, 30)
    head = Ridge(penalty=1e-30)
    state = fitted_by(head, features, episodes, head.declare(WIDTH))
    assert state is not None and 0 < int(state["solved"].sum()) < 30
    ours = judge_table(head, features, episodes)
    plain = score_table(head, features, episodes, None, fast=False)
    np.testing.assert_array_equal(ours[2].numpy()[~state["solved"].numpy()], plain.right[~state["solved"].numpy()])


def test_a_loss_that_is_no_number_is_that_of_the_plain_path() -> None:
    features = table() * 1e25  # squares overflow
    episodes = SAMPLED["one shot"].draw(TASKS, key(3), 0, 5)
    plain, ours = (score_table(Centroid(metric="euclidean"), features, episodes, None, fast=fast) for fast in (False, True))
    np.testing.assert_array_equal(ours.loss, plain.loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_tables_and_heads_take_the_plain_path(dtype: torch.dtype) -> None:
    episodes = SAMPLED["several shots"].draw(TASKS, key(3), 0, 10)
    assert can_judge(Centroid(), table(), episodes) and not can_judge(Matching(), table(), episodes)
    assert not can_judge(Centroid(), table().to(dtype), episodes) and not can_judge(Centroid(), table()[:, ::2], episodes)
    for head, features in ((Centroid(), table().to(dtype)), (Matching(), table())):
        plain, ours = (score_table(head, features, episodes, None, fast=fast) for fast in (False, True))
        assert np.array_equal(ours.loss, plain.loss) and np.array_equal(ours.right, plain.right)


@pytest.mark.parametrize("head", [*FITTED, *OTHERS, Matching()], ids=str)
def test_a_table_of_bfloat16_is_its_own_numbers_read_as_float32(head: Any) -> None:
    episodes, rounded = SAMPLED["unequal"].draw(TASKS, key(3), 0, 20), table().bfloat16()
    for fast in (False, True):
        ours, wide = (score_table(head, features, episodes, None, fast=fast) for features in (rounded, rounded.float()))
        np.testing.assert_allclose(ours.loss, wide.loss, rtol=1e-6)
        assert np.array_equal(ours.right, wide.right)
    off = abs(score_table(head, table(), episodes, None, fast=False).loss - ours.loss)
    assert 0 < off.max() < 0.2


def test_class_vectors_are_those_of_each_part() -> None:
    names = torch.nn.functional.normalize(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0)), dim=1)
    episodes = SAMPLED["several shots"].draw(TASKS, key(3), 0, 300)  # more than a chunk
    plain, ours = (score_table(Shrink(), table(), episodes, names, fast=fast) for fast in (False, True))
    np.testing.assert_allclose(ours.loss, plain.loss, rtol=2e-5)
    with pytest.raises(InputError, match="no label side"):
        judge_table(Shrink(), table(), episodes)
    with pytest.raises(InputError, match="the feature table has 100 rows"):
        judge_table(Centroid(), table()[:100], episodes)


def test_no_episodes() -> None:
    none = SAMPLED["one shot"].draw(TASKS, key(3), 0, 4)[:0]
    assert [tuple(part.shape) for part in judge_table(Centroid(), table(), none)] == [(0,), (0,), (0, 20)]


def test_kernels_are_taken_from_many_queries_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(answers, "judge_table", lambda *given: asked.append(len(given[2])) or judge_table(*given))
    few, many = (Sampled(ways=5, shots=1, queries=20).draw(TASKS, key(0), 0, count) for count in (999, 1000))
    for episodes in (few, many):
        score_table(Centroid(), table(), episodes, None)
    assert asked == [1000]
