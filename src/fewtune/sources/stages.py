"""The stages of using other labelled data: choose tasks, finetune on them, and let the guard decide whether it helped the target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import numpy as np
import torch

from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learning.method import Method
from fewtune.sides.clock import AT_ONCE, Turn
from fewtune.sides.guard import LEAST_ITEMS, LEAST_SHOTS, Guard, own_splits_allow
from fewtune.sides.job import Job
from fewtune.sides.own import LEAST_STEPS
from fewtune.sides.route import Made, OutOfTimeError, Route, side_of
from fewtune.sources.choosing import Choosing, choosing_for
from fewtune.sources.finetune import Finetuned, Finetuner
from fewtune.sources.guard import guard_on_sources
from fewtune.sources.held_out_classes import EPISODES
from fewtune.sources.outcome import SourceOutcome, said_of
from fewtune.sources.planning import MOST_VISITS, Cost, affordable_rows, cost_of, least_visits
from fewtune.sources.settings import SourceSettings
from fewtune.sources.single import BestLearner, best_learner
from fewtune.sources.source_rows import usable_rows
from fewtune.sources.tuner import finetuner_for
from fewtune.spec import text
from fewtune.tasks.selection import Trace
from fewtune.words import counted, option

SOURCES = "finetuned on other data"
REMEMBERED = 1 << 30  # bytes of the target's prepared images: each finetuned backbone looks at them


def use_sources(
    target: Target,
    frozen: Side,
    methods: Mapping[str, Method],
    sources: Sequence[Examples],
    how: SourceSettings,
    job: Job,
    *,
    judge: bool = True,
    turn: Turn = AT_ONCE,
) -> SourceOutcome:
    """Finetune the frozen side's backbone on what suits the target, and compare. `methods`: the learners that either side may choose from.
    `turn`: what comes before it in a longer budget.

    Without `judge` the guard is not asked, and the frozen model is the outcome (for studies of the choice of tasks). The target's test
    rows are used for nothing but to keep their copies out of the sources, whatever their labels.
    """
    if not frozen.backbone.groups:
        raise InputError(
            f"a backbone is finetuned on sources, but {frozen.backbone.name} has no weights to move: leave the sources out, or give the "
            "data behind the features and a backbone."
        )
    with job.clock.stage("reading the sources"):
        known = np.concatenate([target.support, target.tested])
        what = f"rows of a class {_known(target, frozen, how, job)} {[(source.name, len(source)) for source in sources]}"
        (found,) = job.at.finished.once(what, lambda: (affordable_rows(sources, how.most, job.clock, target, frozen),))
        most = int(found)
        source_rows = usable_rows(sources, target.examples, known, frozen.features, frozen.backbone, job, most=most)
        if most < how.most:
            note = f"The budget allows {most} rows of a class of the sources, not {how.most}."
            source_rows = replace(source_rows, notes=(note, *source_rows.notes))
    choosing = choosing_for(target, frozen, source_rows, how.seeded(job.seed), job.seed)
    return _Stages(choosing, methods, job, RowSpace([target.examples], remember=REMEMBERED), turn).run(judge)


def _known(target: Target, frozen: Side, how: SourceSettings, job: Job) -> str:
    """What the command asks for and what it starts from."""
    return f"{how} {job.clock.minutes} {job.seed} {target.digest} {frozen.backbone.digest()}"


@final
@dataclass(frozen=True, eq=False)
class _Stages:
    """The stages after the sources were read. `choosing`: the target, the frozen side, and the candidate tasks. `space`: the target's rows.
    `sides` alone grows: the target by each finetuned backbone, so that it is embedded once.
    """

    choosing: Choosing
    methods: Mapping[str, Method]
    job: Job
    space: RowSpace
    turn: Turn
    sides: dict[tuple[str, ...], Side] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        return self.choosing.target

    @property
    def how(self) -> SourceSettings:
        return self.choosing.how

    def run(self, judge: bool) -> SourceOutcome:
        """Choose, finetune, judge; an end for each way in which that can stop."""
        clock = self.job.clock
        with clock.stage("measuring the speed") as stage:
            tuner = self.finetuner(self.how.visits or self.planned())
            stage.note = f"{counted(tuner.visits, 'row')} a run"
        enough = tuner.visits >= least_visits(tuner)
        with clock.stage("choosing tasks") as stage:
            trace = self.choosing.trace(tuner, self.target.support, tries=enough)
            stage.visits = tuner.spent
        if not enough:
            return self.end(tuner, trace, self.too_little(tuner))
        try:
            return self.judged(tuner, trace, judge)
        except Diverged as problem:
            lower = option("--rates NUMBERS", "SourceSettings(rates=...)")
            why = f"Finetuning failed ({str(problem).rstrip('.')}): the saved model is the frozen one. Give lower rates: {lower}."
            return self.end(tuner, trace, why)

    def end(
        self,
        tuner: Finetuner,
        trace: Trace,
        why: str,
        tuned: Finetuned | None = None,
        after: Side | None = None,
        guard: Guard | None = None,
    ) -> SourceOutcome:
        chosen = self.choosing
        made = SourceOutcome(chosen.source_rows, chosen.candidates, trace, tuner, tuned, guard, after, self.job.clock, tuner.spent, why)
        return replace(made, best=self.best)

    def judged(self, tuner: Finetuner, trace: Trace, judge: bool) -> SourceOutcome:
        """What comes of the chosen tasks; raises Diverged where training does."""
        clock = self.job.clock
        with clock.stage("finetuning") as stage:
            before = tuner.spent
            tuned = tuner.tuned(self.choosing.candidates.take(trace.taken))
            stage.visits = tuner.spent - before
        if not tuned.changed:
            why = "On held-out classes of the sources no finetuned weights beat the frozen ones, so none are used."
            return self.end(tuner, trace, why, tuned)
        after = self.side(tuner, tuned)
        if not judge:
            return self.end(tuner, trace, "The guard was not asked: the saved model is the frozen one.", tuned, after)
        if self.own_splits:  # the target's own labels judge, beside the other sides; classes of the sources are further evidence
            with clock.stage("judging on classes of the sources"):
                related = self.guard(trace, tuner, after)
            return replace(self.end(tuner, trace, "", tuned, after), route=self.route(tuner), related=related)
        with clock.stage("the guard"):
            guard = self.guard(trace, tuner, after)
        if guard is None:
            why = (
                f"There are too few labelled examples to judge finetuning by ({LEAST_ITEMS} are needed, in classes of {LEAST_SHOTS} or "
                "more), and no classes of the sources are left to judge by: whether it helps cannot be shown, and the saved model is the "
                "frozen one."
            )
            return self.end(tuner, trace, why, tuned, after)
        return self.end(tuner, trace, said_of(guard, tuned), tuned, after, guard)

    def route(self, tuner: Finetuner) -> Route:
        """The way to the finetuned side with fewer labelled examples: tasks are chosen for these, and finetuned on."""

        def make(rows: Integers) -> Made:
            chosen = self.choosing.chosen(tuner, rows)
            if self.job.clock.left == 0 and not tuner.has_run(chosen):
                raise OutOfTimeError
            tuned = tuner.tuned(chosen)
            return Made(self.side(tuner, tuned), tuned.moved)

        source_rows = self.choosing.source_rows
        digests = " ".join(source.digest() for source in source_rows.space.sources)
        how = (tuner.recipe, tuner.visits, tuner.rates, self.how.candidates, len(source_rows.space), self.how.tries)
        key = f"{how} {text(self.how.selection)} {digests} {tuner.backbone.digest()}"
        return Route(SOURCES, f"finetuned on {counted(len(source_rows.names), 'other data set')}", make, key=key, made=True)

    @cached_property
    def best(self) -> BestLearner | None:
        """The learner that answers best on classes of the sources, where no class of the target has two examples."""
        if self.target.shots().max() > 1 or len(self.methods) < 2:
            return None
        frozen = Side(self.choosing.frozen.backbone, self.choosing.source_rows.features)
        return best_learner(self.methods, frozen, self.finetuner(0).judge)

    @property
    def own_splits(self) -> bool:
        return own_splits_allow(self.target.labels[self.target.support], len(self.target.class_names))

    def too_little(self, tuner: Finetuner) -> str:
        """The verdict where a run would be too short to tell anything."""
        of = f"a run of {LEAST_STEPS} steps looks at {least_visits(tuner):,} rows, and {counted(tuner.visits, 'row')} a run fit the budget"
        if self.how.visits:
            asked = option(f"--budget visits={least_visits(tuner)}", f"SourceSettings(visits={least_visits(tuner)})")
        else:
            minutes = math.ceil(self.turn.enough(self.job.clock.spent, 60 * self.cost.minutes_for(least_visits(tuner))) / 60)
            asked = f"about {minutes:.0f} minutes on this machine: {self.job.clock.ask(minutes)}"
        return f"Too little time to tell whether finetuning on the sources would help: {of}. It takes {asked}."

    def finetuner(self, visits: int) -> Finetuner:
        """What finetunes within so many rows a run."""
        chosen = self.choosing
        return finetuner_for(chosen.target, chosen.frozen.backbone, chosen.source_rows, chosen.how, self.job, visits)

    def planned(self) -> int:
        """The rows that each run may look at in the time that is left; those of a stopped run, so that what it finished fits."""
        chosen = self.choosing
        what = f"visits {_known(chosen.target, chosen.frozen, chosen.how, self.job)} {len(chosen.source_rows.space)}"
        (found,) = self.job.at.finished.once(
            what,
            lambda: (self.affordable(self.job.clock.left),),
            worth=lambda visits: visits >= least_visits(self.finetuner(int(visits))),
        )
        return int(found)

    def affordable(self, seconds: float) -> int:
        """The rows that each run may look at in so many seconds."""
        return MOST_VISITS if math.isinf(seconds) else self.cost.visits_within(seconds)

    @cached_property
    def cost(self) -> Cost:
        return cost_of(self.finetuner(0), tries=len(self.how.tries), own_splits=self.own_splits, left=self.job.clock.left)

    def side(self, tuner: Finetuner, tuned: Finetuned) -> Side:
        """The target's support by a finetuned backbone. Raises Diverged where a feature is no number."""
        if tuned.tasks not in self.sides:
            side = side_of(tuner.embedder(tuned), self.space, self.target.support)
            if not bool(torch.isfinite(side.features).all()):
                raise Diverged("the finetuned backbone gives features that are no numbers")
            self.sides[tuned.tasks] = side
        return self.sides[tuned.tasks]

    def guard(self, trace: Trace, tuner: Finetuner, after: Side) -> Guard | None:
        """The comparison on judging classes of the sources; None without any."""
        source_rows, sources = self.choosing.source_rows, self.choosing.leading(trace.taken)
        validation = tuner.judge.validation(sources)
        judging = tuner.judge.episodes("judging", sources, 5 * EPISODES)
        if not validation or not judging:
            return None
        rows = np.unique(np.concatenate([t.numpy().reshape(-1) for e in (*validation, *judging) for t in (e.support, e.query)]))
        sides = [side_of(b, source_rows.space, rows[rows >= 0]) for b in (self.choosing.frozen.backbone, after.backbone)]
        learner = None if self.best is None else self.best.name
        return guard_on_sources(self.methods, sides[0], sides[1], source_rows.space.class_names, validation, judging, learner=learner)
