"""Finetuning of every kind: on the target's own labels, on other data, on both; judged together on examples that none of them saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np

from fewtune.adaptation.settings import AdaptSettings
from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.learners.choice import Choice
from fewtune.learners.folds import Splits
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learners.usual import prior_of
from fewtune.learning.method import Method
from fewtune.sides.clock import budget_asked
from fewtune.sides.compared import Compared
from fewtune.sides.guard import FOLDS, Guard, own_splits_allow
from fewtune.sides.held_out import HeldOut, held_out, outer_splits
from fewtune.sides.job import Job
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.planning import planned
from fewtune.sides.progress import NOTHING
from fewtune.sides.route import FROZEN, Made, OutOfTimeError, Route
from fewtune.sources.outcome import SourceOutcome
from fewtune.sources.stages import REMEMBERED, SOURCES, use_sources
from fewtune.spec import text
from fewtune.statistics import Evidence, evidence_of_classes
from fewtune.stopping import Stopped
from fewtune.words import counted

OWN_SHARE = 0.4  # of the time that is left, for own labels where there are sources too
OWN = "finetuned on your labels"
BOTH = "finetuned on other data, then on your labels"


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """What came of finetuning. `frozen`: the side as it came. `compared`: all sides on the target's held-out examples, None where none
    could be judged so. `routes`: by side. `sources`: what came of other data. `notes`: what was not tried and why, a sentence each.
    """

    frozen: Side
    compared: Compared | None
    routes: Mapping[str, Route]
    sources: SourceOutcome | None
    notes: tuple[str, ...]
    splits: Splits | None
    stopped: bool = False

    @property
    def guard(self) -> Guard | None:
        """The comparison that decided: of the side that is kept, else of the one that came nearest to it."""
        if self.compared is not None:
            return self.compared.guard(self.compared.gain.side if self.compared.kept == FROZEN else self.compared.kept)
        return None if self.sources is None else self.sources.guard

    @property
    def why(self) -> str:
        """What was decided, in a sentence; empty where nothing was tried."""
        if self.compared is not None:
            return said_of(self.compared, self.routes)
        if self.sources is not None and self.sources.why:
            return self.sources.why
        return self.notes[0] if self.notes else ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The decision first, then what was not tried or left out."""
        if not self.why:
            return ()
        more = [note for note in self.notes if note != self.why]
        used = self.sources
        if used is not None:
            more += [used.why] if used.why not in ("", self.why) else []
            more += used.notes
        return (self.why, *more)

    def facts(self) -> dict[str, Any]:
        """What the bundle's record says of every side."""
        compared = self.compared
        assert compared is not None
        said = {FROZEN: {"accuracy": float(np.nanmean(compared.held[FROZEN].correct))}}
        for name in compared.rivals:
            guard = compared.guard(name)
            said[name] = {"accuracy": guard.finetuned, "gain": guard.gain.mean, "gain_above": guard.gain.low}
        return {"kept": compared.kept, "shown": compared.shown, "sides": said, "rows": compared.gain.rows, "p": compared.gain.p}


