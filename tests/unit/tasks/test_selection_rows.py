"""Row scores against autograd and plain loops in float64; turns against a loop written out and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewtune.errors import InputError
from fewtune.tasks.selection import (
    CHOICES,
    ConsistencyDiversity,
    Evidence,
    GradientRow,
    Less,
    NearestRow,
    Ranked,
    RoundRobin,
    beside,
    gradients,
    random_tasks,
    round_robin,
    seeded,
)
from fewtune.tasks.selection.evidence import Floats
from fewtune.tasks.selection.rows import row_slopes, take_turns
from tests.unit.tasks.selection_grounds import WIDTH, ground


def cosine(a: Floats, b: Floats) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def map_gradients(features: Floats, labels: np.ndarray[tuple[int], np.dtype[np.int64]], temperature: float) -> Floats:
    """The gradient [n, D * D] of each row's cross-entropy by a map M at the identity, by autograd: class weights stay as they are."""
    rows = torch.nn.functional.normalize(torch.from_numpy(features), dim=1)
    y = torch.from_numpy(labels)
    means = torch.stack([rows[y == c].mean(dim=0) for c in range(int(y.max()) + 1)])
    weights = torch.nn.functional.normalize(means, dim=1)
    found = []
    for i in range(len(rows)):
        m = torch.eye(WIDTH, dtype=torch.float64, requires_grad=True)
        logits = temperature * weights @ (m @ rows[i])
        (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits[None], y[i : i + 1]), m)
        found.append(slope.flatten().numpy())
    return np.stack(found)


@pytest.mark.parametrize("temperature", [1.0, 7.0])
def test_the_cosines_of_gradients_are_those_of_autograd(temperature: float) -> None:
    tasks, evidence = ground(count=4)
    mine = map_gradients(evidence.support, evidence.labels, temperature)
    found = GradientRow(temperature=temperature).score_rows(tasks, evidence)
    assert found.shape == (len(evidence.support), len(tasks))
    for t, task in enumerate(tasks):
        labels = np.repeat(np.arange(len(task.rows)), [len(r) for r in task.rows])
        theirs = map_gradients(evidence.read(np.concatenate(task.rows)), labels, temperature)
        np.testing.assert_allclose(found[:, t], [max(cosine(a, b) for b in theirs) for a in mine], rtol=0, atol=1e-12)


def test_slopes_by_hand() -> None:
    """Rows (1, 0) and (0, 1) of two classes at temperature log 3: p = (3/4, 1/4), so (p - y) W = (-1/4, 1/4) and (1/4, -1/4)."""
    found = row_slopes(np.array([[2.0, 0], [0, 5.0]]), np.array([0, 1]), math.log(3))
    np.testing.assert_allclose(found, [[-0.25, 0.25], [0.25, -0.25]], rtol=0, atol=1e-15)


def test_the_nearest_row_by_a_plain_loop() -> None:
    tasks, evidence = ground()
    found = NearestRow().score_rows(tasks, evidence)
    for t, task in enumerate(tasks):
        rows = evidence.read(np.concatenate(task.rows))
        np.testing.assert_allclose(found[:, t], [max(cosine(a, b) for b in rows) for a in evidence.support], rtol=0, atol=1e-12)


def test_less_is_the_best_mean_of_a_class() -> None:
    tasks, evidence = ground()
    each, y = GradientRow().score_rows(tasks, evidence), evidence.target_label.numpy()
    expected = [max(np.mean([each[s, t] for s in range(len(y)) if y[s] == c]) for c in range(4)) for t in range(len(tasks))]
    assert Less().score(tasks, evidence) == pytest.approx(expected, abs=1e-12)


def test_rows_without_a_gradient_have_no_cosine() -> None:
    """A task of one class is always right: its gradients are zero, and so is every cosine with them."""
    tasks, evidence = ground(count=2)
    one = Evidence(evidence.features, evidence.target, torch.zeros(len(evidence.target), dtype=torch.int64))
    assert (GradientRow().score_rows(tasks, one) == 0).all()


def test_turns_by_hand() -> None:
    """Row 0 wants 2, 0, 1, 3; row 1 wants 2, 3, 0, 1: 2 goes to row 0, 3 to row 1, 0 to row 0, 1 to row 1."""
    scores = np.array([[0.5, 0.2, 0.9, 0.1], [0.3, 0.1, 0.8, 0.7]])
    assert take_turns(scores, 4) == [(0, 2), (1, 3), (0, 0), (1, 1)]
    assert take_turns(scores, 3) == [(0, 2), (1, 3), (0, 0)]
    assert take_turns(scores, 99) == take_turns(scores, 4)
    assert take_turns(np.zeros((2, 3)), 3) == [(0, 0), (1, 1), (0, 2)]  # equals keep their places


