"""Settings chosen on inner folds: by the examples at hand alone, and by log-loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Integers
from fewtune.errors import Diverged
from fewtune.learning.on_features import answer_table
from fewtune.recipes import read_method
from fewtune.sides.held_out import outer_splits
from fewtune.sides.inner_folds import InnerFolds
from fewtune.sides.own import OwnTuner
from fewtune.sides.progress import Finished
from fewtune.sides.route import Made
from fewtune.statistics import fit_temperature
from tests.unit.sides.test_own import LABELS, RECIPE, ROWS, SOME, backbone, target, tuner

RATES = (0.0, 0.02, 0.3)
RIDGE = read_method("ridge(penalty=1)")
_ = backbone  # a fixture


def recipe(rate: float) -> str:
    return RECIPE.replace("lr=0.02", f"lr={rate}")


def tuners(backbone: Backbone, labels: Integers = LABELS, rates: tuple[float, ...] = RATES) -> tuple[OwnTuner, ...]:
    return tuple(tuner(backbone, recipe(rate), labels) for rate in rates)


def loss(one: OwnTuner, rows: Integers) -> float:
    """Fold by fold, all steps by hand."""
    splits = outer_splits(replace(one.target, support=rows), 0, 2, 1)
    assert splits.episodes is not None
    logits, labels = [], []
    for e in range(2):
        episode = splits.episodes[e : e + 1]
        side = one.made(episode.support[0][episode.support[0] >= 0].numpy()).side
        [(_, answered)] = answer_table(RIDGE.head, side.features, episode, None)
        asked = episode.query[0] >= 0
        logits.append(answered[0, : int(asked.sum())].double())
        labels.append(episode.query_label[0][asked])
    z, y = torch.cat(logits).numpy(), torch.cat(labels).numpy()
    z = z / fit_temperature(z, y)
    return float(-(z - np.logaddexp.reduce(z, 1, keepdims=True))[np.arange(len(y)), y].mean())


@pytest.mark.parametrize("rows", [SOME, np.arange(ROWS)])
def test_the_lowest_held_out_log_loss_is_chosen(rows: Integers, backbone: Backbone) -> None:
    given = tuners(backbone)
    expected = [loss(one, rows) for one in given]
    assert len({round(x, 6) for x in expected}) == 3
    found = InnerFolds(given, RIDGE)
    assert found.best(rows) is given[int(np.argmin(expected))]
    turned = InnerFolds(given[::-1], RIDGE)
    assert turned.best(rows) is found.best(rows)
    made, mine = found.made(rows), found.best(rows).made(rows)
    assert torch.equal(made.side.features, mine.side.features)


def test_labels_of_other_rows_have_no_say(backbone: Backbone) -> None:
    """To the last bit, whatever they are: what is chosen can be judged on them."""
    other = LABELS.copy()
    rest = np.setdiff1d(np.arange(ROWS), SOME)
    other[rest] = (other[rest] + 1) % 3
    made, again = (InnerFolds(tuners(backbone, labels), RIDGE).made(SOME) for labels in (LABELS, other))
    assert torch.equal(made.side.features, again.side.features)


def test_the_usual_settings_win_a_tie_and_one_that_diverges_loses(backbone: Backbone) -> None:
    same = tuners(backbone, rates=(0.02, 0.02))
    assert InnerFolds(same, RIDGE).best(SOME) is same[0]
    broken = tuner(backbone, "standard(on='support', steps=6, batch=8, lr=1e30)")
    fine = tuner(backbone)
    assert InnerFolds((broken, fine), RIDGE).best(SOME) is fine
    with pytest.raises(Diverged, match="in every setting"):
        InnerFolds((broken, broken), RIDGE).made(SOME)


def test_what_was_answered_before_a_stop_is_not_run_again(tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    made = OwnTuner.made

    def counted(self: OwnTuner, rows: Any, start: Any = None) -> Made:
        runs.append(len(rows))
        return made(self, rows, start)

    monkeypatch.setattr(OwnTuner, "made", counted)
    first = InnerFolds(tuners(backbone), RIDGE, Finished(tmp_path / "kept")).best(SOME)
    assert runs == [5, 7] * 3
    again = InnerFolds(tuners(backbone), RIDGE, Finished(tmp_path / "kept")).best(SOME)
    assert len(runs) == 6 and again.method == first.method
    assert target(backbone).digest == first.target.digest
