"""Which sides are tried, in what time, and what is said of those that were not."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fewtune.adaptation import chosen_settings, finetuning, judging, own_labels
from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.finetuned import said_of
from fewtune.adaptation.own_labels import CHOSEN, OWN
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.finetuned_weights import Moved
from fewtune.parts.heads import Blend
from fewtune.parts.heads.blend import PARTS
from fewtune.recipes import read_method
from fewtune.report.collect import findings_of
from fewtune.sides import settings as settings_of_own
from fewtune.sides.beside import BESIDE
from fewtune.sides.clock import Turn
from fewtune.sides.greedy import GREEDY
from fewtune.sides.held_out import held_out
from fewtune.sides.job import Workplace
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.planning import Plan
from fewtune.sides.route import Made, OutOfTimeError, Route
from fewtune.stopping import Stopped
from tests.unit.adaptation.small_job import BACKBONE, LORA, METHODS, RECIPE, WAYS, adapted, keeping, one_pass, target

BY_LORA = f"{OWN} by lora"


def test_own_labels_are_judged_beside_the_frozen_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    said: list[str] = []
    settings = AdaptSettings(own=finetuning_settings(RECIPE))
    found = adapt_examples(
        target(), BACKBONE, settings=settings, methods=METHODS, at=Workplace(cache=tmp_path, quiet=True, say=said.append)
    )
    compared = found.finetuning.compared
    assert compared is not None and [*compared.held] == ["frozen", OWN]
    assert said == ["Finetuning on your 40 labelled examples: 5 runs of 12 steps, about 0 s."]
    assert found.details[0] == found.finetuning.why == said_of(compared, found.finetuning.routes)
    facts = found.bundle.facts["finetuning"]
    right = {name: float(np.nanmean(one.correct)) for name, one in (compared.held | compared.rivals).items()}
    assert facts["kept"] == compared.kept and facts["rows"] == 40 and facts["p"] == compared.gain.p
    assert {name: side["accuracy"] for name, side in facts["sides"].items()} == pytest.approx(right)
    assert facts["sides"][OWN]["gain_above"] == compared.guard(OWN).gain.low
    assert f"judging: {OWN}" in [s.name for s in found.stages]


def finetuning_settings(*recipes: str) -> Any:
    from fewtune.sides.settings import OwnSettings

    return OwnSettings(recipes=recipes)


@pytest.mark.parametrize("kept", ["frozen", OWN])
def test_the_page_says_which_folds_each_learner_answered(kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    keeping(monkeypatch, kept)
    rows = {(row.name, row.folds) for row in findings_of(adapted(tmp_path)).methods}
    choosing = "5 folds of your labelled examples, drawn 10 times"
    judging = "4 folds of your labelled examples, with all finetuning done anew for each"
    assert rows >= {("centroid", choosing), ("ridge", choosing), ("frozen", judging), (OWN, judging)}
    assert {folds for _, folds in rows} == {choosing, judging}


def test_every_method_that_is_asked_for_is_a_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    found = adapted(tmp_path, recipes=(RECIPE, LORA), finetune="all")
    assert found.finetuning.compared is not None
    compared = found.finetuning.compared
    assert [*compared.held] == ["frozen", OWN, BY_LORA, BESIDE] and compared.greedy
    several = [OWN, BY_LORA, f"frozen + {OWN}", f"frozen + {BY_LORA}", f"frozen + {OWN} + {BY_LORA}", BESIDE]
    assert [name for name in compared.rivals if name != GREEDY] == several


def test_methods_are_told_apart_by_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their views are among these, and where two have one name all of the text."""
    one_pass(monkeypatch)
    said: list[str] = []
    views = RECIPE.removesuffix(")") + ", view=Augment())"
    again = LORA.replace("rank=2", "rank=3")
    made = own_labels.OwnLabels(SimpleNamespace(), AdaptSettings(own=finetuning_settings(RECIPE, views, LORA, again)))  # type: ignore[arg-type]
    monkeypatch.setattr(own_labels.OwnLabels, "recipes", (RECIPE, views, LORA, again))
    assert [made.short(number) for number in range(4)] == ["contrastive", "contrastive with random views", LORA, again]
    monkeypatch.undo()
    one_pass(monkeypatch)
    at = Workplace(cache=tmp_path, quiet=True, say=said.append)
    found = adapt_examples(target(), BACKBONE, settings=AdaptSettings(own=finetuning_settings(RECIPE, LORA)), methods=METHODS, at=at)
    assert [route.said for route in found.finetuning.routes.values()][:2] == [
        "finetuned on your own labels", "finetuned on your own labels by lora"
    ]  # fmt: skip
    assert said[1] == "Finetuning on your 40 labelled examples by lora: 5 runs of 3 steps, about 0 s."


