"""The time that is printed before the main job begins: its terms with the numbers fixed, and its words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.cli import speeds
from fewtune.cli.say import expected_time
from fewtune.cli.time_ahead import Speeds, Work, runs_on_sources, seconds_ahead
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.machine import Machine
from fewtune.sides.own import OwnTuner
from fewtune.sides.settings import OwnSettings
from fewtune.sources.planning import MOST_VISITS
from fewtune.sources.settings import SourceSettings
from tests.unit.adaptation.small_job import BACKBONE, LORA, RECIPE, others, target

WORK = Work(rows=100, labelled=100, classes=5, features=1000)
# one fold of one learner: 1.1e-3 + 100 x (3.8e-8 x 1000 + 1.8e-6 x 5 + 5.2e-8 x 100) = 6.32e-3; 5 learners, 5 folds, 10 repeats
COMPARED = 1.58
CURVE = 0.79  # 5 of the 10 repeats
PAGE = 3.2
# the same on 75 rows: 1.1e-3 + 75 x (3.8e-5 + 9e-6 + 3.9e-6) = 4.9175e-3
IN_A_FOLD = 1.229375


def test_frozen_work_is_embedding_comparing_the_curve_and_the_page() -> None:
    assert seconds_ahead(WORK, Speeds(row=0.1)) == pytest.approx(10 + COMPARED + CURVE + PAGE)


def test_a_slower_machine_takes_longer_for_all_but_what_was_measured_itself() -> None:
    assert seconds_ahead(WORK, Speeds(row=0.1, slower=2)) == pytest.approx(10 + 2 * (COMPARED + CURVE + PAGE))


@pytest.mark.parametrize(("minutes", "repeats"), [(math.inf, 2), (5, 2), (1.5, 1), (0.5, 0)])
def test_finetuning_takes_the_runs_that_the_budget_allows_and_judging_compares_anew_in_each_fold(minutes: float, repeats: int) -> None:
    runs = (4 * repeats + 1) * 10 if repeats else 0
    again = 4 * repeats * IN_A_FOLD + COMPARED * bool(repeats)
    found = seconds_ahead(replace(WORK, minutes=minutes), Speeds(row=0.1, run=10))
    assert found == pytest.approx(10 + COMPARED + CURVE + PAGE + runs + again)


def test_measuring_again_takes_its_time_for_every_method_also_where_nothing_fits_the_budget() -> None:
    frozen = seconds_ahead(WORK, Speeds(row=0.1))
    assert seconds_ahead(replace(WORK, minutes=0.5, methods=3), Speeds(row=0.1, run=10, tried=2)) == pytest.approx(frozen + 6)


def test_several_methods_stay_within_the_budget() -> None:
    frozen = seconds_ahead(WORK, Speeds(row=0.1)) + 8 * IN_A_FOLD + COMPARED
    assert seconds_ahead(replace(WORK, methods=2), Speeds(row=0.1, run=10)) == pytest.approx(frozen + 180)
    assert seconds_ahead(replace(WORK, methods=9, minutes=5), Speeds(row=0.1, run=10)) == pytest.approx(frozen + 300 - 10 - COMPARED)


def test_other_data_takes_its_runs_as_far_as_they_fit() -> None:
    runs = runs_on_sources(3, 2, judged=True)
    assert runs == pytest.approx(5 + (3 + 2 * 5) / 3)
    assert runs_on_sources(3, 0, judged=False) == pytest.approx(2)
    frozen = seconds_ahead(WORK, Speeds(row=0.001))
    judged = frozen + 4 * IN_A_FOLD + COMPARED
    few = replace(WORK, others=500, source_runs=runs, visits=1000)
    assert seconds_ahead(few, Speeds(row=0.001)) == pytest.approx(judged + 0.001 * (500 + 3000 * runs))
    assert seconds_ahead(few, Speeds(row=0.001, visit=0.01)) == pytest.approx(judged + 0.5 + 0.01 * 1000 * runs)
    whole = replace(few, visits=0)
    assert seconds_ahead(whole, Speeds(row=0.001)) == pytest.approx(judged + 0.001 * (500 + 3 * MOST_VISITS * runs))
    left = 300 - 0.1 - COMPARED
    assert seconds_ahead(replace(whole, minutes=5), Speeds(row=0.001)) == pytest.approx(judged + 0.5 + 0.8 * (left - 0.5))
    left = 60 - 0.1 - COMPARED  # 50 steps of 32 rows take 44.8 s and 0.8 of what is left is 46.3
    assert seconds_ahead(replace(whole, minutes=1), Speeds(row=0.001)) == pytest.approx(judged + 0.5 + 0.8 * (left - 0.5))
    left = 57 - 0.1 - COMPARED  # too little: the other data is embedded, and the runs are left out
    assert seconds_ahead(replace(whole, minutes=0.95), Speeds(row=0.001)) == pytest.approx(frozen + 0.5)
    left = 57 - 0.1 - COMPARED
    assert seconds_ahead(replace(whole, minutes=0.95, others=10**6), Speeds(row=0.001)) == pytest.approx(frozen + 0.25 * left)


def test_many_rows_are_compared_in_fewer_repeats_and_not_all_are_drawn() -> None:
    big = replace(WORK, rows=4000, labelled=4000)
    each = 1.1e-3 + 4000 * (3.8e-5 + 9e-6 + 5.2e-8 * 4000)
    assert seconds_ahead(big, Speeds(row=0)) == pytest.approx(2 * 25 * each + 2.7 + 0.005 * 2000)


def test_the_words() -> None:
    said = expected_time(WORK, Speeds(row=0.1), "photo")
    assert said == (
        "All work from here takes about 16 s: embedding 100 photos (about 10 s, less where they were embedded before), comparing learners, "
        "and the report."
    )
    assert expected_time(WORK, Speeds(row=0.0), "row") == "All work from here takes about 6 s: comparing learners, and the report."
    tuned = expected_time(replace(WORK, minutes=5, others=40), Speeds(row=0.1, run=10), "photo")
    assert "embedding 100 photos and up to 40 of other data (about 14 s" in tuned
    assert "about 117 s" in tuned
    assert "finetuning within at most about 5 minutes (--budget), and the report." in tuned
    assert "comparing learners, finetuning, and the report." in expected_time(WORK, Speeds(row=0.1, run=10), "photo")


def test_a_row_is_timed_after_a_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, size=(8, 8, 3), dtype=np.uint8) for _ in range(6)]
    photos = make_examples(Pixels(np.stack(pictures)), ["a", "b"] * 3, name="photos")
    pixels = load_backbone("pixels", machine=Machine(device="cpu"))
    ticks = itertools.chain([100.0], itertools.repeat(104.0))
    monkeypatch.setattr(speeds.time, "perf_counter", lambda: next(ticks))
    assert speeds.row_speed(photos, pixels) == 4.0 / 8
    assert speeds.row_speed(target(), BACKBONE) == 0.0  # features are there already


def test_the_fastest_of_four_passes_says_how_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.chain([0.0, 9.0, 10.0, 10.5, 20.0, 20.06, 30.0, 31.0], itertools.repeat(99.0))
    monkeypatch.setattr(speeds.time, "perf_counter", lambda: next(ticks))
    assert speeds._slower() == pytest.approx(0.06 / 0.020)


@pytest.mark.parametrize(("of_few", "run", "tried"), [(2.0, 5.0, [8, 24]), (20.0, 5.0, [8, 24]), (21.0, 63.0, [8])])
def test_a_run_is_measured_on_a_batch_unless_few_rows_say_that_it_is_long(
    of_few: float, run: float, tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is 24 rows of the 40 that are labelled. Three times the time of 8 rows is long above 60 seconds."""
    rows: list[list[int]] = []

    def seconds(tuner: OwnTuner) -> float:
        rows.append(tuner.target.support.tolist())
        return 5.0 if len(rows) > 1 else of_few

    monkeypatch.setattr(speeds, "seconds_a_run", seconds)
    found = speeds.measured(target(), BACKBONE, AdaptSettings(own=OwnSettings(recipes=(RECIPE,))))
    assert found is not None and found.run == run
    assert [len(set(some)) for some in rows] == tried
    assert found.slower > 0
    frozen = speeds.measured(target(), BACKBONE, AdaptSettings(finetune="never"))
    assert frozen is not None and frozen.run == 0 and len(rows) == len(tried)


