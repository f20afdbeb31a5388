"""Moments and coverage by hand and by scikit-learn; degenerate candidates; what is said; how p is chosen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.chosen import Chosen, Named
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection import (
    ConsistencyDiversity,
    Evidence,
    Trace,
    choose_p,
    coverage,
    moments_of,
    no_diversity,
    random_tasks,
)
from fewtune.tasks.selection.moments import LEAST, covariance
from fewtune.tasks.task import Tasks
from tests.unit.tasks.selection_grounds import WIDTH, ground


@pytest.mark.parametrize(("rows", "width"), [(3, 5), (7, 5), (150, 40), (30, 64), (50, 1), (5, 200)])
def test_shrinkage_is_that_of_scikit_learn(rows: int, width: int) -> None:
    random = np.random.default_rng(rows)
    x = random.normal(size=(rows, width)) @ random.normal(size=(width, width)) + random.normal(size=width)
    split = rows // 3
    within, shrinkage = covariance(moments_of(x[:split]) + moments_of(x[split:]))
    expected, theirs = ledoit_wolf(x)
    assert shrinkage == pytest.approx(theirs, abs=1e-9)
    spread = np.trace(within) / width
    np.testing.assert_allclose((1 - shrinkage) * within + shrinkage * spread * np.eye(width), expected, rtol=1e-8, atol=1e-10)


def test_coverage_by_hand() -> None:
    """(1, 0), (-1, 0), (0, 2), (0, -2): S = diag(1/2, 2), m = 5/4, d = 9/8, b = (17/2 - 17/4) / 4 = 17/16, delta = b / d = 17/18,
    C = S / 18 + 17/18 m I = diag(29/24, 31/24)."""
    moments = moments_of(np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]]) + 10)
    assert covariance(moments)[1] == pytest.approx(17 / 18)
    assert coverage(moments, np.array([11.0, 10])) == pytest.approx(29 / 24)
    assert coverage(moments, np.array([10.0, 11])) == pytest.approx(31 / 24)
    assert coverage(moments, np.array([11.0, 11])) == pytest.approx(1 / (24 / 29 + 24 / 31))
    assert coverage(moments, np.array([10.0, 10])) == math.inf


def test_coverage_knows_no_unit() -> None:
    random = np.random.default_rng(0)
    x, target, turn = random.normal(size=(9, 20)), random.normal(size=20), np.linalg.qr(random.normal(size=(20, 20)))[0]
    known = coverage(moments_of(x), target)
    assert coverage(moments_of(x * 8), target * 8) == known
    assert coverage(moments_of(x @ turn), target @ turn) == pytest.approx(known, rel=1e-9)


def test_sets_without_variance() -> None:
    one = moments_of(np.array([[1.0, 2, 3]]))
    assert coverage(one, np.array([1.0, 2, 3])) == math.inf
    assert coverage(one, np.array([1.0, 2, 4])) == 0
    assert coverage(moments_of(np.full((7, 3), 0.1)), np.zeros(3)) == 0


def test_two_rows_are_shrunk_by_a_millionth() -> None:
    """S = diag(1, 0): Ledoit and Wolf shrink it by nothing; across it C is LEAST / 2."""
    moments = moments_of(np.array([[1.0, 0], [-1, 0]]))
    assert covariance(moments)[1] == 0
    assert coverage(moments, np.array([0.0, 1])) == pytest.approx(LEAST / 2)
    assert coverage(moments, np.array([1.0, 0])) == pytest.approx(1 - LEAST / 2)


def test_a_constant_feature_does_no_harm() -> None:
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(size=(40, 3)), np.full((40, 1), 5.0)], axis=1)
    assert 0 < coverage(moments_of(x), x.mean(axis=0) + np.array([1.0, 0, 0, 0])) < math.inf


def test_the_trace_follows_the_algorithm() -> None:
    """Every step again with scikit-learn's shrinkage on the distinct rows of the chosen and the one looked at."""
    tasks, evidence = ground()
    trace = ConsistencyDiversity(mode="skip", p=0.02).trace(tasks, evidence)
    target = evidence.target.double().numpy().mean(axis=0)
    means = np.stack([evidence.read(np.concatenate(t.rows)).mean(axis=0) for t in tasks])
    similarity = means @ target / np.linalg.norm(means, axis=1) / np.linalg.norm(target)
    assert trace.column("candidate").tolist() == np.argsort(-similarity, kind="stable").tolist()
    np.testing.assert_allclose(trace.column("similarity"), np.sort(similarity)[::-1], rtol=1e-12)
    chosen: set[int] = set()
    before = math.nan
    for place, covered, gain, taken in zip(*(trace.column(n) for n in ("candidate", "coverage", "gain", "taken")), strict=True):
        rows = sorted(chosen | set(np.concatenate(tasks[int(place)].rows).tolist()))
        x = evidence.read(np.array(rows))
        away = target - x.mean(axis=0)
        assert covered == pytest.approx(1 / (away @ np.linalg.solve(ledoit_wolf(x)[0], away)), rel=1e-8)
        assert math.isnan(gain) if not chosen else gain == pytest.approx(covered / before - 1, abs=1e-9)
        assert taken == (not chosen or covered >= 1.02 * before)
        if taken:
            chosen, before = set(rows), covered
    stopped = ConsistencyDiversity(p=0.02).trace(tasks, evidence)
    last = len(stopped) - 1
    assert stopped.column("taken").tolist() == [True] * last + [False]
    assert same(stopped, Trace(trace.table.slice(0, last + 1)))