def test_no_spread_of_rows_that_were_trained_on_is_measured() -> None:
    """The usual learner of photos is a blend with a Gaussian, whose covariance is that of the labelled rows."""
    side = SimpleNamespace(backbone=SimpleNamespace(answers_prompts=False))
    frozen = SimpleNamespace(methods={"ridge": read_method("ridge"), "blend": read_method("blend")}, choice=None, side=side)
    learner = own_labels.OwnLabels(frozen, AdaptSettings()).learner  # type: ignore[arg-type]
    assert isinstance(learner.learner, Blend) and learner.learner.heads == PARTS[:2]


@pytest.mark.parametrize(
    ("given", "prompted", "fixed"),
    [
        (("centroid", "ridge", "matching"), False, "ridge"),
        (("matching", "centroid"), False, "matching"),
        (("centroid", "ridge", "zero_shot"), True, "zero_shot"),
        (("matching", "ridge"), True, "matching"),
    ],
)
def test_no_label_chooses_what_answers_on_finetuned_features(given: tuple[str, ...], prompted: bool, fixed: str) -> None:
    """It answers the folds, so what all labels chose on frozen features would have seen them."""
    side = SimpleNamespace(backbone=SimpleNamespace(answers_prompts=prompted))
    frozen = SimpleNamespace(methods={name: read_method(name) for name in given}, choice=None, side=side)
    assert own_labels.OwnLabels(frozen, AdaptSettings()).learner == read_method(fixed)  # type: ignore[arg-type]


def test_nothing_of_it_is_tried_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    compared = adapted(tmp_path).finetuning.compared
    assert compared is not None and [*compared.rivals] == [OWN, f"frozen + {OWN}"] and not compared.greedy


