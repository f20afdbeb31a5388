"""Episodes judged by other metrics than accuracy: scikit-learn's values on each query, and the same tables and tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

import fewtune
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_table
from fewtune.evaluation.study import EPISODE_METRICS, episode_metric
from fewtune.parts.heads import Centroid
from fewtune.statistics.metrics import METRICS
from fewtune.tasks.episodes import Episodes


def ragged(count: int = 6) -> tuple[torch.Tensor, Episodes]:
    """Features by row, and episodes of 2 to 4 classes with queries of uneven classes; -1 pads."""
    random = np.random.default_rng(0)
    features = torch.from_numpy(random.normal(size=(400, 5)).astype(np.float32))
    support, labels = np.full((count, 4), -1), np.full((count, 4), -1)
    query, wanted, classes = np.full((count, 12), -1), np.full((count, 12), -1), np.full((count, 4), -1)
    for e in range(count):
        ways, asked = 2 + e % 3, 9 + e % 4
        support[e, :ways], labels[e, :ways] = 20 * e + np.arange(ways), np.arange(ways)
        query[e, :asked] = 200 + 20 * e + np.arange(asked)
        wanted[e, :asked] = np.minimum(np.arange(asked) // 2, ways - 1)
        classes[e, :ways] = np.arange(ways)
    given = [torch.from_numpy(one) for one in (support, labels, query, wanted, classes)]
    return features, Episodes(*given, task=torch.zeros(count, dtype=torch.int64))


def theirs(name: str, chance: np.ndarray, truth: np.ndarray) -> float:
    said = chance.argmax(1)
    if name == "auc":
        return float(np.mean([roc_auc_score(truth == k, chance[:, k]) for k in range(chance.shape[1])]))
    found = {
        "balanced_accuracy": lambda: balanced_accuracy_score(truth, said),
        "macro_f1": lambda: f1_score(truth, said, average="macro"),
        "mcc": lambda: matthews_corrcoef(truth, said),
    }
    return float(found[name]())


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "mcc", "auc"])
def test_each_episode_has_scikit_learn_s_value(name: str) -> None:
    features, episodes = ragged()
    scores = score_table(Centroid(), features, episodes, None, metric=METRICS[name])
    plain = score_table(Centroid(), features, episodes, None)
    assert plain.value is None and np.array_equal(plain.judged, plain.accuracy) and np.array_equal(scores.accuracy, plain.accuracy)
    assert scores.value is not None
    for e in range(len(episodes)):
        one = episodes[e : e + 1]
        ways, real = int((one.classes >= 0).sum()), one.query[0] >= 0
        state = Centroid().fit(features[one.support[:, :ways]], trimmed(one, ways), None, Centroid().declare(5))
        logits = Centroid().score(state, features[one.query[:, real]], Centroid().declare(5))[0].numpy()
        expected = theirs(name, softmax(logits.astype(np.float64), axis=1), one.query_label[0][real].numpy())
        assert scores.value[e] == pytest.approx(expected, abs=1e-6), e


def trimmed(one: Episodes, ways: int) -> Episodes:
    none = one.query[:, :0]
    return Episodes(one.support[:, :ways], one.support_label[:, :ways], none, none, one.classes[:, :ways], one.task)


def uneven() -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(1)
    labels = ["a"] * 60 + ["b"] * 60 + ["c"] * 60
    centers = np.repeat(np.array([[0.0, 0], [1, 0], [0, 1]]), 60, axis=0)
    return (centers + random.normal(size=(180, 2)) * 0.6).astype(np.float32), labels


def test_compare_judges_by_the_metric_that_is_asked_for() -> None:
    settings = {"queries": 5, "episodes": 30}
    made = {
        name: fewtune.compare(
            uneven(),
            methods=["centroid", "ridge"],
            ways=3,
            shots=2,
            settings=fewtune.CompareSettings(metric=name, **settings),  # type: ignore[arg-type]
        )
        for name in ("accuracy", "balanced_accuracy", "matthews")
    }
    accuracy, balanced, matthews = (one.outcomes.result for one in made.values())
    np.testing.assert_allclose(accuracy.column("value"), balanced.column("value"))  # as many queries of each class
    assert np.abs(matthews.column("value") - accuracy.column("value")).max() > 0.05 and set(matthews.column("metric")) == {"mcc"}
    table = made["matthews"].render("table")
    assert "Matthews x 100" in table and "accuracy %" not in table
    lines = made["matthews"].summary.lines
    values = matthews.where(method="ridge").column("value")
    assert lines[1].mean == pytest.approx(values.mean()) and lines[1].interval.low < values.mean() < lines[1].interval.high
    assert any(0 <= line.p <= 1 for line in lines)
    assert made["accuracy"].study.text() != made["matthews"].study.text() and "metric mcc" in made["matthews"].study.text()


def test_a_metric_that_is_none_of_episodes_is_said() -> None:
    assert episode_metric("matthews") == "mcc" and "r2" not in EPISODE_METRICS
    with pytest.raises(InputError, match="unknown metric of episodes 'r2'"):
        fewtune.CompareSettings(metric="r2")
