"""The greedy mean of sides: no answer is weighed by its own label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import log_softmax

from fewtune.sides.compared import Compared
from fewtune.sides.greedy import GREEDY, greedy_of
from fewtune.sides.held_out import HeldOut
from fewtune.sides.route import FROZEN
from fewtune.statistics import fit_temperature, greedy_weights
from tests.unit.sides.test_compared import LABELS, ROWS, WAYS

FOLD = np.stack([np.arange(ROWS) % 4, 4 + np.random.default_rng(5).permutation(ROWS) % 4])


def side(strength: float, seed: int) -> HeldOut:
    """Two repeats of four folds; the logits lean towards the right class."""
    logits = np.random.default_rng(seed).normal(size=(2, ROWS, WAYS)) + strength * np.eye(WAYS)[LABELS]
    return HeldOut(logits, LABELS, FOLD)


SIDES = {FROZEN: side(0.8, 0), "own labels": side(1.2, 1), "other data": side(0.6, 2)}


def test_each_fold_is_answered_by_weights_of_the_other_examples() -> None:
    found, _ = greedy_of(SIDES)
    logs = np.stack([one.log_probabilities for one in SIDES.values()])
    for fold in range(8):
        asked = fold == FOLD
        rows = np.flatnonzero(asked.any(0))
        others = np.setdiff1d(np.arange(ROWS), rows)
        right = np.tile(LABELS[others], 2)
        raw = [one.logits[:, others].reshape(-1, WAYS) for one in SIDES.values()]
        weights = greedy_weights([log_softmax(z / fit_temperature(z, right), axis=1) for z in raw], right)
        np.testing.assert_allclose(found.logits[fold // 4, rows], np.einsum("m,mnk->nk", weights, logs[:, fold // 4, rows]))
    assert not np.isnan(found.logits).any() and found.fold is FOLD and found.labels is LABELS


def test_another_label_of_a_row_leaves_its_own_answer_alone() -> None:
    """Neither the weights nor the temperatures behind them have seen it."""
    before = greedy_of(SIDES)[0].logits
    moved = 0
    for row in range(0, ROWS, 3):
        other = LABELS.copy()
        other[row] = (other[row] + 1) % WAYS
        after = greedy_of({name: replace(one, labels=other) for name, one in SIDES.items()})[0].logits
        np.testing.assert_array_equal(after[:, row], before[:, row])
        moved += not np.array_equal(after, before)
    assert moved  # labels of others have a say


def test_weights_for_new_examples_come_from_all_answers() -> None:
    _, weights = greedy_of(SIDES)
    logs = np.stack([one.log_probabilities.reshape(-1, WAYS) for one in SIDES.values()])
    expected = greedy_weights(logs, np.tile(LABELS, 2))
    assert list(weights) == [name for name, w in zip(SIDES, expected, strict=True) if w > 0]
    assert list(weights.values()) == [w for w in expected if w > 0] and sum(weights.values()) == 1


def test_rows_that_some_side_never_answered_are_left_out() -> None:
    logits = SIDES["own labels"].logits.copy()
    logits[:, 3] = np.nan
    found, _ = greedy_of({**SIDES, "own labels": HeldOut(logits, LABELS, FOLD)})
    assert np.isnan(found.logits[:, 3]).all() and not np.isnan(np.delete(found.logits, 3, axis=1)).any()


def test_it_is_a_rival_where_it_is_asked_for_and_has_several_members() -> None:
    found = Compared(SIDES, greedy=True)
    assert found.members[GREEDY] == tuple(greedy_of(SIDES)[1]) and found.weights(GREEDY) == tuple(greedy_of(SIDES)[1].values())
    np.testing.assert_array_equal(found.rivals[GREEDY].logits, greedy_of(SIDES)[0].logits)
    assert found.weights("frozen + own labels") == (0.5, 0.5) and found.weights("own labels") == (1.0,)
    assert GREEDY not in Compared(SIDES).members
    assert GREEDY not in Compared({FROZEN: side(0.0, 0), "own labels": side(30.0, 1)}, greedy=True).members
