"""Finetuning of every kind: on the target's own labels, on other data, on both; judged together on examples that none of them saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import final

from fewtune.adaptation.chosen_settings import ChosenSettings
from fewtune.adaptation.finetuned import Finetuned
from fewtune.adaptation.frozen import FrozenModel
from fewtune.adaptation.judging import Judging
from fewtune.adaptation.own_labels import OWN, OwnLabels
from fewtune.adaptation.settings import AdaptSettings
from fewtune.data.examples import Examples
from fewtune.errors import Diverged, InputError
from fewtune.sides.beside import beside_frozen
from fewtune.sides.clock import AT_ONCE, Turn
from fewtune.sides.guard import FOLDS, LEAST_ITEMS, LEAST_SHOTS
from fewtune.sides.job import Job
from fewtune.sides.own import OwnTuner
from fewtune.sides.planning import Plan, planned
from fewtune.sources.outcome import SourceOutcome
from fewtune.sources.stages import SOURCES, use_sources
from fewtune.statistics import Evidence, evidence_of_classes
from fewtune.stopping import Stopped
from fewtune.words import counted

OWN_SHARE = 0.4  # of the time that is left, for own labels where there are sources too

TOO_FEW = (
    f"Finetuning on your own labels was not tried: it is judged on held-out examples of yours, and takes {LEAST_ITEMS} of them in classes "
    f"of {LEAST_SHOTS} or more."
)


@final
@dataclass(eq=False)
class Finetuning:
    """The work: from the `frozen` model, as `how` asks. What is found out grows: `sources`, what came of other data; `notes` and `remarks`;
    and what the sides answered, in `judging`.
    """

    frozen: FrozenModel
    how: AdaptSettings
    job: Job
    sources: SourceOutcome | None = None
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of one run of the first method on own labels

    @cached_property
    def judging(self) -> Judging:
        return Judging(self.frozen, self.job, notes=self.notes)

    @cached_property
    def own(self) -> OwnLabels:
        return OwnLabels(self.frozen, self.how)

    def run(self, sources: Sequence[Examples]) -> Finetuned:
        """Every side that was asked for and that the budget allows. When stopped by the user, what was judged by then counts."""
        try:
            self._sides(sources)
        except Stopped:
            return self._found().stop("only what was finished by then is compared")
        return self._found()

    def _found(self) -> Finetuned:
        """All sides that were judged; where the user stops the frozen side's answers to the same folds, none."""
        judging = self.judging
        found = Finetuned(self.frozen, None, judging.routes, self.sources, tuple(self.notes), None, remarks=tuple(self.remarks))
        try:
            compared = judging.compared(self._related, self.how.keep, greedy=self.how.finetune == "all")
        except Stopped:
            return found.stop("nothing could be compared, and the saved model is the frozen one")
        return found if compared is None else replace(found, compared=compared, splits=judging.splits)

    def _sides(self, sources: Sequence[Examples]) -> None:
        wanted = self.how.finetune
        if sources and wanted in ("never", "own"):
            self.notes.append(f"The other data was not used, because finetune is {wanted!r}.")
        own = wanted in ("auto", "own", "all") and self.own.possible
        turn = Turn(OWN_SHARE, self.job.clock.spent) if own else AT_ONCE
        if own:
            self._own_sides(OWN_SHARE if sources and wanted != "own" else 1.0)
        elif wanted == "own":
            self.notes.append(TOO_FEW)
        elif wanted in ("auto", "all") and self.own.too_few:
            self.remarks.append(TOO_FEW)
        if sources and wanted in ("auto", "sources", "all"):
            self._source_side(sources, turn)
            if OWN in self.judging.held and SOURCES in self.judging.held:
                self.judging.judge(self.own.route_after(self.judging.routes[SOURCES]))
        if OWN in self.judging.held and len(self.own.settings) > 1:
            ChosenSettings(self.own, self.judging, self.job, self.seconds, self.sources).judge()

    @property
    def _related(self) -> Evidence | None:
        """What classes of the sources say of the side that was finetuned on them."""
        judged = None if self.sources is None else self.sources.related
        if judged is None or SOURCES not in self.judging.held or judged.too_few:
            return None
        return evidence_of_classes({SOURCES: judged.differences}, len(self.frozen.target.class_names))

    def _own_sides(self, share: float) -> None:
        """Finetuning on own labels, by each method in turn while there is time."""
        clock, judging = self.job.clock, self.judging
        for number, recipe in enumerate(self.own.recipes):
            tuner = self.own.tuner(recipe)
            try:
                with clock.stage("measuring the speed of finetuning"):
                    plan = self._planned(tuner, share, len(self.own.recipes) - number - 1)
            except Diverged as problem:
                self.notes.append(f"Finetuning by {recipe} failed: {str(problem).rstrip('.')}.")
                continue
            except InputError as problem:  # a method that nobody asked for by name, and that does not fit the backbone
                if self.how.own.recipes:
                    raise
                self.notes.append(f"Finetuning by {recipe} was not tried: {problem}")
                continue
            if plan.repeats < (judging.repeats if judging.held else 1):  # all sides answer the same folds
                minutes = math.ceil(clock.spent / 60 + plan.minutes / share)
                self.notes.append(
                    f"Too little time to tell whether finetuning on your own labels by {recipe} would help: it takes about {minutes} "
                    f"minutes on this machine: {clock.ask(minutes)}."
                )
                continue
            if not judging.held:
                judging.repeats = plan.repeats
            self.seconds = self.seconds or plan.seconds
            runs, by = FOLDS * judging.repeats + 1, f" by {self.own.short(number)}" if number else ""
            self.job.at.say(
                f"Finetuning on your {counted(len(self.frozen.target.support), 'labelled example')}{by}: {counted(runs, 'run')} of "
                f"{counted(tuner.steps, 'step')}, about {runs * plan.seconds:.0f} s."
            )
            judging.judge(self.own.route(tuner, number))
        if self.how.finetune == "all" and OWN in judging.held:
            judging.judge(beside_frozen(self.frozen.side, judging.routes[OWN]))

    def _planned(self, tuner: OwnTuner, share: float, others: int) -> Plan:
        """What a `share` of the time that is left allows; what a stopped run planned, so that what it finished fits."""
        how, clock = self.how, self.job.clock
        repeats, seconds = self.job.at.finished.once(
            f"plan {how} {share} {others} {self.frozen.target.digest} {tuner.key(self.own.learner)}",
            lambda: astuple(planned(tuner, share * clock.left, how.own.repeats, others)),
        )
        return Plan(int(repeats), seconds)

    def _source_side(self, sources: Sequence[Examples], turn: Turn) -> None:
        frozen = self.frozen
        self.sources = use_sources(frozen.target, frozen.side, frozen.methods, sources, self.how.sources, self.job, turn=turn)
        if self.sources.route is not None:
            self.judging.judge(self.sources.route)
