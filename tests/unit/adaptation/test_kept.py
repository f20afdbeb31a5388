"""What is saved: a finetuned side or an ensemble, made from all labelled examples, with what its held-out answers say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fewtune
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.own_labels import OWN
from fewtune.api.adapted import Adapted
from fewtune.backbones.places import remember
from fewtune.data.row_space import RowSpace
from fewtune.learners.expected import share_learned
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models.finetuned_weights import Members, Moved
from fewtune.models.fitting import fit_head
from fewtune.parts.heads import Ensemble
from fewtune.recipes import read_method
from fewtune.report.collect import findings_of
from fewtune.sides.beside import BESIDE
from fewtune.sides.greedy import GREEDY
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.route import Made
from fewtune.sources.stages import SOURCES
from fewtune.spec import text
from fewtune.statistics import best_of_candidates, expected_accuracy
from tests.unit.adaptation.small_job import BACKBONE, METHODS, RECIPE, WAYS, adapted, keeping, one_pass

BOTH, ALL = f"frozen + {OWN}", f"frozen + {OWN} + {SOURCES}"


def outcome(tmp_path_factory: pytest.TempPathFactory, name: str, *, sources: bool = False, **how: Any) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        one_pass(patch)
        keeping(patch, name)
        return adapted(tmp_path_factory.mktemp("cache"), sources=sources, **how)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return outcome(tmp_path_factory, OWN)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return outcome(tmp_path_factory, BOTH)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return outcome(tmp_path_factory, ALL, sources=True)


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fewtune.sides.greedy.greedy_weights", lambda *_: np.array([0.3, 0.7]))
        return outcome(tmp_path_factory, GREEDY, finetune="all")


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return outcome(tmp_path_factory, BESIDE, finetune="all")


def by_hand(found: Outcome, method: Method, features: torch.Tensor) -> torch.Tensor:
    """Logits of a learner fitted on all labelled rows, for the test rows."""
    mine = found.target
    state, parameters = fit_head(method, features, mine.support, mine.labels[mine.support], WAYS, None)
    return method.head.score(state, features[torch.from_numpy(mine.test)][None], parameters)[0].double()  # type: ignore[no-any-return]


def finetuned_features(found: Outcome) -> torch.Tensor:
    """Of all rows, by a backbone that was finetuned on all labelled ones."""
    space = RowSpace([found.target.examples])
    made = OwnTuner(found.target, space, BACKBONE, own_method(RECIPE)).made(found.target.support)
    assert made.moved is not None
    backbone = made.moved.onto(BACKBONE)
    return backbone.embed(backbone.start(), space, np.arange(len(space)))


def answers(found: Outcome) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The saved model's probabilities for the test rows."""
    rows = found.target.examples.take(found.target.test)
    names = found.class_names
    return np.array([[p.scores[n] for n in names] for p in Adapted(found).predict(rows)])


def test_a_side_that_is_kept_is_made_from_all_labels(own: Outcome) -> None:
    compared = own.finetuning.compared
    assert compared is not None and own.finetuned and isinstance(own.bundle.moved, Moved)
    assert own.choice.method == METHODS["ridge"] and own.choice.name == OWN
    assert own.bundle.temperature == own.choice.temperature == compared.held[OWN].temperature
    logits = by_hand(own, own.choice.method, finetuned_features(own))
    np.testing.assert_allclose(answers(own), torch.softmax(logits / own.bundle.temperature, -1), atol=1e-4)
    assert text(own.choice.method) == own.bundle.method


def test_an_ensemble_that_is_kept_is_the_mean_of_its_parts(ensemble: Outcome) -> None:
    compared = ensemble.finetuning.compared
    assert compared is not None and isinstance(ensemble.bundle.moved, Members)
    assert [part is None for part in ensemble.bundle.moved.parts] == [True, False]
    head = read_method(ensemble.bundle.method).learner
    assert isinstance(head, Ensemble)
    # a chosen learner's answers are divided by its own temperature, in the folds too, and then by that of all held-out answers
    expected = (ensemble.frozen.temperature * compared.held["frozen"].temperature, compared.held[OWN].temperature)
    assert compared.held["frozen"].temperature != pytest.approx(1, abs=0.02)
    assert head.temperatures == pytest.approx(expected, rel=1e-3)
    parts = (ensemble.target.features, finetuned_features(ensemble))
    methods = (ensemble.frozen.method, METHODS["ridge"])
    logits = [by_hand(ensemble, m, f) / t for m, f, t in zip(methods, parts, expected, strict=True)]
    mean = sum(torch.log_softmax(z, -1) for z in logits) / 2
    np.testing.assert_allclose(answers(ensemble), torch.softmax(mean / ensemble.bundle.temperature, -1), atol=1e-3)
    assert ensemble.bundle.temperature == compared.rivals[BOTH].temperature