@pytest.mark.parametrize("seed", range(20))
def test_turns_are_those_of_a_plain_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, count = random.integers(1, 9), random.integers(1, 15)
    scores = random.integers(0, 5, (rows, count)).astype(float)  # with many equals
    most = int(random.integers(1, 20))
    left, expected = set(range(count)), []
    turn = 0
    while left and len(expected) < most:
        row = turn % rows
        best = max(sorted(left), key=lambda t: scores[row, t])
        expected.append((row, best))
        left.remove(best)
        turn += 1
    assert take_turns(scores, most) == expected


def test_the_trace_says_who_took_what() -> None:
    tasks, evidence = ground()
    scores = NearestRow().score_rows(tasks, evidence)
    trace = RoundRobin(most=5).trace(tasks, evidence)
    turns = take_turns(scores, 5)
    assert trace.taken.tolist() == [t for _, t in turns] and len(trace) == len(tasks)
    assert sorted(trace.column("candidate").tolist()) == list(range(len(tasks)))
    assert trace.column("similarity")[:5].tolist() == [scores[s, t] for s, t in turns]
    assert trace.column("reason")[1] == "the best left for example 2" and trace.column("reason")[5] == "beyond the best"
    rest = trace.column("similarity")[5:]
    assert (np.diff(rest) <= 0).all() and rest[0] == np.delete(scores.max(axis=0), trace.taken).max()
    assert len(RoundRobin(most=0).select(tasks, evidence)) == len(tasks)


def test_an_example_unlike_the_others_is_heard() -> None:
    """One support row of 13 lies on a row of the last candidate; the mean of the target hardly shows it."""
    tasks, evidence = ground()
    odd = evidence.features(tasks[len(tasks) - 1].rows[0][:1])
    asked = Evidence(evidence.features, torch.cat([evidence.target, odd]), torch.cat([evidence.target_label, torch.tensor([4])]))
    most = len(asked.target)
    assert len(tasks) - 1 in RoundRobin(most=most).trace(tasks, asked).taken
    assert len(tasks) - 1 not in CHOICES["no_diversity"]().trace(tasks, asked).taken[:most]


def test_named_choices_and_seeds() -> None:
    assert round_robin(most=7) == RoundRobin(rows=NearestRow(), most=7) and gradients(most=7) == Ranked(score=Less(), most=7)
    assert seeded(random_tasks(), 4) == random_tasks(seed=4) and seeded(random_tasks(seed=2), 4) == random_tasks(seed=2)
    assert seeded(round_robin(), 4) == round_robin() and isinstance(seeded(ConsistencyDiversity(), 4), ConsistencyDiversity)


@pytest.mark.parametrize("wrong", [lambda: GradientRow(temperature=0), lambda: Less(temperature=math.inf), lambda: RoundRobin(most=-1)])
def test_settings_that_make_no_sense(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        wrong()


def test_no_candidate_and_no_evidence() -> None:
    tasks, evidence = ground()
    none = replace(tasks, slots=tasks.slots[:0], bounds=tasks.bounds[:1], names=())
    with pytest.raises(InputError, match="at least one candidate"):
        RoundRobin().select(none, evidence)
    with pytest.raises(InputError, match="RoundRobin chooses tasks by features"):
        RoundRobin().select(tasks)


def test_a_choice_beside_random_ones_and_all() -> None:
    """Coverage is that of the walk through the candidates; similarity a plain loop; the random ones a mean of ten draws of as many."""
    tasks, evidence = ground()
    trace = ConsistencyDiversity(mode="skip").trace(tasks, evidence)
    found = beside(trace.taken, tasks, evidence, seed=3)
    centre = evidence.support.mean(axis=0)
    alike = np.array([cosine(evidence.read(np.concatenate(task.rows)).mean(axis=0), centre) for task in tasks])
    taken = trace.column("taken").astype(bool)
    assert list(found) == ["chosen", "random", "all"]
    assert found["chosen"].tasks == found["random"].tasks == taken.sum() and found["all"].tasks == len(tasks)
    assert found["chosen"].coverage == pytest.approx(trace.column("coverage")[taken][-1], rel=1e-9)
    assert found["chosen"].similarity == pytest.approx(alike[trace.taken].mean(), abs=1e-12)
    assert found["all"].similarity == pytest.approx(alike.mean(), abs=1e-12)
    every = ConsistencyDiversity(order="given", p=-0.99).trace(tasks, evidence)
    assert len(every.taken) == len(tasks) and found["all"].coverage == pytest.approx(every.column("coverage")[-1], rel=1e-9)
    assert found["random"] == beside(trace.taken, tasks, evidence, seed=3)["random"] != beside(trace.taken, tasks, evidence)["random"]


def test_random_ones_are_like_all_on_average() -> None:
    """The mean similarity of random tasks is that of all, within four of its standard errors over 200 seeds; one task at a time."""
    tasks, evidence = ground()
    found = [beside(np.array([0]), tasks, evidence, seed=seed)["random"].similarity for seed in range(200)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - beside(np.array([0]), tasks, evidence)["all"].similarity) < 4 * error