@final
@dataclass(eq=False)
class Finetuning:
    """The work: `frozen` is the side as it came, `choice` the learner on it. `notes`, `routes` and `held` grow."""

    target: Target
    frozen: Side
    choice: Choice
    methods: Mapping[str, Method]
    how: AdaptSettings
    job: Job
    say: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    held: dict[str, HeldOut] = field(default_factory=dict)
    sources: SourceOutcome | None = None
    repeats: int = 1
    stopped: bool = False

    def run(self, sources: Sequence[Examples]) -> Finetuned:
        """Every side that was asked for and that the budget allows. When stopped by the user, what was judged by then counts."""
        wanted = self.how.finetune
        if sources and wanted in ("never", "own"):
            self.notes.append(f"The other data was not used, because finetune is {wanted!r}.")
        own = wanted in ("auto", "own", "all") and self.can_own
        try:
            if own:
                self.own_sides(OWN_SHARE if sources and wanted != "own" else 1.0)
            if sources and wanted in ("auto", "sources", "all"):
                self.source_side(sources)
                if own and SOURCES in self.held:
                    self.both()
        except Stopped:
            self.stopped = True
            self.notes.append(
                "You stopped the work: only what was finished by then is compared. The same command with --resume (and --overwrite) "
                "goes on from there."
            )
        compared = Compared({FROZEN: self.frozen_answers, **self.held}, self.related, self.how.keep) if self.held else None
        return Finetuned(
            self.frozen, compared, self.routes, self.sources, tuple(self.notes), self.splits if self.held else None, self.stopped
        )

    @property
    def related(self) -> Evidence | None:
        """What classes of the sources say of the side that was finetuned on them."""
        judged = None if self.sources is None else self.sources.related
        if judged is None or SOURCES not in self.held or judged.too_few:
            return None
        return evidence_of_classes({SOURCES: judged.differences}, len(self.target.class_names))

    @cached_property
    def can_own(self) -> bool:
        """Whether own labels can be finetuned on and judged by; says why not where it was asked for."""
        labels, ways = self.target.labels[self.target.support], len(self.target.class_names)
        if self.frozen.backbone.groups and self.recipes and own_splits_allow(labels, ways):
            return True
        if self.how.finetune == "own":
            if not self.frozen.backbone.groups:
                raise InputError(f"{self.frozen.backbone.name} has no weights to finetune: give a backbone, or leave finetune out.")
            self.notes.append(
                "Finetuning on your own labels was not tried: it is judged on held-out examples of yours, and takes 30 of them in classes "
                "of 4 or more."
            )
        return False

    @cached_property
    def recipes(self) -> tuple[str, ...]:
        """The methods to try on own labels."""
        return self.how.own.chosen(self.frozen.backbone.preparation.modality, self.how.finetune)

    @cached_property
    def space(self) -> RowSpace:
        return RowSpace([self.target.examples], remember=REMEMBERED)

    @cached_property
    def splits(self) -> Splits:
        """The folds that all sides answer."""
        return outer_splits(self.target, self.job.seed, FOLDS, self.repeats)

    @cached_property
    def frozen_answers(self) -> HeldOut:
        route = Route(FROZEN, "as it came", lambda _: Made(self.frozen, None))
        self.routes[FROZEN] = route
        return held_out(route, self.target, self.methods, self.splits, self.job.seed)

    def own_sides(self, share: float) -> None:
        """Finetuning on own labels, by each method in turn while there is time."""
        clock = self.job.clock
        for number, recipe in enumerate(self.recipes):
            tuner = OwnTuner(self.target, self.space, self.frozen.backbone, own_method(recipe), self.job.seed)
            try:
                with clock.stage("measuring the speed of finetuning"):
                    plan = planned(tuner, share * clock.left, self.how.own.repeats)
            except Diverged as problem:
                self.notes.append(f"Finetuning by {recipe} failed: {str(problem).rstrip('.')}.")
                continue
            if plan.repeats < (self.repeats if self.held else 1):  # all sides answer the same folds
                minutes = math.ceil(clock.spent / 60 + plan.minutes / share)
                self.notes.append(
                    f"Too little time to tell whether finetuning on your own labels by {recipe} would help: it takes about {minutes} "
                    f"minutes on this machine: {budget_asked(minutes)}."
                )
                continue
            if not self.held:
                self.repeats = plan.repeats
            runs = FOLDS * self.repeats + 1
            self.say(
                f"Finetuning on your {counted(len(self.target.support), 'labelled example')}: {counted(runs, 'run')} of "
                f"{counted(tuner.steps, 'step')}, about {runs * plan.seconds:.0f} s."
            )
            name = OWN if not number else f"{OWN} by {recipe.split('(')[0]}"
            self.judge(Route(name, "finetuned on your own labels", tuner.made, self.fixed, self.key(tuner)))

    def judge(self, route: Route) -> None:
        """The held-out answers of a route, unless it fails or the time ends."""
        with self.job.clock.stage(f"judging: {route.name}"):
            try:
                self.held[route.name] = held_out(
                    self.in_time(route), self.target, self.methods, self.splits, self.job.seed, self.job.finished if route.key else NOTHING
                )
                self.routes[route.name] = route
            except Diverged as problem:
                self.notes.append(f"Finetuning failed ({route.name}): {str(problem).rstrip('.')}.")
            except OutOfTimeError:
                self.notes.append(
                    f"Too little time to tell whether the side {route.name!r} would help: the budget ended while it was judged."
                )

    def in_time(self, route: Route) -> Route:
        """The same route, which is not taken once the budget is spent."""

        def make(rows: Integers) -> Made:
            if self.job.clock.left == 0:
                raise OutOfTimeError
            return route.make(rows)

        return replace(route, make=make)

    @property
    def fixed(self) -> Method:
        """What answers on features that were finetuned on the labels: the usual learner, else the one chosen on frozen features."""
        usual = prior_of(self.methods)
        return self.methods[usual] if usual is not None else self.choice.method

    def source_side(self, sources: Sequence[Examples]) -> None:
        used = use_sources(self.target, self.frozen, self.methods, sources, self.how.sources, self.job)
        self.sources = used
        if used.route is not None:
            self.judge(used.route)

    def both(self) -> None:
        """Own labels from where the sources ended, by the first method."""
        first = self.routes.get(OWN)
        if first is None:
            return
        tuner = OwnTuner(self.target, self.space, self.frozen.backbone, own_method(self.recipes[0]), self.job.seed)
        before = self.routes[SOURCES]

        def make(rows: Integers) -> Made:
            return tuner.made(rows, before.make(rows).side.backbone)

        key = f"{self.key(tuner)} after {before.key}" if before.key else ""
        self.judge(Route(BOTH, "finetuned on other data, then on your own labels", make, self.fixed, key))

    def key(self, tuner: OwnTuner) -> str:
        """All that a run on own labels depends on beside the rows."""
        return f"{text(tuner.method)} {text(self.fixed)} {self.frozen.backbone.digest()}"


def said_of(compared: Compared, routes: Mapping[str, Route]) -> str:
    """What the comparison found, in a sentence."""
    kept = compared.kept != FROZEN
    name = compared.kept if kept else compared.gain.side
    guard, members = compared.guard(name), compared.members[name]
    tuned = [routes[one].said for one in members if one != FROZEN]
    what = f"the model {tuned[0]}" if len(members) == 1 else f"the mean of the frozen model and the one {' and the one '.join(tuned)}"
    numbers = (
        f"{what} has {100 * guard.finetuned:.1f}% right against {100 * guard.frozen:.1f}% of the best frozen learner on your labelled "
        f"examples (each answered by models that never saw it)"
    )
    saved = "that one" if len(members) == 1 else "that mean, which takes as long as its parts to answer"
    if kept and compared.shown:
        return f"Finetuning helped: {numbers}: with 95% confidence it is better. The saved model is {saved}."
    if kept:
        return f"Finetuning probably helps: {numbers}. That may be chance, but it is the better bet. The saved model is {saved}."
    ways = "" if len(compared.rivals) == 1 else f"of {len(compared.rivals)} ways to use it, the most certain, "
    return f"Finetuning was not shown to help: {ways}{numbers}, which may be chance. The saved model is the frozen one."