def test_all_sides_stand_side_by_side(every: Outcome) -> None:
    assert isinstance(every.bundle.moved, Members) and [p is None for p in every.bundle.moved.parts] == [True, False, False]
    head = read_method(every.bundle.method).learner
    assert isinstance(head, Ensemble) and len(head.heads) == 3
    assert every.features.shape[1] == every.backbone.width == 3 * BACKBONE.width


def test_a_greedy_mean_weighs_its_parts(greedy: Outcome) -> None:
    compared = greedy.finetuning.compared
    assert compared is not None and compared.members[GREEDY] == ("frozen", OWN)
    weights = compared.weights(GREEDY)
    assert weights == (0.3, 0.7)
    parts = (greedy.target.features, finetuned_features(greedy))
    temperatures = (greedy.frozen.temperature * compared.held["frozen"].temperature, compared.held[OWN].temperature)
    methods = (greedy.frozen.method, METHODS["ridge"])
    logits = [by_hand(greedy, m, f) / t for m, f, t in zip(methods, parts, temperatures, strict=True)]
    mean = sum(w * torch.log_softmax(z, -1) for w, z in zip(weights, logits, strict=True))
    assert isinstance(mean, torch.Tensor)
    np.testing.assert_allclose(answers(greedy), torch.softmax(mean / greedy.bundle.temperature, -1), atol=1e-3)
    assert greedy.bundle.temperature == compared.rivals[GREEDY].temperature
    assert "the mean of the frozen model (30%) and the one finetuned on your own labels (70%) has " in greedy.details[0]


def test_the_features_of_both_are_read_by_ridge(beside: Outcome) -> None:
    compared = beside.finetuning.compared
    assert compared is not None and isinstance(beside.bundle.moved, Members)
    assert [part is None for part in beside.bundle.moved.parts] == [True, False]
    both = torch.cat([beside.target.features, finetuned_features(beside)], 1)
    logits = by_hand(beside, read_method("ridge"), both)
    np.testing.assert_allclose(answers(beside), torch.softmax(logits / beside.bundle.temperature, -1), atol=1e-4)
    assert beside.bundle.temperature == compared.held[BESIDE].temperature and beside.bundle.method == text(read_method("ridge"))
    assert "the model that has the features of the frozen model and of the one finetuned on your own labels has " in beside.details[0]


def test_the_features_of_both_answer_what_neither_saw(beside: Outcome) -> None:
    """Fold by fold, by models that are made here."""
    compared, splits, mine = beside.finetuning.compared, beside.finetuning.splits, beside.target
    assert compared is not None and splits is not None and splits.episodes is not None
    tuner = OwnTuner(mine, RowSpace([mine.examples]), BACKBONE, own_method(RECIPE))
    ridge, episode = read_method("ridge"), splits.episodes[:1]
    train, held = (t[0][t[0] >= 0].numpy() for t in (episode.support, episode.query))
    both = torch.cat([mine.features, tuner.made(train).side.features], 1)
    state, parameters = fit_head(ridge, both, train, mine.labels[train], WAYS, None)
    expected = ridge.head.score(state, both[torch.from_numpy(held)][None], parameters)[0]
    places = [mine.support.tolist().index(row) for row in held.tolist()]
    np.testing.assert_allclose(compared.held[BESIDE].logits[0, places], expected, atol=1e-4)


def test_what_the_features_of_both_are_built_on_is_finetuned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    keeping(monkeypatch, BESIDE)
    runs, made = [], OwnTuner.made

    def counted(self: OwnTuner, rows: Any, start: Any = None) -> Made:
        runs.append(len(rows))
        return made(self, rows, start)

    monkeypatch.setattr(OwnTuner, "made", counted)
    adapted(tmp_path, finetune="all")
    assert sorted(runs) == [28, 28, 32, 32, 40]


