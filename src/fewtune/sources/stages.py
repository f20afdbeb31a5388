"""The stages of using other labelled data: choose tasks, finetune on them, and let the guard decide whether it helped the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from fewtune.sources.finetune import EPISODES, MOST_SOURCES, Finetuned, Finetuner
from fewtune.sources.guard import LEAST_ITEMS, LEAST_SHOTS, Guard, guard_on_sources, guard_on_target, own_splits_allow
from fewtune.sources.job import Job
from fewtune.sources.outcome import SourceOutcome, said_of
from fewtune.sources.planning import affordable_rows, affordable_visits, least_visits
from fewtune.sources.settings import SourceSettings
from fewtune.sources.source_rows import SourceRows, usable_rows
from fewtune.tasks.candidates import candidate_tasks
from fewtune.tasks.selection import ConsistencyDiversity, Evidence, Trace, choose_p, no_diversity
from fewtune.tasks.task import Tasks
from fewtune.words import counted

MOST_WAYS = 15  # of an episode, and
STEP_ROWS = 150  # rows that a step looks at: 15 ways x (1 + 9), as Xu et al. take
LEAST_STEPS = 20  # of a run, if need be with fewer rows a step
REMEMBERED = 1 << 30  # bytes of the target's prepared images: each finetuned backbone looks at them
NEAREST = 10  # tasks whose sources judge the values of p that are tried


class _OutOfTimeError(Exception):
    """The budget ended."""


def use_sources(
    target: Target,
    frozen: Side,
    methods: Mapping[str, Method],
    sources: Sequence[Examples],
    how: SourceSettings,
    job: Job,
    *,
    judge: bool = True,
) -> SourceOutcome:
    """Finetune the frozen side's backbone on what suits the target, and compare. `methods`: the learners that either side may choose from.

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
        most = affordable_rows(sources, how.most, job.clock, target, frozen)
        source_rows = usable_rows(sources, target.examples, known, frozen.features, frozen.backbone, job, most=most)
        if most < how.most:
            note = f"The budget allows {most} rows of a class of the sources, not {how.most}."
            source_rows = replace(source_rows, notes=(note, *source_rows.notes))
    candidates = _candidates(target, source_rows, how, job.seed)
    space = RowSpace([target.examples], remember=REMEMBERED)
    return _Stages(target, frozen, methods, how.seeded(job.seed), job, source_rows, candidates, space).run(judge)


def _candidates(target: Target, source_rows: SourceRows, how: SourceSettings, seed: int) -> Tasks:
    tasks = source_rows.tasks("train")
    assert tasks is not None  # `usable_rows` refuses sources without
    return candidate_tasks(tasks, min(len(target.class_names), MOST_WAYS), how.candidates, key(seed, "candidates"))


