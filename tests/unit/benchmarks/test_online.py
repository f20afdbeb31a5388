"""`benchmarks/online.py`: nothing is learned before it is judged, updates and counts by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import online
import pytest
import ranking
import torch
from torch import Tensor

from tests.unit.benchmarks.tiny_films import Known, films_of, random_answers

YEARS = np.repeat(np.arange(1984, 2001), 3)  # three films a year; those before 1990 are learned from first
LAST = 2001


@pytest.fixture
def years(monkeypatch: pytest.MonkeyPatch) -> online.Years:
    monkeypatch.setattr(online, "LAST", LAST)
    shuffled = np.random.default_rng(3).permutation(YEARS)
    return online.Years(films_of(shuffled, 1990), shuffled)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch, years: online.Years) -> list[tuple[str, frozenset[int]]]:
    """Training is noted, not done: what each network learned from. Returns the trainings in order."""
    trained: list[tuple[str, frozenset[int]]] = []

    def fit(table: ranking.Table, text: str, seed: int) -> Known:
        known = replace(random_answers(years.table, seed + len(text)), learned=frozenset(table.train.tolist()))
        trained.append((f"fit {text}", known.learned))
        return known

    def updated(_: online.Years, fitted: Any, rows: np.ndarray, steps: int, seed: int) -> Any:
        trained.append((f"{steps} by {seed}", frozenset(rows.tolist())))
        return replace(fitted, learned=fitted.learned | set(rows.tolist()))

    monkeypatch.setattr(ranking.Table, "fit", fit)
    monkeypatch.setattr(online, "updated", updated)
    return trained


def rows_of(years: online.Years, first: int, end: int) -> frozenset[int]:
    return frozenset(np.flatnonzero((years.year >= first) & (years.year < end)).tolist())


def test_each_way_has_learned_from_its_films_and_none_from_a_later_one(
    monkeypatch: pytest.MonkeyPatch, years: online.Years, networks: list[tuple[str, frozenset[int]]]
) -> None:
    seen: list[frozenset[int]] = []
    asked: list[frozenset[int]] = []

    def judged(_: ranking.Table, fitted: Known, rows: np.ndarray) -> dict[str, float]:
        seen.append(fitted.learned)
        asked.append(frozenset(rows.tolist()))
        return {"a": len(seen), "b": np.nan, "c": 0.0}

    monkeypatch.setattr(online, "judged", judged)
    found = online.qualities(years, "trunk", 2, 7)
    ways = ("fixed", "continuous", "replayed", "anew")
    assert tuple(found) == ways
    for number, year in enumerate(range(1990, LAST)):
        assert set(asked[4 * number : 4 * number + 4]) == {rows_of(years, year, year + 1)}
        retrained = 1990 + 5 * ((year - 1990) // 5)
        for way, first_not_learned in zip(ways, (1990, year, year, retrained), strict=True):
            assert seen[4 * number + ways.index(way)] == rows_of(years, 0, first_not_learned)
            assert found[way][number] == (4 * number + ways.index(way) + 1) / 2  # the mean of what is judged at all
    assert networks[0] == ("fit trunk", rows_of(years, 0, 1990))
    assert networks[1:3] == [("7 by 3990", rows_of(years, 1990, 1991)), ("7 by 3990", rows_of(years, 0, 1991))]
    assert [rows for what, rows in networks if what == "fit trunk"] == [rows_of(years, 0, end) for end in (1990, 1995, 2000)]


def test_multiplications_of_training() -> None:
    a_batch = 3 * 32 * 1000  # forward and backward, rows, multiplications a row
    found = online.computed(400, 40, 1000)
    assert found["fixed"] == 400 * a_batch
    assert found["continuous"] == found["replayed"] == (400 + 16 * 40) * a_batch  # 1990 to 2005
    assert found["anew"] == (400 + 3 * 400) * a_batch  # after 1994, 1999 and 2004


@dataclass(frozen=True, eq=False)
class Linear:
    """Rows of one matrix are the outputs of all tasks."""

    outputs: tuple[int, ...]

    def score(self, state: dict[str, Tensor], query: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        return query @ parameters["weight"][state["classes"][0]].T


def adam(weight: np.ndarray, gradient_of: Any, steps: int, rate: float = 1e-3) -> np.ndarray:
    """Kingma and Ba's algorithm 1."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, steps + 1):
        gradient = gradient_of(weight)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        weight = weight - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return weight


@pytest.mark.parametrize("labelled", [True, False])
def test_updates_by_hand(years: online.Years, labelled: bool) -> None:
    """One film, so that every batch is this film; where it has no mpaa, the mean is over three columns."""
    table = years.table
    row = int(np.flatnonzero((table.columns["mpaa"].values >= 0) == labelled)[0])
    start = np.random.default_rng(0).normal(size=(7, table.features.shape[1]))
    x = table.features[row].astype(float)

    def gradient(weight: np.ndarray) -> np.ndarray:
        found, out = np.zeros_like(weight), weight @ x
        for task, name in enumerate(("votes_log10", "rating")):
            values = table.columns[name].values[:, 0]
            scaled = (values[row] - values[table.train].mean()) / values[table.train].std()
            found[task] = 2 * (out[task] - scaled) * x
        for name, place in (("drama", slice(2, 4)), *([("mpaa", slice(4, 7))] if labelled else [])):
            chance = np.exp(out[place]) / np.exp(out[place]).sum()
            found[place] = np.outer(chance - np.eye(len(chance))[table.columns[name].values[row]], x)
        return found / (4 if labelled else 3)

    fitted = ranking.Fitted(Linear(table.outputs), {"weight": torch.from_numpy(start.astype(np.float32))}, 1.5)
    again = online.updated(years, fitted, np.array([row]), 3, 0)
    expected = adam(start, gradient, 3)
    assert np.abs(expected - start).max() > 2e-3
    np.testing.assert_allclose(again.parameters["weight"].numpy() - start, expected - start, atol=2e-6)
    assert torch.equal(fitted.parameters["weight"], torch.from_numpy(start.astype(np.float32)))  # the network before stays
    assert not again.parameters["weight"].requires_grad


