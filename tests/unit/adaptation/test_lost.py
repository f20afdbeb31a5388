"""The last run of a side, on all labelled examples, fails or is stopped: the next best side is saved, and the verdict says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fewtune.adaptation import adapt, judging
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.own_labels import OWN
from fewtune.api.adapted import Adapted
from fewtune.data.examples import Integers
from fewtune.errors import Diverged, InputError
from fewtune.sides.compared import Compared
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.route import FROZEN
from fewtune.sources.stages import SOURCES
from fewtune.stopping import Stopped
from tests.unit.adaptation.small_job import LORA, RECIPE, adapted, one_pass
from tests.unit.adaptation.test_finetuning import BY_LORA, raising

ALL_LABELS = 40


def preferring(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These rivals are the ones to keep, the first of them that can be; whatever the answers say."""
    one_pass(monkeypatch)
    monkeypatch.setattr(Compared, "likely", property(lambda self: tuple(self.members)))
    monkeypatch.setattr(Compared, "_most", lambda _, known: next((name for name in names if name in known), None))


def failing(monkeypatch: pytest.MonkeyPatch, problem: BaseException) -> list[int]:
    """A run on all labels by the first method fails; returns the labels of each that did."""
    whole, failed = OwnTuner.made, list[int]()

    def made(self: OwnTuner, rows: Integers, *rest: Any) -> Any:
        if len(rows) == ALL_LABELS and self.method == own_method(RECIPE):
            failed.append(len(rows))
            raise problem
        return whole(self, rows, *rest)

    monkeypatch.setattr(OwnTuner, "made", made)
    return failed


def is_frozen(found: Outcome) -> bool:
    return found.bundle.moved is None and not found.finetuned and found.choice is found.frozen


@pytest.mark.parametrize("problem", [Diverged("training diverged at step 9."), InputError("training diverged at step 9.")])
def test_the_next_best_side_is_saved(problem: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, OWN, BY_LORA)
    failed = failing(monkeypatch, problem)
    found = adapted(tmp_path, recipes=(RECIPE, LORA), finetune="all")
    assert failed == [ALL_LABELS] and found.choice.name == BY_LORA and found.finetuned and not found.stopped
    assert found.details[0].endswith(
        " The saved model is that one, because the model finetuned on your own labels could not be made from all your labelled examples "
        "(training diverged at step 9)."
    )
    assert sum("diverged" in sentence for sentence in found.details) == 1
    assert (
        "This is the next best model, because the last run of the best one failed (training diverged at step 9)."
        in found.verdict.finetuning
    )
    assert found.bundle.facts["finetuning"]["kept"] == BY_LORA


def test_without_another_the_frozen_model_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, OWN, f"{FROZEN} + {OWN}")
    failed = failing(monkeypatch, Diverged("training diverged."))
    found = adapted(tmp_path)
    assert failed == [ALL_LABELS] and is_frozen(found)
    assert found.details[0].startswith("Finetuning probably helps: the model finetuned on your own labels has ")
    assert found.details[0].endswith(
        " The saved model is the frozen one, because it could not be made from all your labelled examples (training diverged)."
    )
    assert found.bundle.facts["finetuning"]["kept"] == FROZEN
    assert found.verdict.finetuning.endswith(" failed (training diverged), so the backbone is used as it came.")
    Adapted(found).save(tmp_path / "run")


def test_when_the_last_run_is_stopped_a_side_that_is_made_already_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, OWN, SOURCES)
    failing(monkeypatch, Stopped())
    found = adapted(tmp_path, sources=True)
    assert found.choice.name == SOURCES and found.finetuned and found.stopped
    assert "could not be made from all your labelled examples (you stopped the work)" in found.details[0]
    assert any(s.startswith("You stopped the work: the saved model is the best of those that were made by then. ") for s in found.details)


def test_when_the_last_run_is_stopped_the_frozen_model_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, OWN, f"{FROZEN} + {OWN}", BY_LORA)
    failing(monkeypatch, Stopped())
    found = adapted(tmp_path, recipes=(RECIPE, LORA), finetune="all")
    assert is_frozen(found) and found.stopped
    Adapted(found).save(tmp_path / "run")


def test_when_the_frozen_side_s_answers_are_stopped_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass(monkeypatch)
    monkeypatch.setattr(judging, "held_out", raising(Stopped, FROZEN))
    found = adapted(tmp_path)
    assert is_frozen(found) and found.stopped and found.finetuning.compared is None
    assert found.details[0].startswith("You stopped the work: nothing could be compared, and the saved model is the frozen one. ")


def test_when_the_forecast_is_stopped_the_model_is_saved_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preferring(monkeypatch, OWN)

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    monkeypatch.setattr(adapt, "forecast", stop)
    found = adapted(tmp_path)
    assert found.choice.name == OWN and found.finetuned and found.stopped and found.forecast is None
    assert any(s.startswith("You stopped the work: what more labels would bring is not forecast. ") for s in found.details)
    Adapted(found).save(tmp_path / "run")