@pytest.mark.parametrize("kept", ["own", "ensemble", "every", "greedy", "beside"])
def test_it_is_saved_loaded_and_measured(kept: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found: Outcome = request.getfixturevalue(kept)
    remember(BACKBONE.digest(), BACKBONE.place)
    Adapted(found).save(tmp_path / "run")
    loaded = fewtune.load(tmp_path / "run", machine=Machine(device="cpu"))
    rows = found.target.examples.take(found.target.test)
    again = loaded.predict(rows)
    assert [p.label for p in again] == [p.label for p in Adapted(found).predict(rows)]
    found_again = np.array([[p.scores[n] for n in found.class_names] for p in again])
    np.testing.assert_allclose(found_again, answers(found), atol=1e-6)
    measured = loaded.evaluate(rows).accuracy
    assert found.measured is not None and (measured.mean, measured.n) == (found.measured.mean, len(found.target.test))
    right = [
        max(p.scores, key=p.scores.__getitem__) == rows.class_names[k] for p, k in zip(again, rows.labels, strict=True)
    ]  # some have no label
    assert measured.mean == pytest.approx(np.mean(right))
    larger = loaded.add_class("new", new_rows())
    assert larger.class_names[-1] == "new" and larger.predict(new_rows())[0].scores.keys() == {*found.class_names, "new"}


def new_rows() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(3).normal(size=(3, 12)).astype(np.float32) + 9


@pytest.mark.parametrize("kept", ["own", "ensemble"])
def test_what_is_said_of_it_comes_from_the_held_out_answers(kept: str, request: pytest.FixtureRequest) -> None:
    found: Outcome = request.getfixturevalue(kept)
    compared = found.finetuning.compared
    assert compared is not None
    name = {"own": OWN, "ensemble": BOTH}[kept]
    held, labels = compared.rivals[name], found.target.labels[found.target.support]
    said = held.logits[0].argmax(1)
    np.testing.assert_array_equal(found.choice.recall, [np.mean(said[labels == k] == k) for k in range(WAYS)])
    counts = np.zeros((WAYS, WAYS))
    np.add.at(counts, (labels, said), 1)
    np.testing.assert_array_equal(found.choice.confusion, counts)
    every = np.stack([compared.held["frozen"].correct, *(rival.correct for rival in compared.rivals.values())])
    flattered = every.mean(1).max() - best_of_candidates(every, labels=labels).mean
    assert flattered > 0
    share = share_learned(found.choice.splits)
    assert 0.7 < share < 0.8  # three rows of four
    carried = expected_accuracy(held.correct, share, 1 / WAYS, found.frozen.slope, repeats=1, excess=flattered, runs=4)
    assert found.choice.expected == carried != found.frozen.expected
    assert found.choice.answers is not None and found.choice.answers.logits.shape == (40, WAYS)
    rows = {c.name: c for c in found.choice.candidates}
    assert list(rows) == ["frozen", OWN, BOTH]
    for other, row in rows.items():
        correct = (compared.held | compared.rivals)[other].correct
        assert row.accuracy == pytest.approx(np.mean(correct))
        assert (row.difference is None) == (other == name)
        if row.difference is not None:
            assert row.difference.mean == pytest.approx(np.mean(held.correct - correct))
    assert rows["frozen"].p == compared.gain_of(name).p
    findings = findings_of(found)
    assert findings.kept == "finetuned" and findings.guard is not None and findings.maps is not None
    more = round(100 * (findings.guard.finetuned - findings.guard.frozen))
    words = "helped: about" if compared.shown else "probably helped: about" if more > 0 else "may have helped: "
    assert findings.verdict.finetuning.startswith(f"Finetuning {words}")
    assert findings.maps.after is not None
    assert set(METHODS) <= {row.name for row in findings.methods}


def test_the_forecast_is_not_made_on_features_that_saw_the_labels(own: Outcome, tmp_path: Path) -> None:
    """Every learner looks perfect on them: the curve is that of the frozen side, and says so; where that is kept, nothing need be said."""
    assert own.forecast is not None and "This is the curve of the frozen model" in own.forecast.sentence
    frozen = adapted(tmp_path, finetune="never").forecast
    assert frozen is not None and "frozen" not in frozen.sentence
    assert own.forecast.accuracy.max() <= max(c.accuracy for c in own.frozen.candidates) + 0.05