def test_a_batch_has_at_most_32_labelled_rows_of_those_given(years: online.Years) -> None:
    table, head = years.table, Linear(years.table.outputs)
    weight = {"weight": torch.from_numpy(np.random.default_rng(0).normal(size=(7, 384)).astype(np.float32))}
    mpaa = table.columns["mpaa"].values
    for rows in (np.arange(9), np.arange(len(mpaa))):
        mine = rows[mpaa[rows] >= 0]
        batch = mine[np.random.default_rng(4).integers(len(mine), size=min(32, len(mine)))]
        out = table.features[batch].astype(float) @ weight["weight"].numpy()[4:].astype(float).T
        expected = np.mean(np.log(np.exp(out).sum(1)) - out[np.arange(len(batch)), mpaa[batch]])
        found = online.column_loss(table, head, weight, 3, rows, np.random.default_rng(4))
        assert found is not None and found.item() == pytest.approx(expected, rel=1e-5)
    assert online.column_loss(table, head, weight, 3, np.flatnonzero(mpaa < 0), np.random.default_rng(4)) is None


def test_visits_go_to_one_arm_by_a_fair_coin() -> None:
    arms = [online.assigned(year, 200) for year in range(1990, 2006)]
    for arm in arms:
        assert sorted([*arm["A"], *arm["B"]]) == list(range(200))
    share = np.mean([len(arm["A"]) / 200 for arm in arms])
    assert abs(share - 0.5) < 3 * 0.5 / (16 * 200) ** 0.5
    assert arms[0]["A"].tolist() == online.assigned(1990, 200)["A"].tolist() != arms[1]["A"].tolist()
    assert set(online.assigned(1990, 50)["A"]) == {one for one in arms[0]["A"] if one < 50}  # place alone decides


def standard(table: ranking.Table, name: str) -> np.ndarray:
    values = table.columns[name].values[:, 0]
    known = values[table.train]
    return (values - known.mean()) / known.std()


def test_successes_are_the_upper_quarter_of_their_year(years: online.Years) -> None:
    rows = np.arange(5, 46)
    score = (standard(years.table, "votes_log10") + standard(years.table, "rating"))[rows]
    good = online.successes(years.table, rows)
    assert set(np.flatnonzero(good)) == set(np.argsort(-score)[:11])  # the 31st of 41 from below is the quartile


def test_pages_by_hand(monkeypatch: pytest.MonkeyPatch, years: online.Years) -> None:
    monkeypatch.setattr(online, "CANDIDATES", 6)
    monkeypatch.setattr(online, "SHOWN", 3)
    table, known = years.table, random_answers(years.table)
    rows, visitors = np.arange(4, 19), np.array([0, 3, 14])
    good = np.random.default_rng(2).random(15) < 0.4
    expected = []
    for visitor in visitors:
        others = [one for one in range(15) if one != visitor]
        others.sort(key=lambda one: -float(table.features[rows[visitor]] @ table.features[rows[one]]))
        page = sorted(others[:6], key=lambda one: -float(known.said[0][rows[one], 0] + known.said[1][rows[one], 0]))[:3]
        expected.append(sum(good[one] for one in page) / 3)
    assert online.pages(table, known, rows, visitors, good) == pytest.approx(expected)
    assert online.pages(table, known, rows[:5], np.array([2]), good[:5]) != []  # fewer films than candidates


@pytest.mark.usefixtures("networks")
def test_the_comparison_by_hand(monkeypatch: pytest.MonkeyPatch, years: online.Years) -> None:
    monkeypatch.setattr(online, "SHOWN", 2)
    pages, rates = online.pages, {"A": [], "B": []}
    texts = {"A": "trunk", "B": "experts"}

    def watched(table: ranking.Table, fitted: Known, rows: np.ndarray, visitors: np.ndarray, good: np.ndarray) -> list[float]:
        [year] = set(years.year[rows])
        assert fitted.learned == rows_of(years, 0, year)  # everything before this year, nothing of it
        arm = "A" if np.array_equal(fitted.said[0], random_answers(table, len("trunk")).said[0]) else "B"
        assert visitors.tolist() == online.assigned(year, len(rows))[arm].tolist()
        found = pages(table, fitted, rows, visitors, good)
        rates[arm] += found
        return found

    monkeypatch.setattr(online, "pages", watched)
    found = online.compared(years, texts, 0, 40)
    a, b = np.array(rates["A"]), np.array(rates["B"])
    assert len(a) + len(b) == len(rows_of(years, 1990, LAST)) and min(len(a), len(b)) > 5
    gap = b.mean() - a.mean()
    error = 1.96 * (((a - a.mean()) ** 2).sum() / (len(a) - 1) / len(a) + ((b - b.mean()) ** 2).sum() / (len(b) - 1) / len(b)) ** 0.5
    assert found["B_minus_A"] == f"{gap:+.4f} ({gap - error:+.4f} to {gap + error:+.4f})"
    assert found["A"] == f"{round(2 * a.sum())} of {2 * len(a)}"
    assert found["B"] == f"{round(2 * b.sum())} of {2 * len(b)}"