def in_settings(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Settings to choose among, for vectors; no other methods."""
    monkeypatch.setitem(settings_of_own.USUAL, "vector", (RECIPE,))
    monkeypatch.setitem(settings_of_own.SETTINGS, "vector", (RECIPE, *more))
    monkeypatch.setattr(settings_of_own, "MORE", ())


def test_all_chooses_settings_on_inner_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual ones ruin the features, so the others are chosen wherever the side is made; the saved model is in the chosen ones."""
    one_pass(monkeypatch)
    keeping(monkeypatch, CHOSEN)
    wild = RECIPE.replace("lr=0.02", "lr=1.0")
    in_settings(monkeypatch)
    monkeypatch.setitem(settings_of_own.USUAL, "vector", (wild,))
    monkeypatch.setitem(settings_of_own.SETTINGS, "vector", (wild, RECIPE))
    said: list[str] = []
    at = Workplace(cache=tmp_path, quiet=True, say=said.append)
    how = AdaptSettings(finetune="all", minutes=math.inf)
    found = adapt_examples(target(), BACKBONE, settings=how, methods=METHODS, at=at)
    compared = found.finetuning.compared
    assert compared is not None and [*compared.held] == ["frozen", OWN, BESIDE, CHOSEN]
    assert said[-1] == "Choosing among 2 of 2 settings of finetuning on your labels, on inner folds of your examples: 25 runs, about 0 s."
    assert found.finetuning.why.startswith("Finetuning ") and "in settings chosen on inner folds" in found.finetuning.why
    tuner = OwnTuner(found.target, RowSpace([found.target.examples]), BACKBONE, own_method(RECIPE))
    assert isinstance(found.bundle.moved, Moved)
    made = tuner.made(found.target.support).moved
    assert isinstance(made, Moved) and found.bundle.moved.digest == made.digest
    assert f"judging: {CHOSEN}" in [stage.name for stage in found.stages]


def test_other_data_chooses_settings_once_for_all_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    still = RECIPE.replace("lr=0.02", "lr=0.0")
    asked: list[Any] = []

    def best(methods: Any, backbone: Any, classes: Any, sources: Any) -> int:
        asked.append((methods, backbone, classes.ways, sources))
        return 1

    monkeypatch.setattr(chosen_settings, "best_on_classes", best)
    in_settings(monkeypatch, still)
    found = adapted(tmp_path, sources=True, recipes=(), finetune="all")
    assert asked == [([own_method(RECIPE), own_method(still)], BACKBONE, WAYS, ("more",))]
    compared = found.finetuning.compared
    assert compared is not None and CHOSEN in compared.held and found.finetuning.routes[CHOSEN].said.endswith("chosen on other data")
    frozen = held_out(
        Route("", "", lambda _: Made(found.finetuning.frozen.side, None), METHODS["centroid"]),
        found.target, METHODS, found.finetuning.splits, 0,  # type: ignore[arg-type]
    )  # fmt: skip
    assert compared.held[CHOSEN].logits.shape == frozen.logits.shape
    monkeypatch.setattr(chosen_settings, "best_on_classes", lambda *_: 0)
    again = adapted(tmp_path, sources=True, recipes=(), finetune="all")
    assert again.finetuning.compared is not None and CHOSEN not in again.finetuning.compared.held
    assert any(s == "Classes of the other data chose the usual settings of finetuning on your own labels." for s in again.sentences)


def test_a_method_that_does_not_fit_is_left_out_unless_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = "lora(on='support', steps=3, rank=99)"
    in_settings(monkeypatch)
    monkeypatch.setattr(settings_of_own, "MORE", (large,))
    found = adapted(tmp_path, recipes=(), finetune="all", minutes=1e6)
    assert found.finetuning.compared is not None and [*found.finetuning.compared.held] == ["frozen", OWN, BESIDE]
    assert any(s.startswith(f"Finetuning by {large} was not tried: LoRA of rank 99 does not fit") for s in found.finetuning.sentences)
    with pytest.raises(InputError, match="LoRA of rank 99 does not fit"):
        adapted(tmp_path, recipes=(large,))


def test_too_little_time_to_choose_settings_leaves_the_usual_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "planned", lambda *_: Plan(1, 30.0))
    in_settings(monkeypatch, RECIPE.replace("lr=0.02", "lr=0.01"))
    found = adapted(tmp_path, recipes=(), finetune="all", minutes=13.0)
    assert found.finetuning.compared is not None and CHOSEN not in found.finetuning.compared.held
    assert "Too little time to choose the settings of finetuning on your own labels: the usual ones stand." in found.sentences


