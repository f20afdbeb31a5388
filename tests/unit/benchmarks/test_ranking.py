"""The figures of `benchmarks/ranking.py` on about 30 rows, against loops by hand, scipy and scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import ranking
import torch
from scipy.stats import spearmanr, t
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from fewtune.statistics.intervals import t_interval
from tests.unit.benchmarks.tiny_films import films_of, random_answers

YEARS = np.arange(1985, 2015)  # 30 films; those before 2000 are learned from
LATER = np.arange(15, 30)


def test_a_mean_is_shown_with_half_the_width_of_its_interval() -> None:
    values = [0.50, 0.62, 0.53]
    half = t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5
    assert ranking.shown(t_interval(values)) == f"{np.mean(values):.3f} ± {half:.3f}"
    assert ranking.shown(t_interval(values), 1) == f"{np.mean(values):.1f} ± {half:.1f}"


def test_answers_are_judged_by_the_measure_of_their_column_on_labelled_rows() -> None:
    table = films_of(YEARS, 2000)
    known = random_answers(table)
    found = ranking.judged(table, known, LATER)
    for task, name in enumerate(("votes_log10", "rating")):
        assert found[name] == pytest.approx(spearmanr(known.said[task][LATER, 0], table.columns[name].values[LATER, 0]).statistic)
    yes = known.said[2][LATER, 1] - known.said[2][LATER, 0]
    assert found["drama"] == pytest.approx(roc_auc_score(table.columns["drama"].values[LATER], yes))
    mpaa = table.columns["mpaa"].values[LATER]
    assert 0 < (mpaa >= 0).sum() < len(mpaa)
    assert found["mpaa"] == pytest.approx(accuracy_score(mpaa[mpaa >= 0], known.said[3][LATER].argmax(1)[mpaa >= 0]))
    assert list(found) == list(table.columns)


def test_labels_are_in_standard_deviations_of_what_is_learned_from() -> None:
    table = films_of(YEARS, 2000)
    votes = table.columns["votes_log10"].values[:, 0]
    np.testing.assert_allclose(ranking.truth(table, LATER, 0), (votes[15:] - votes[:15].mean()) / votes[:15].std())
    rating = table.columns["rating"].values[:, 0]
    np.testing.assert_allclose(ranking.truth(table, LATER, 1), (rating[15:] - rating[:15].mean()) / rating[:15].std())


@pytest.mark.parametrize("scored", [True, False])
def test_what_is_shown_by_hand(monkeypatch: pytest.MonkeyPatch, scored: bool) -> None:
    """Of the 6 nearest later films the 3 with the largest score, or the 3 nearest; never the film itself."""
    monkeypatch.setattr(ranking, "CANDIDATES", 6)
    monkeypatch.setattr(ranking, "SHOWN", 3)
    table = films_of(YEARS, 2000)
    score = np.random.default_rng(5).normal(size=len(LATER)) if scored else None
    expected = []
    for film in range(len(LATER)):
        others = [one for one in range(len(LATER)) if one != film]
        others.sort(key=lambda one: -float(table.features[LATER[film]] @ table.features[LATER[one]]))
        page = others[:6] if score is None else sorted(others[:6], key=lambda one: -score[one])
        expected.append([[ranking.truth(table, LATER, task)[one] for one in page[:3]] for task in (0, 1)])
    found = ranking.ranking(table, LATER, score, asked=len(LATER))
    np.testing.assert_allclose(found, np.mean(expected, axis=(0, 2)))


def test_a_few_films_are_asked_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "CANDIDATES", 6)
    table = films_of(YEARS, 2000)
    score = np.arange(15.0)
    assert ranking.ranking(table, LATER, score, 4) == ranking.ranking(table, LATER, score, 4)
    assert ranking.ranking(table, LATER, score, 4) != ranking.ranking(table, LATER, score, 15)


def test_networks_cost_no_more_multiplications_than_one_trunk() -> None:
    outputs, inputs, width = (1, 1, 2, 3), 50, 64
    found = ranking.contenders(outputs, inputs, width, 0, 10)
    most = inputs * width + width * sum(outputs)
    assert found["shared_bottom"][1] == most
    for experts in (4, 8):
        text, cost = found[f"mmoe {experts}"]
        gates, of_a_unit = 4 * experts * inputs, experts * inputs + 4 * experts + sum(outputs)  # one gate a task
        fits = int(text.partition("width=")[2].partition(",")[0])
        assert cost == gates + fits * of_a_unit <= most < cost + of_a_unit
    assert found["independent"] == ("independent(width=16, steps=10, lr=0.001)", 4 * inputs * 16 + 16 * sum(outputs))


def test_outputs_of_a_column_are_those_of_its_rows_of_the_last_layer() -> None:
    table = films_of(YEARS, 2000)
    fitted = table.fit("shared_bottom(width=3, steps=2)", 0)
    own = {name.rpartition("head.")[2]: tensor.numpy() for name, tensor in fitted.parameters.items()}
    [trunk] = [tensor for tensor in own.values() if tensor.shape == (3, 384)]
    [bias] = [tensor for tensor in own.values() if tensor.shape == (3,)]
    [last] = [tensor for tensor in own.values() if tensor.shape == (7, 3)]
    [shift] = [tensor for tensor in own.values() if tensor.shape == (7,)]
    whole = np.maximum(table.features @ trunk.T + bias, 0) @ last.T + shift
    for task, rows in enumerate([slice(0, 1), slice(1, 2), slice(2, 4), slice(4, 7)]):
        np.testing.assert_allclose(fitted.outputs(table.features, task).numpy(), whole[:, rows], rtol=1e-5, atol=1e-6)


def test_only_train_rows_are_learned_from() -> None:
    table = films_of(YEARS, 2000)
    other = films_of(YEARS, 2000)
    for name, column in other.columns.items():  # later labels are others
        column.values[LATER] = table.columns[name].values[LATER][::-1]
    text = "shared_bottom(width=3, steps=3)"
    assert torch.equal(table.fit(text, 0).outputs(table.features, 3), other.fit(text, 0).outputs(table.features, 3))


FILMS = """title,year,length,budget,votes_log10,rating,action,animation,comedy,drama,documentary,romance,short,mpaa
A,1990,100,999,1.5,6.0,1,0,0,0,0,0,0,R
B,1994,10,9,2.5,7.5,0,0,1,0,0,0,1,
C,2000,1000,,3.5,8.0,0,0,0,1,0,0,0,PG
D,2004,100,99999,0.5,2.0,0,1,0,0,0,1,0,G
"""


def test_films_are_read_and_scaled_by_those_that_are_learned_from(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "movies.csv").write_text(FILMS)
    np.save(tmp_path / "movies_minilm.npy", np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0], [-5.0, 0.0]]))
    table, year = ranking.films(tmp_path, tmp_path)
    assert year.tolist() == [1990, 1994, 2000, 2004]
    assert table.train.tolist() == [0, 1]
    titles = np.array([[0.6, 0.8], [0, 1], [1, 0], [-1, 0]]) * 2**0.5
    years, lengths, budgets = [-1, 1, 4, 6], [1, -1, 3, 1], [1, -1, 0, 3]  # means 1992, 1.5 and 2 (log10), deviations 2, .5 and 1
    missing = [0, 0, 1, 0]
    np.testing.assert_allclose(table.features, np.column_stack([titles, years, lengths, budgets, missing]), rtol=1e-6, atol=1e-6)
    assert {name: column.values.ravel().tolist() for name, column in table.columns.items()} == {
        "votes_log10": [1.5, 2.5, 3.5, 0.5], "rating": [6.0, 7.5, 8.0, 2.0], "action": [1, 0, 0, 0], "animation": [0, 0, 0, 1],
        "comedy": [0, 1, 0, 0], "drama": [0, 0, 1, 0], "documentary": [0, 0, 0, 0], "romance": [0, 0, 0, 1], "short": [0, 1, 0, 0],
        "mpaa": [2, -1, 1, 0],
    }  # fmt: skip
    assert table.outputs == (1, 1, *[2] * 7, 3)


def test_directions_of_a_pair_have_the_cosine() -> None:
    """For normal inputs least squares finds the direction of any function of w'x (Stein's lemma)."""
    for cosine in (0.0, 0.5, 0.9):
        table = ranking.pair(cosine, 1, count=20000, width=10)
        x = table.features.astype(float)
        first, second = (np.linalg.lstsq(x, column.values[:, 0], rcond=None)[0] for column in table.columns.values())
        assert first @ second / (np.linalg.norm(first) * np.linalg.norm(second)) == pytest.approx(cosine, abs=0.03)
    table = ranking.pair(1.0, 1, count=6000, width=10)
    difference = table.columns["y0"].values - table.columns["y1"].values
    assert difference.std() == pytest.approx(0.1 * 2**0.5, rel=0.03)  # the noise alone
    assert table.train.tolist() == list(range(4000))


def test_unexplained_variance_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = {seed: ranking.pair(0.5, seed, count=90) for seed in (0, 1)}
    monkeypatch.setattr(ranking, "COSINES", (0.5,))
    monkeypatch.setattr(ranking, "pair", lambda _, seed: small[seed])
    ranking.run_pairs([0, 1], 3)
    said = json.loads(capsys.readouterr().out)
    errors = {}
    for name, (text, _) in ranking.contenders((1, 1), 100, 112, 8, 3).items():
        errors[name] = []
        for seed, table in small.items():
            fitted, each = table.fit(text, seed), []
            for task, column in enumerate(table.columns.values()):
                known, later = column.values[:60, 0], column.values[60:, 0]
                answers = known.mean() + known.std() * fitted.outputs(table.features[60:], task)[:, 0].numpy()
                each.append(1 - r2_score(later, answers))
            errors[name].append(np.mean(each))
    assert said["unexplained_variance"] == {name: ranking.shown(t_interval(each)) for name, each in errors.items()}
    less = {name: t_interval(np.subtract(each, errors["shared_bottom"])) for name, each in errors.items()}
    assert said["less_than_shared_bottom"] == {n: ranking.shown(one) for n, one in less.items() if n != "shared_bottom"}
    labels = [np.corrcoef(*(column.values[:, 0] for column in table.columns.values()))[0, 1] for table in small.values()]
    assert said["correlation_of_labels"] == ranking.shown(t_interval(labels), 2)