@final
@dataclass(frozen=True, eq=False)
class _Stages:
    """The stages after the sources were read. All fields are given. `space`: the target's rows. `sides` alone grows: the target
    by each finetuned backbone, so that it is embedded once.
    """

    target: Target
    frozen: Side
    methods: Mapping[str, Method]
    how: SourceSettings
    job: Job
    source_rows: SourceRows
    candidates: Tasks
    space: RowSpace
    sides: dict[tuple[str, ...], Side] = field(default_factory=dict)

    def run(self, judge: bool) -> SourceOutcome:
        """Choose, finetune, judge; an end for each way in which that can stop."""
        clock = self.job.clock
        with clock.stage("measuring the speed") as stage:
            tuner = self.finetuner(self.how.visits or self.affordable())
            stage.note = f"{counted(tuner.visits, 'row')} a run"
        enough = tuner.visits >= least_visits(tuner)
        with clock.stage("choosing tasks") as stage:
            trace = self.decide(tuner, self.target.support, tries=enough)
            stage.visits = tuner.spent
        if not enough:
            return self.end(
                tuner,
                trace,
                f"The budget allows {counted(tuner.visits, 'row')} a run, which is too few to learn from (ten steps look at "
                f"{least_visits(tuner):,}): the saved model is the frozen one. Give a longer --budget.",
            )
        try:
            return self.judged(tuner, trace, judge)
        except Diverged as problem:
            why = f"Finetuning failed ({str(problem).rstrip('.')}): the saved model is the frozen one. Give lower --rates."
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
        return SourceOutcome(self.source_rows, self.candidates, trace, tuner, tuned, guard, after, self.job.clock, tuner.spent, why)

    def judged(self, tuner: Finetuner, trace: Trace, judge: bool) -> SourceOutcome:
        """What comes of the chosen tasks; raises Diverged where training does."""
        clock = self.job.clock
        with clock.stage("finetuning") as stage:
            before = tuner.spent
            tuned = tuner.tuned(self.candidates.take(trace.taken))
            stage.visits = tuner.spent - before
        if not tuned.changed:
            why = "On held-out classes of the sources no finetuned weights beat the frozen ones, so none are used."
            return self.end(tuner, trace, why, tuned)
        after = self.side(tuner, tuned)
        if not judge:
            return self.end(tuner, trace, "The guard was not asked: the saved model is the frozen one.", tuned, after)
        with clock.stage("the guard") as stage:
            before = tuner.spent
            try:
                guard = self.guard(trace, tuner, after)
            except _OutOfTimeError:
                why = "The budget ended before the guard had its answer: the saved model is the frozen one."
                return self.end(tuner, trace, why, tuned, after)
            stage.visits = tuner.spent - before
        if guard is None:
            why = (
                f"There are too few labelled examples to judge finetuning by ({LEAST_ITEMS} are needed, in classes of {LEAST_SHOTS} or "
                "more), and no classes of the sources are left to judge by: whether it helps cannot be shown, and the saved model is the "
                "frozen one."
            )
            return self.end(tuner, trace, why, tuned, after)
        return self.end(tuner, trace, said_of(guard, tuned), tuned, self.with_test_rows(after) if guard.kept else after, guard)

    def with_test_rows(self, after: Side) -> Side:
        """The finetuned side with the target's test rows, which it looks at only once it is kept."""
        test = self.target.test
        if not len(test):
            return after
        features = after.features.clone()
        features[test] = side_of(after.backbone, self.space, test).features[test]
        return Side(after.backbone, features)

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
        if isinstance(selection, ConsistencyDiversity) and self.how.tries and tries:
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
        job = self.job
        return Finetuner(self.frozen.backbone, self.source_rows, recipe, ways, shots, visits, self.how.rates, job.seed, job.quiet)

    def affordable(self) -> int:
        return affordable_visits(self.finetuner(0), self.job.clock, tries=len(self.how.tries), own_splits=self.own_splits)

    def side(self, tuner: Finetuner, tuned: Finetuned) -> Side:
        """The target's support by a finetuned backbone."""
        if tuned.tasks not in self.sides:
            self.sides[tuned.tasks] = side_of(tuner.embedder(tuned), self.space, self.target.support)
        return self.sides[tuned.tasks]

    def guard(self, trace: Trace, tuner: Finetuner, after: Side) -> Guard | None:
        """The comparison on the target's own splits where labels allow, else on judging classes of the sources; None without any."""
        if self.own_splits:
            return guard_on_target(
                self.methods, self.frozen, lambda rows: self.blind(tuner, rows), self.target.support, self.labels,
                self.target.class_names, seed=self.job.seed,
            )  # fmt: skip
        source_rows = self.source_rows
        sources = source_rows.leading(self.candidates.take(trace.taken), MOST_SOURCES)
        validation = tuner.episodes("validation", sources, EPISODES)
        judging = tuner.episodes("judging", sources, 5 * EPISODES)
        if not validation or not judging:
            return None
        rows = np.unique(np.concatenate([t.numpy().reshape(-1) for e in (*validation, *judging) for t in (e.support, e.query)]))
        sides = [side_of(b, source_rows.space, rows[rows >= 0]) for b in (self.frozen.backbone, after.backbone)]
        return guard_on_sources(self.methods, sides[0], sides[1], source_rows.space.class_names, validation, judging)

    def blind(self, tuner: Finetuner, rows: Integers) -> Side:
        """The finetuned side that has seen these rows of the target alone."""
        chosen = self.candidates.take(self.decide(tuner, rows).taken)
        if self.job.clock.left == 0 and not tuner.has_run(chosen):
            raise _OutOfTimeError
        return self.side(tuner, tuner.tuned(chosen))


def side_of(backbone: Backbone, space: RowSpace, rows: Integers) -> Side:
    """Some rows of a row space by a backbone; rows that are not asked for have features of zero."""
    features = torch.zeros(len(space), backbone.width)
    with torch.no_grad():
        found: Tensor = backbone.embed(backbone.start(), space, rows)
    if found.shape[1] != features.shape[1]:
        features = torch.zeros(len(space), found.shape[1])
    features[torch.from_numpy(rows)] = found.cpu()
    return Side(backbone, features)