def test_most_bounds_what_is_taken() -> None:
    tasks, evidence = ground()
    assert len(ConsistencyDiversity(p=-0.9, most=3).select(tasks, evidence)) == 3
    nearest = no_diversity(most=4).trace(tasks, evidence)
    assert len(nearest) == 4 and nearest.column("taken").all() and np.isnan(nearest.column("coverage")).all()
    drawn = random_tasks(most=5).trace(tasks)
    assert len(drawn) == 5 and np.isnan(drawn.column("similarity")).all()
    assert random_tasks(most=5, seed=1).select(tasks).names != random_tasks(most=5).select(tasks).names


def test_rows_that_are_there_already_add_nothing() -> None:
    tasks, evidence = ground()
    twice = tasks.take([0, 0, 1])
    for p, taken in ((0.0, True), (1e-9, False)):
        trace = ConsistencyDiversity(order="given", mode="skip", p=p).trace(twice, evidence)
        assert trace.column("gain")[1] == 0 and trace.column("reason")[1] == "no new rows"
        assert trace.column("taken")[1] == taken and trace.column("coverage")[1] == trace.column("coverage")[0]


def test_one_candidate_is_taken() -> None:
    tasks, evidence = ground()
    trace = ConsistencyDiversity().trace(tasks.take([3]), evidence)
    assert trace.taken.tolist() == [0] and trace.column("reason").tolist() == ["first"] and math.isnan(trace.column("gain")[0])


