"""The stages of using other labelled data: choose tasks, finetune on them, and let the guard decide whether it helped the target."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learning.method import Method
from fewtune.sources.clock import Clock
from fewtune.sources.finetune import EPISODES, LOOKS, MOST_SOURCES, SHARES, SWEEP, Finetuned, Finetuner
from fewtune.sources.guard import FOLDS, LEAST_ITEMS, LEAST_SHOTS, Guard, guard_on_sources, guard_on_target, own_splits_allow
from fewtune.sources.outcome import SourceOutcome, SourceSettings, said_of
from fewtune.sources.source_rows import SourceRows, usable_rows
from fewtune.tasks.candidates import candidate_tasks
from fewtune.tasks.selection import Evidence, Trace, choose_p, no_diversity
from fewtune.words import counted

MOST_WAYS = 15  # of an episode, and
STEP_ROWS = 150  # rows that a step looks at: 15 ways x (1 + 9), as Xu et al. take
LEAST_STEPS = 20  # of a run, if need be with fewer rows a step
NEAREST = 10  # tasks whose sources judge the values of p that are tried
MOST_VISITS = 60_000  # rows that a run looks at, however long the budget is
_FORWARD = 0.3  # of what a row costs in training it costs to look at one
_READ = 0.25  # of the budget at most, for embedding the sources
_TRIED = 32  # rows that the speed of embedding is measured on
_PLANNED = 0.8  # of the time that is left: embedding and the choice of learners need the rest


class _OutOfTimeError(Exception):
    """The budget ended."""


def use_sources(
    target: Target,
    frozen: Side,
    methods: Mapping[str, Method],
    sources: Sequence[Examples],
    how: SourceSettings,
    *,
    clock: Clock,
    cache: Path | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    judge: bool = True,
    quiet: bool = False,
) -> SourceOutcome:
    """Finetune the frozen side's backbone on what suits the target, and compare. `methods`: the learners either side may choose from.

    Without `judge` the guard is not asked, and the frozen model is what comes of it (for studies of the choice of tasks). The target's
    test rows are used for nothing but to keep their copies out of the sources, whatever their labels.
    """
    if not frozen.backbone.groups:
        raise InputError(
            f"a backbone is finetuned on sources, but {frozen.backbone.name} has no weights to move: leave the sources out, or "
            "give the data behind the "
            "features and a backbone."
        )
    with clock.stage("reading the sources"):
        known = np.concatenate([target.support, target.tested])
        most = how.most
        if not math.isinf(clock.minutes):
            most = rows_within(sources, most, _READ * clock.left / _seconds_a_row(target, frozen))
        source_rows = usable_rows(
            sources, target.examples, known, frozen.features, frozen.backbone,
            most=most, seed=seed, skip_bad=skip_bad, cache=cache, quiet=quiet,
        )  # fmt: skip
        if most < how.most:
            source_rows = replace(
                source_rows, notes=(f"The budget allows {most} rows of a class of the sources, not {how.most}.", *source_rows.notes)
            )
            how = replace(how, most=most)
    return _Job(target, frozen, methods, how, clock, seed, judge, quiet, source_rows).run()


@final
@dataclass(eq=False)
class _Job:
    """The stages after the sources were read, and what each of them is given."""

    target: Target
    frozen: Side
    methods: Mapping[str, Method]
    how: SourceSettings
    clock: Clock
    seed: int
    judge: bool
    quiet: bool
    source_rows: SourceRows

    def __post_init__(self) -> None:
        self.space = RowSpace([self.target.examples], remember=1 << 30)
        self.sides: dict[tuple[str, ...], Side] = {}
        if self.how.selection.seed == 0:  # the job's seed is the selection's, where that has none of its own
            self.how = replace(self.how, selection=replace(self.how.selection, seed=self.seed))
        tasks = self.source_rows.tasks("train")
        assert tasks is not None  # `usable_rows` refuses sources without
        ways = min(len(self.target.class_names), MOST_WAYS)
        self.candidates = candidate_tasks(tasks, ways, self.how.candidates, key(self.seed, "candidates"))

    def run(self) -> SourceOutcome:
        """Choose, finetune, judge; an end for each way in which that can stop."""
        clock, target = self.clock, self.target
        with clock.stage("measuring the speed") as stage:
            tuner = self.finetuner(self.how.visits or self.affordable())
            stage.note = f"{counted(tuner.visits, 'row')} a run"
        enough = tuner.visits >= tuner.least_visits()
        with clock.stage("choosing tasks") as stage:
            trace = self.decide(tuner, target.support, tries=enough)
            stage.visits = tuner.spent
        try:
            return self.judged(tuner, trace, enough)
        except Diverged as problem:
            why = f"Finetuning failed ({str(problem).rstrip('.')}): the saved model is the frozen one. Give lower --rates."
            return SourceOutcome(self.source_rows, self.candidates, trace, tuner, None, None, None, clock, tuner.spent, why)

    def judged(self, tuner: Finetuner, trace: Trace, enough: bool) -> SourceOutcome:
        """What comes of the chosen tasks; raises Diverged where training does."""
        clock, target = self.clock, self.target

        def end(why: str, tuned: Finetuned | None = None, guard: Guard | None = None, after: Side | None = None) -> SourceOutcome:
            return SourceOutcome(self.source_rows, self.candidates, trace, tuner, tuned, guard, after, clock, tuner.spent, why)

        if not enough:
            return end(
                f"The budget allows {counted(tuner.visits, 'row')} a run, of which nothing is learned (ten steps look at "
                f"{tuner.least_visits():,}): the saved model is the frozen one. Give a longer --budget."
            )
        with clock.stage("finetuning") as stage:
            before = tuner.spent
            tuned = tuner.tuned(self.candidates.take(trace.taken))
            stage.visits = tuner.spent - before
        if not tuned.changed:
            return end("On held-out classes of the sources no finetuned weights beat the frozen ones, so none are used.", tuned)
        after = self.side(tuner, tuned)
        if not self.judge:
            return end("The guard was not asked: the saved model is the frozen one.", tuned, after=after)
        with clock.stage("the guard") as stage:
            before = tuner.spent
            try:
                guard = self.guard(trace, tuner, after)
            except _OutOfTimeError:
                return end("The budget ended before the guard had its answer: the saved model is the frozen one.", tuned, after=after)
            stage.visits = tuner.spent - before
        if guard is None:
            return end(
                f"There are too few labelled examples to judge finetuning by ({LEAST_ITEMS} are needed, in classes of {LEAST_SHOTS} or "
                "more), and no classes of the sources are left to judge by: whether it helps cannot be shown, and the saved model is the "
                "frozen one.",
                tuned,
                after=after,
            )
        if guard.kept and len(target.test):  # only now are test rows looked at by the finetuned backbone
            after = Side(after.backbone, after.features.clone())
            after.features[target.test] = side_of(after.backbone, self.space, target.test).features[target.test]
        return end(said_of(guard, tuned), tuned, guard, after)

    @property
    def labels(self) -> Integers:
        return self.target.labels[self.target.support]

    @property
    def own_splits(self) -> bool:
        return own_splits_allow(self.labels, len(self.target.class_names))

    def decide(self, tuner: Finetuner, rows: Integers, *, tries: bool = True) -> Trace:
        """Which candidates suit these rows of the target."""
        source_rows, candidates = self.source_rows, self.candidates
        evidence = Evidence(
            features=lambda asked: source_rows.features[torch.from_numpy(asked)],
            target=self.frozen.features[torch.from_numpy(rows)],
            target_label=torch.from_numpy(self.target.labels[rows]),
        )
        selection = self.how.selection
        if self.how.tries and tries:
            nearest = source_rows.leading(no_diversity(most=NEAREST).select(candidates, evidence), MOST_SOURCES)
            selection = choose_p(selection, self.how.tries, candidates, evidence, lambda tasks: tuner.worth(tasks, nearest))
        return selection.trace(candidates, evidence)

    def finetuner(self, visits: int) -> Finetuner:
        """What finetunes within so many rows a run; by default in episodes like the target's, small enough for 20 steps or more."""
        shots = int(np.clip(np.median(self.target.shots()), 1, self.how.most // 2))
        ways = min(len(self.target.class_names), MOST_WAYS)
        each = max(2, (min(STEP_ROWS, visits // LEAST_STEPS) if visits else STEP_ROWS) // ways)  # rows of a class in a step
        support = min(shots, each // 2)
        recipe = self.how.recipe or f"multitask(ways={ways}, shots={support}, queries={min(self.how.most, each) - support})"
        return Finetuner(self.frozen.backbone, self.source_rows, recipe, ways, shots, visits, self.how.rates, self.seed, self.quiet)

    def affordable(self) -> int:
        """The rows that each run may look at, so that all of them fit into the time that is left."""
        if math.isinf(self.clock.minutes):
            return MOST_VISITS
        tuner = self.finetuner(0)
        runs = 1 + (FOLDS if self.own_splits else 0)
        tries = len(self.how.tries) * runs  # each fold chooses its own
        trials = len(tuner.rates) + tries
        cost = tuner.seconds_a_visit()
        looks = LOOKS * len(tuner.rates) + len(SHARES) - 1 + tries  # the way to the end was looked at
        judged = _FORWARD * looks * tuner.looked_at(self.source_rows.names[:MOST_SOURCES])
        return int(max(0, min(MOST_VISITS, (_PLANNED * self.clock.left / cost - judged) / (runs + SWEEP * trials))))

    def side(self, tuner: Finetuner, tuned: Finetuned) -> Side:
        """The target's support by a finetuned backbone, embedded once."""
        if tuned.tasks not in self.sides:
            self.sides[tuned.tasks] = side_of(tuner.embedder(tuned), self.space, self.target.support)
        return self.sides[tuned.tasks]

    def guard(self, trace: Trace, tuner: Finetuner, after: Side) -> Guard | None:
        """The comparison on the target's own splits where labels allow, else on judging classes of the sources; None without any."""
        if self.own_splits:
            return guard_on_target(
                self.methods, self.frozen, self._blind(tuner), self.target.support, self.labels,
                self.target.class_names, seed=self.seed,
            )  # fmt: skip
        source_rows = self.source_rows
        sources = source_rows.leading(self.candidates.take(trace.taken), MOST_SOURCES)
        validation = tuner.episodes("validation", sources, EPISODES)
        judging = tuner.episodes("judging", sources, 5 * EPISODES)
        if not validation or not judging:
            return None
        rows = np.unique(np.concatenate([t.numpy().reshape(-1) for e in (*validation, *judging) for t in (e.support, e.query)]))
        sides = [side_of(b, source_rows.space, rows[rows >= 0]) for b in (self.frozen.backbone, after.backbone)]
        names = source_rows.space.class_names
        return guard_on_sources(self.methods, sides[0], sides[1], names, validation, judging)

    def _blind(self, tuner: Finetuner) -> Callable[[Integers], Side]:
        """The finetuned side that knows some rows of the target alone."""

        def finetuned(rows: Integers) -> Side:
            chosen = self.candidates.take(self.decide(tuner, rows).taken)
            if self.clock.left == 0 and not tuner.knows(chosen):
                raise _OutOfTimeError
            return self.side(tuner, tuner.tuned(chosen))

        return finetuned


def rows_within(sources: Sequence[Examples], most: int, affordable: float) -> int:
    """How many rows of a class may be looked at, `most` or fewer, so that they are `affordable` rows together; 2 at least."""
    counts = np.concatenate([source.counts() for source in sources])
    return next((rows for rows in range(most, 2, -1) if np.minimum(counts, rows).sum() <= affordable), 2)


def _seconds_a_row(target: Target, frozen: Side) -> float:
    """What embedding a row costs, reading it included."""
    space, backbone = RowSpace([target.examples]), frozen.backbone
    few, weights = target.support[:_TRIED], backbone.start()
    with torch.no_grad():
        backbone.embed(weights, space, few[:1])  # the first pass pays for what later ones share
        began = time.monotonic()
        backbone.embed(weights, space, few)
    return max(time.monotonic() - began, 1e-9) / len(few)


def side_of(backbone: Backbone, space: RowSpace, rows: Integers) -> Side:
    """Some rows of a row space by a backbone; rows that are not asked for have features of zero."""
    features = torch.zeros(len(space), backbone.width)
    with torch.no_grad():
        found: Tensor = backbone.embed(backbone.start(), space, rows)
    if found.shape[1] != features.shape[1]:
        features = torch.zeros(len(space), found.shape[1])
    features[torch.from_numpy(rows)] = found.cpu()
    return Side(backbone, features)