@pytest.mark.parametrize("finetune", ["never", "auto", "own"])
def test_few_labels_are_not_finetuned_on(finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run. That is said first where it was asked for, else in a remark at the end."""
    monkeypatch.setattr(own_labels, "OwnTuner", lambda *_: pytest.fail("it was"))
    found = adapted(tmp_path, examples=target(shots=10 if finetune == "never" else 7), finetune=finetune)
    assert found.finetuning.compared is None and found.bundle.moved is None and found.finetuning.guard is None
    said = [i for i, s in enumerate(found.details) if "30 of them in classes of 4 or more" in s]
    assert said == {"never": [], "auto": [len(found.details) - 1], "own": [0]}[finetune]
    assert "finetuning" not in found.bundle.facts and sum("inetuning" in s for s in found.details) == len(said)


def test_a_backbone_without_weights_cannot_be_finetuned(tmp_path: Path) -> None:
    plain, at = load_backbone("precomputed", machine=Machine(device="cpu")), Workplace(cache=tmp_path, quiet=True)
    for word in ("auto", "all"):
        how = AdaptSettings(finetune=word, own=finetuning_settings(RECIPE))  # type: ignore[arg-type]
        assert adapt_examples(target(), plain, settings=how, methods=METHODS, at=at).finetuning.compared is None
    with pytest.raises(InputError, match="precomputed has no weights to finetune: give another backbone, or leave --finetune own"):
        adapt_examples(target(), plain, settings=AdaptSettings(finetune="own"), methods=METHODS, at=at)


def test_too_little_time_is_said_with_the_time_that_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "planned", lambda *_: Plan(0, 66.0))
    monkeypatch.setattr(judging, "held_out", lambda *_: pytest.fail("it was run"))
    found = adapted(tmp_path, minutes=2.0)
    assert found.details[0] == (
        f"Too little time to tell whether finetuning on your own labels by {RECIPE} would help: it takes about 7 minutes on this machine: "
        "--budget minutes=7 (in Python AdaptSettings(minutes=7))."
    )
    assert found.clock.wanted == 7 and any("--budget minutes=7" in action for action in found.verdict.actions) == (
        found.verdict.light != "ready"
    )
    assert found.bundle.moved is None and found.choice is found.frozen and found.finetuning.compared is None


@pytest.mark.parametrize(("sources", "finetune", "share"), [(False, "auto", 1.0), (True, "own", 1.0), (True, "auto", 0.4)])
def test_own_labels_leave_time_for_the_sources(
    sources: bool, finetune: Any, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    turns: list[Turn] = []

    def use_sources(*_: object, turn: Turn) -> None:
        turns.append(turn)
        raise Stopped

    def planned(_: object, seconds: float, repeats: int, others: int) -> Plan:
        assert repeats == 0 and others == 0
        given.append(seconds)
        return Plan(0, 1.0)

    monkeypatch.setattr(finetuning, "planned", planned)
    monkeypatch.setattr(finetuning, "use_sources", use_sources)
    found = adapted(tmp_path, sources=sources, finetune=finetune, minutes=100.0)
    assert [turn.before for turn in turns] == ([1 - 0.6] if found.stopped else [])
    assert found.stopped == (sources and finetune == "auto")
    assert given == pytest.approx([share * 6000], rel=0.02)


@pytest.mark.parametrize(("steps", "what"), [(6, "weights"), (1, "features")])
def test_training_that_diverges_is_said_and_the_frozen_model_kept(
    steps: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the weights are numbers, but too large for features."""
    one_pass(monkeypatch)
    found = adapted(tmp_path, recipes=(f"standard(on='support', steps={steps}, lr=1e30)",))
    assert found.details[0].startswith(f"Finetuning failed ({OWN}): ") and found.bundle.moved is None
    assert f"ended with {what} that are no numbers" in found.details[0]
    assert found.finetuning.compared is None


def raising(problem: type[BaseException], name: str) -> Any:
    def judged(route: Route, *rest: Any) -> Any:
        if route.name == name:
            raise problem
        return held_out(route, *rest)

    return judged


def test_a_budget_that_ends_while_a_side_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    monkeypatch.setattr(judging, "held_out", raising(OutOfTimeError, BY_LORA))
    found = adapted(tmp_path, recipes=(RECIPE, LORA))
    assert found.finetuning.compared is not None and [*found.finetuning.compared.held] == ["frozen", OWN]
    assert f"Too little time to tell whether the side {BY_LORA!r} would help: the budget ended while it was judged." in found.details
    assert found.details[0].startswith("Finetuning ")


def test_when_it_is_stopped_what_was_judged_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comparison as if the first side had been the only one."""
    one_pass(monkeypatch)
    alone = adapted(tmp_path)
    monkeypatch.setattr(judging, "held_out", raising(Stopped, BY_LORA))
    found = adapted(tmp_path, recipes=(RECIPE, LORA))
    first, second = alone.finetuning.compared, found.finetuning.compared
    assert first is not None and second is not None and [*second.held] == ["frozen", OWN]
    np.testing.assert_array_equal(second.held[OWN].logits, first.held[OWN].logits)
    assert (second.kept, second.gain) == (first.kept, first.gain)
    assert found.stopped and not alone.stopped
    assert any(s.startswith("You stopped the work: only what was finished by then is compared. ") for s in found.details)
    assert found.details[0] == alone.details[0]


def test_when_it_is_stopped_before_anything_was_judged_the_frozen_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    monkeypatch.setattr(judging, "held_out", raising(Stopped, OWN))
    found = adapted(tmp_path)
    assert found.stopped and found.finetuning.compared is None and found.bundle.moved is None and found.choice is found.frozen
    assert found.details[0].startswith("You stopped the work: ")