def test_features_that_never_differ() -> None:
    tasks, evidence = ground()
    same = Evidence(lambda rows: torch.ones(len(rows), WIDTH), evidence.target, evidence.target_label)
    trace = ConsistencyDiversity().trace(tasks, same)
    assert len(trace.taken) == len(tasks) and (trace.column("coverage") == 0).all() and (trace.column("gain")[1:] == 0).all()
    nothing = Evidence(lambda rows: torch.zeros(len(rows), WIDTH), torch.zeros(3, WIDTH), torch.arange(3))
    assert (ConsistencyDiversity().trace(tasks, nothing).column("similarity") == 0).all()


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_rows_are_read_once_to_rank(mode: str) -> None:
    tasks, evidence = ground()
    asked: list[int] = []

    def features(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> torch.Tensor:
        asked.extend(rows.tolist())
        return evidence.features(rows)

    no_diversity().trace(tasks, Evidence(features, evidence.target, evidence.target_label))
    assert sorted(asked) == sorted(np.unique(np.concatenate([np.concatenate(t.rows) for t in tasks])).tolist())
    asked.clear()  # in random order only what is looked at is read
    ConsistencyDiversity(order="random", mode=mode, most=2, p=-0.9).trace(tasks, Evidence(features, evidence.target, evidence.target_label))
    assert len(set(asked)) <= 2 * 4 * 8


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda t, _e: ConsistencyDiversity().select(t), "was given none"),
        (lambda t, _e: ConsistencyDiversity(order="given").select(t), "was given none"),
        (lambda t, e: ConsistencyDiversity().select(none(t), e), "at least one candidate task"),
        (lambda t, _e: Chosen(sampler=Sampled(), selection=ConsistencyDiversity()).draw(t, key(0), 0, 1), "resolve the choice before"),
        (lambda _t, e: Evidence(e.features, torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)), "found none"),
        (lambda t, e: ConsistencyDiversity().select(t, spoilt(e, math.nan)), "candidate tasks hold NaN"),
        (lambda t, e: ConsistencyDiversity().select(t, Evidence(e.features, e.target * math.inf, e.target_label)), "support hold NaN"),
        (lambda t, e: ConsistencyDiversity().select(t, Evidence(e.features, torch.ones(2, 3), torch.arange(2))), "(as the target's)"),
        (lambda _t, _e: ConsistencyDiversity(p=-1.0), "p above -1"),
        (lambda _t, _e: ConsistencyDiversity(p=math.nan), "p above -1"),
        (lambda _t, _e: ConsistencyDiversity(most=-1), "most of at least 0"),
        (lambda t, e: choose_p(ConsistencyDiversity(), (), t, e, len), "at least one value of p"),
    ],
)
def test_what_does_not_fit_is_said(act, sentence: str) -> None:  # type: ignore[no-untyped-def]
    tasks, evidence = ground()
    with pytest.raises(InputError) as found:
        act(tasks, evidence)
    assert sentence in str(found.value) and str(found.value).count(". ") == 0


def same(a: Trace, b: Trace) -> bool:
    """The same rows; NaN is NaN."""
    return a.table.schema == b.table.schema and str(a.table.to_pylist()) == str(b.table.to_pylist())


def none(tasks: Tasks) -> Tasks:
    return Tasks(tasks.order, tasks.start, tasks.count, tasks.slot_class, tasks.slots[:0], np.zeros(1, dtype=np.int64), ())


def spoilt(evidence: Evidence, value: float) -> Evidence:
    return Evidence(lambda rows: evidence.features(rows).fill_(value), evidence.target, evidence.target_label)


def test_a_choice_is_resolved_with_evidence() -> None:
    tasks, evidence = ground()
    chosen = Chosen(sampler=Sampled(ways=3, shots=1, queries=2), selection=ConsistencyDiversity())
    assert chosen.resolved(tasks, evidence).selection == Named(names=chosen.selection.select(tasks, evidence).names)


def test_a_trace_is_kept(tmp_path: Path) -> None:
    tasks, evidence = ground()
    trace = ConsistencyDiversity().trace(tasks, evidence)
    trace.save(tmp_path / "trace.parquet")
    again = Trace(pq.read_table(tmp_path / "trace.parquet"))
    assert same(again, trace) and again.taken.tolist() == trace.taken.tolist()
    assert set(trace.column("source")) <= {"a", "b", "c"} and [p.name for p in tmp_path.iterdir()] == ["trace.parquet"]


def test_p_is_chosen_on_validation_tasks() -> None:
    tasks, evidence = ground()
    sizes: list[int] = []

    def evaluate(chosen: Tasks) -> float:
        sizes.append(len(chosen))
        return -abs(len(chosen) - 4)

    values = (-0.9, -0.5, 0.0, 0.5, 10.0, 20.0)
    best = choose_p(ConsistencyDiversity(mode="skip"), values, tasks, evidence, evaluate)
    chosen = {p: len(ConsistencyDiversity(mode="skip", p=p).select(tasks, evidence)) for p in values}
    assert len(sizes) == len(set(sizes)) < len(values)  # each distinct choice is trained on once
    nearest = min(abs(n - 4) for n in chosen.values())
    assert best == ConsistencyDiversity(mode="skip", p=max(p for p, n in chosen.items() if abs(n - 4) == nearest))
    assert choose_p(ConsistencyDiversity(), values, tasks, evidence, lambda _: 1.0).p == 20.0
