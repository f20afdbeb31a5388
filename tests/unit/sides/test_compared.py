"""All sides together, on answers that are made up: what is shown, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fewtune.sides.compared import SLOWER, Compared
from fewtune.sides.held_out import HeldOut, mean_of
from fewtune.sides.route import FROZEN
from fewtune.statistics import Evidence, evidence_of_classes, evidence_of_rows, expected_best, paired_gain, soft_correctness

ROWS, WAYS = 60, 3
LABELS = np.arange(ROWS) % WAYS


def answers(right: float, seed: int, *, sure: float = 4.0) -> HeldOut:
    """Two repeats of answers, a share of which is right."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=0.3, size=(2, ROWS, WAYS))
    said = np.where(random.permutation(ROWS) < round(right * ROWS), LABELS, (LABELS + 1) % WAYS)
    logits[:, np.arange(ROWS), said] += sure
    return HeldOut(logits, LABELS)


def soft(one: HeldOut) -> np.ndarray[Any, Any]:
    return soft_correctness(one.log_probabilities, one.labels)


def test_the_rivals_are_every_side_alone_with_the_frozen_one_and_all_of_them() -> None:
    sides = {name: answers(0.6, seed) for seed, name in enumerate((FROZEN, "own labels", "sources"))}
    both = Compared(sides)
    assert list(both.members.values()) == [
        ("own labels",),
        ("sources",),
        (FROZEN, "own labels"),
        (FROZEN, "sources"),
        (FROZEN, "own labels", "sources"),
    ]
    assert list(Compared({FROZEN: sides[FROZEN], "sources": sides["sources"]}).members) == ["sources", "frozen + sources"]
    assert both.rivals["sources"] is sides["sources"]
    np.testing.assert_array_equal(both.rivals["frozen + own labels + sources"].logits, mean_of(list(sides.values())).logits)
    assert FROZEN not in both.rivals


def test_no_gain_keeps_the_frozen_side() -> None:
    for seed in range(6):
        none = Compared({FROZEN: answers(0.7, seed), "own labels": answers(0.7, 50 + seed)}, rule="shown")
        assert none.kept == FROZEN and none.members_kept == (FROZEN,) and not none.shown
    worse = Compared({FROZEN: answers(0.9, 0), "own labels": answers(0.5, 1)})
    assert worse.kept == FROZEN and worse.gain.mean < 0.1


def test_a_clear_gain_is_kept_and_the_expected_best_of_them_is_it() -> None:
    sides = {FROZEN: answers(0.5, 0), "own labels": answers(0.9, 1), "sources": answers(0.55, 2)}
    found = Compared(sides)
    assert found.kept in found.rivals and "own labels" in found.members_kept
    rows = evidence_of_rows(soft(sides[FROZEN]), {name: soft(one) for name, one in found.rivals.items()})
    np.testing.assert_array_equal(found.evidence.mean, rows.mean)
    assert found.gain == paired_gain(rows)
    gains = dict(zip(rows.names, expected_best(rows).gains, strict=True))
    worth = {name: gain - SLOWER * ("+" in name) for name, gain in gains.items()}
    assert found.kept == max(worth, key=worth.__getitem__)


def judged(monkeypatch: pytest.MonkeyPatch, gains: dict[str, float], error: float = 0.01) -> Compared:
    """A comparison whose rivals gained so much, all as surely, with independent errors."""
    found = Compared({FROZEN: answers(0.5, 0), **{name: answers(0.5, 1) for name in gains if "+" not in name}})
    mean = np.array([gains[name] for name in found.members])
    made = Evidence(tuple(found.members), mean, error**2 * np.eye(len(mean)), np.full(len(mean), 59.0), 60, 0, mean)
    monkeypatch.setattr("fewtune.sides.compared.evidence_of_rows", lambda *_: made)
    return found


def shrunk(gains: list[float], error: float = 0.01) -> list[float]:
    """The posterior means by their formula: prior 5 points, correlation a half."""
    before = 0.05**2 * (0.5 * np.eye(len(gains)) + 0.5)
    found: list[float] = (before @ np.linalg.inv(before + error**2 * np.eye(len(gains))) @ np.array(gains)).tolist()
    return found


@pytest.mark.parametrize(
    ("ahead", "kept"),
    [(-0.02, "own labels"), (0.002, "own labels"), (0.02, "frozen + own labels")],
)
def test_an_ensemble_must_be_half_a_point_ahead(ahead: float, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch, {"own labels": 0.1, "frozen + own labels": 0.1 + ahead})
    single, ensemble = shrunk([0.1, 0.1 + ahead])
    assert (ensemble - single > 0.005) == (kept != "own labels")
    assert found.kept == kept


