"""A job with other data and a budget of minutes, stopped anywhere, goes on to what it would have come to; nothing is run twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.learning.loop import Loop
from fewtune.sides import held_out, planning
from fewtune.sides.guard import FOLDS
from fewtune.sides.job import Workplace
from fewtune.sides.progress import Finished
from fewtune.sides.settings import OwnSettings
from fewtune.sources import stages
from fewtune.sources.settings import SourceSettings
from fewtune.sources.stages import SOURCES
from fewtune.stopping import ask_to_stop
from tests.unit.adaptation.small_job import BACKBONE, METHODS, RECIPE, others, target

pytestmark = pytest.mark.slow  # each job is finetuned on other data in six runs


@dataclass
class Machine:
    """A machine of a known speed. `stops`: the step of training on other data after which the user stops the job. It counts `steps` of
    training on other data, and `answered` folds."""

    patch: pytest.MonkeyPatch
    visits: int = 2400
    seconds_a_run: float = 0.5
    rows: int = 8
    stops: int = 0
    steps: int = 0
    answered: list[str] = field(default_factory=list)

    def adapt(self, folder: Path) -> Outcome:
        settings = AdaptSettings(
            own=OwnSettings(recipes=(RECIPE,)), sources=SourceSettings(recipe="multitask(ways=4, shots=5, queries=5)", candidates=6)
        )
        step, answer = Loop._step, held_out._answer

        def stepped(loop: Any, *rest: Any) -> None:
            step(loop, *rest)
            self.steps += 1
            if self.steps == self.stops:
                ask_to_stop()

        def answered(route: Any, *rest: Any) -> Any:
            found = answer(route, *rest)
            self.answered.append(route.name)
            return found

        at = Workplace(cache=folder / "cache", quiet=True, finished=Finished(folder / "run.unfinished"))
        with self.patch.context() as now:
            now.setattr(Loop, "_step", stepped)
            now.setattr(held_out, "_answer", answered)
            now.setattr(planning, "MOST_REPEATS", 1)
            now.setattr(planning, "seconds_a_run", lambda _: self.seconds_a_run)
            now.setattr(stages._Stages, "affordable", lambda *_: self.visits)
            now.setattr(stages, "affordable_rows", lambda *_: self.rows)
            return adapt_examples(target(), BACKBONE, sources=[others()], settings=settings, methods=METHODS, at=at)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Machine]:
    """The job without a stop."""
    machine = Machine(pytest.MonkeyPatch())
    return machine.adapt(tmp_path_factory.mktemp("whole")), machine


def said(outcome: Outcome) -> tuple[str, ...]:
    return (*outcome.verdict.sentences, *outcome.details)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.9], ids=["while a rate is tried", "in the first run", "while a fold is judged"])
def test_a_stopped_job_goes_on_to_the_same_end(
    share: float, whole: tuple[Outcome, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the machine has become slower: what the clock decided the first time stands."""
    expected, once = whole
    first = Machine(monkeypatch, stops=int(share * once.steps))
    stopped = first.adapt(tmp_path)
    assert stopped.stopped and any("--resume" in sentence for sentence in said(stopped)) and first.steps == first.stops
    assert stopped.verdict.sentences and stopped.bundle.state  # a model all the same, and what is known of it
    again = Machine(monkeypatch, visits=2100, seconds_a_run=40.0, rows=6)
    found = again.adapt(tmp_path)
    assert not found.stopped and first.steps + again.steps == once.steps
    judged = [name for name in (*first.answered, *again.answered) if name != "frozen"]
    assert sorted(judged) == sorted(name for name in once.answered if name != "frozen")
    assert said(found) == said(expected) and found.choice.name == expected.choice.name
    assert found.bundle.temperature == expected.bundle.temperature
    assert all(torch.equal(found.bundle.state[name], value) for name, value in expected.bundle.state.items())
    assert found.sources is not None and expected.sources is not None and found.sources.spent == expected.sources.spent


def test_the_job_finetunes_on_other_data_in_several_runs(whole: tuple[Outcome, Machine]) -> None:
    """Else the tests here would say little."""
    outcome, machine = whole
    assert outcome.finetuning.compared is not None and SOURCES in outcome.finetuning.compared.held
    assert machine.answered.count(SOURCES) == FOLDS and machine.steps > 100