def test_a_run_of_a_few_steps_can_be_measured() -> None:
    assert speeds.measured(target(), BACKBONE, AdaptSettings(own=OwnSettings(recipes=(LORA,)))).run > 0  # type: ignore[union-attr]


def test_the_size_of_the_work() -> None:
    examples = target(shots=10, tested=6)
    work = speeds.work_of(examples, BACKBONE, (), AdaptSettings(minutes=3, folds=4, own=OwnSettings(recipes=(RECIPE, LORA))), None)
    assert (work.rows, work.labelled, work.classes, work.features) == (64, 40, 4, 16)
    assert (work.learners, work.folds, work.methods, work.minutes, work.share) == (5, 4, 2, 3, 1.0)
    assert (work.others, work.source_runs) == (0, 0)
    assert speeds.work_of(examples, BACKBONE, (), AdaptSettings(), 1).learners == 1


def test_other_data_counts_where_it_is_used() -> None:
    """20 classes of 10 rows, 7 of a class at most; three rates, and 4 folds judge."""
    how = AdaptSettings(sources=SourceSettings(most=7, visits=500))
    work = speeds.work_of(target(), BACKBONE, [others()], how, None)
    assert (work.others, work.source_runs, work.visits, work.share) == (140, 5 + 3 / 3, 500, 0.4)
    unused = speeds.work_of(target(), BACKBONE, [others()], replace(how, finetune="own"), None)
    assert (unused.others, unused.source_runs, unused.share) == (0, 0, 1.0)


def test_a_part_of_the_budget_is_for_finetuning_on_own_labels() -> None:
    """With share .4 of 2 minutes nothing of runs of 10 s fits, with all of them one repeat does."""
    frozen = seconds_ahead(WORK, Speeds(row=0.1))
    assert seconds_ahead(replace(WORK, minutes=2, share=0.4), Speeds(row=0.1, run=10)) == pytest.approx(frozen)
    assert seconds_ahead(replace(WORK, minutes=2), Speeds(row=0.1, run=10)) > frozen + 40


def test_a_row_in_a_run_on_other_data_is_measured_where_such_a_run_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    real = speeds.train

    def train(*given: object, **more: object) -> object:
        done = real(*given, **more)  # type: ignore[arg-type]
        trained.append(done.visits)
        return done

    monkeypatch.setattr(speeds, "train", train)
    planned = speeds.measured(target(), BACKBONE, AdaptSettings(), others=True)
    assert planned is not None and 0 < planned.visit < 1 and len(trained) == 2 and trained[1] == 4 * trained[0]
    none = speeds.measured(target(), BACKBONE, AdaptSettings())
    assert none is not None and none.visit == 0 and len(trained) == 2