def test_what_is_shown_of_one_may_keep_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most certain gain is shown, the largest expected one is kept."""
    found = Compared({FROZEN: answers(0.5, 0), "own labels": answers(0.5, 1)})
    mean, error = np.array([0.10, 0.06]), np.array([0.03, 0.01])
    made = Evidence(tuple(found.members), mean, np.diag(error**2), np.full(2, 59.0), 60, 0, mean)
    monkeypatch.setattr("fewtune.sides.compared.evidence_of_rows", lambda *_: made)
    assert found.gain.side == "frozen + own labels" and found.kept == "own labels"
    of_it = found.gain_of("own labels")
    assert (of_it.side, of_it.mean, of_it.rows, of_it.own) == ("own labels", 0.10, 60, 0.10)
    width = (found.gain.mean - found.gain.low) / 0.01  # in standard errors, for all rivals at once
    assert of_it.low == pytest.approx(0.10 - 0.03 * width)
    assert stats.t.sf(0.10 / 0.03, 59) < of_it.p < 2 * stats.t.sf(0.10 / 0.03, 59)  # counting both rivals
    assert found.gain_of("frozen + own labels") == found.gain


def test_a_bound_below_zero_keeps_the_frozen_side_whatever_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    unsure = judged(monkeypatch, {"own labels": 0.1, "frozen + own labels": 0.1}, error=0.08)
    assert unsure.kept == "own labels" and not unsure.shown  # likely, not shown; one model is enough
    assert replace(unsure, rule="shown").kept == FROZEN
    assert replace(judged(monkeypatch, {"own labels": 0.1, "frozen + own labels": 0.1}, error=0.02), rule="shown").kept != FROZEN


def test_what_gains_nothing_on_the_own_examples_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Compared({FROZEN: answers(0.5, 0), "own labels": answers(0.5, 1)})
    mean, own = np.array([0.05, 0.04]), np.array([-0.01, 0.02])
    made = Evidence(tuple(found.members), mean, np.diag([0.02, 0.02]) ** 2, np.full(2, 59.0), 60, 9, own)
    monkeypatch.setattr("fewtune.sides.compared.evidence_of_rows", lambda *_: made)
    assert found.kept == "frozen + own labels"
    losing = Compared(found.held)
    made.own[1] = -0.02
    assert losing.kept == FROZEN


def test_a_side_that_cannot_be_saved_is_not_kept_nor_an_ensemble_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown of it stays; without any other side that gains enough it is the frozen one."""
    gains = {"a": 0.1, "b": 0.08, "frozen + a": 0.09, "frozen + b": 0.07, "frozen + a + b": 0.05}
    found = judged(monkeypatch, gains)
    left = found.without(["a"], "training diverged")
    assert (found.kept, left.kept, left.best) == ("a", "b", "a") and left.lost == {"a": "training diverged"}
    assert left.gain == found.gain and left.shown
    none = left.without(["b"], "you stopped")
    assert none.kept == FROZEN and none.best == "a" and not none.shown and none.lost == {"a": "training diverged", "b": "you stopped"}
    for rule in ("likely", "shown"):
        assert replace(left, rule=rule).kept == "b"  # type: ignore[arg-type]


def test_the_p_counts_all_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain of 1.9 standard errors is shown for a lone rival; of five, chance has such a one too often."""
    gains = dict.fromkeys(("a", "b", "frozen + a", "frozen + b", "frozen + a + b"), 0.0) | {"a": 0.019}
    found = judged(monkeypatch, gains)
    alone = stats.t.sf(1.9, 59)
    assert alone < 0.05 < found.gain.p < 5 * alone and replace(found, rule="shown").kept == FROZEN
    independent = 1 - (1 - alone) ** 5
    assert found.gain.p == pytest.approx(independent, abs=0.02)


def test_related_classes_are_evidence_too() -> None:
    """A gain that rows alone hardly show."""
    sides = {FROZEN: answers(0.6, 0), "sources": answers(0.7, 3)}
    rows = Compared(sides)
    classes = evidence_of_classes({"sources": np.full((1, 40), 0.1) + np.random.default_rng(0).normal(scale=0.05, size=(1, 40))}, 30)
    joined = Compared(sides, classes)
    place = rows.evidence.names.index("sources")
    assert joined.evidence.classes == 40 and joined.evidence.error[place] < rows.evidence.error[place]
    other = rows.evidence.names.index("frozen + sources")
    assert joined.evidence.mean[other] == rows.evidence.mean[other]


def test_only_what_is_shown_itself_is_kept_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ensemble's gain is shown, the larger one of the side alone is not."""
    found = Compared({FROZEN: answers(0.5, 0), "own labels": answers(0.5, 1)}, rule="shown")
    mean, error = np.array([0.10, 0.06]), np.array([0.08, 0.01])
    made = Evidence(tuple(found.members), mean, np.diag(error**2), np.full(2, 59.0), 60, 0, mean)
    monkeypatch.setattr("fewtune.sides.compared.evidence_of_rows", lambda *_: made)
    assert found.proved == ("frozen + own labels",) and found.kept == "frozen + own labels" and found.shown


def test_a_point_must_be_expected_of_what_is_kept_also_where_the_best_loses_on_the_own_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Compared({FROZEN: answers(0.5, 0), "own labels": answers(0.5, 1)})
    mean, own = np.array([0.002, 0.06]), np.array([0.02, -0.01])
    made = Evidence(tuple(found.members), mean, np.diag([0.005, 0.01]) ** 2, np.full(2, 59.0), 60, 9, own)
    monkeypatch.setattr("fewtune.sides.compared.evidence_of_rows", lambda *_: made)
    gains = expected_best(made).gains
    assert gains[0] < 0.01 < gains[1] and found.kept == FROZEN
