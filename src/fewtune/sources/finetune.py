"""Finetuning on tasks of the sources: the rate, the steps and the share of the start are chosen on held-out classes of the sources.

They are advised by the sources alone, so a split of the target that chooses other tasks of the same sources is advised alike. Nothing
here sees the target: what is learned from is decided by the chosen tasks alone, so that two splits of the target that choose the same
tasks share one finetuned backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import Edit
from fewtune.errors import Diverged, InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.budget import budgeted, each_phase, fit_phases, step_visits
from fewtune.learning.engine import average
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Step, phases_of
from fewtune.learning.train import Trained, train
from fewtune.models.finetuned_weights import Moved, what_moved
from fewtune.parts.heads import Centroid
from fewtune.parts.keep import Best
from fewtune.recipes.language import variants
from fewtune.sources.roles import Part
from fewtune.sources.source_rows import SourceRows
from fewtune.stopping import Stopped
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.fit import fitted
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks
from fewtune.words import counted

RATES = (1e-4, 1e-3, 1e-2)
SHARES = (0.0, 1 / 3, 2 / 3, 1.0)
MOST_SOURCES = 3  # that validate: those most of the chosen classes are from
LOOKS = 3  # at the validation tasks in a run that tries a rate
EPISODES = 40  # a source
SWEEP = 1 / 3  # of a run's visits, for each rate that is tried
_MEASURED = 3  # steps


@final
@dataclass(frozen=True, eq=False)
class Advice:
    """What held-out classes of some sources say of finetuning on them: the learning `rate` by its label, the `part` of the steps and the
    `share` of the way from the start to the end that are best.

    `tried`: accuracy by rate; `shares`: by share, whose 0 is the frozen backbone; `curve`: of the run at the best rate, a row a step. All
    empty where there is nothing to validate on.
    """

    rate: str
    part: float
    share: float
    tried: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[float, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()


def at_rates(recipe: str, rates: Sequence[float]) -> dict[str, Method]:
    """A recipe at every rate, by "lr=0.001"; under "" where its text names one. Raises InputError for what learns nothing from a source."""
    found = variants(recipe, (("lr", rates),))
    if not found[""].phases:
        raise InputError(f"{recipe!r} learns nothing from a source: expected a recipe such as multitask, standard or protonet.")
    return {label: m for label, m in found.items() if label} or found


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """A backbone finetuned on some tasks of the sources, as the `advice` has it.

    `moved`: the weights that changed, (1 - share) of the start and `share` of the end; None where the start was best, and nothing was run.
    `curve`: a row a step. `notes`: which classes and tasks gave less than an episode asks for, or nothing, a sentence each.
    """

    tasks: tuple[str, ...]
    method: Method
    moved: Moved | None
    advice: Advice
    curve: Sequence[Mapping[str, Any]]
    visits: int
    steps: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything moved in the end."""
        return self.moved is not None


@final
@dataclass(eq=False)
class Finetuner:
    """Finetunes `backbone` on chosen tasks of `source_rows`, always alike: `recipe` by its text, with episodes of `ways` and `shots`.

    `visits`: rows that a run may look at. `rates`: the learning rates that are tried where the recipe names none. Runs are kept: the
    same tasks are finetuned on once. `spent` counts the rows looked at in all of them, those that only tried a rate too.
    """

    backbone: Backbone
    source_rows: SourceRows
    recipe: str
    ways: int
    shots: int
    visits: int
    rates: tuple[float, ...] = RATES
    seed: int = 0
    quiet: bool = True
    spent: int = 0
    _tuned: dict[tuple[str, ...], Finetuned] = field(default_factory=dict)
    _worth: dict[tuple[tuple[str, ...], tuple[str, ...]], float] = field(default_factory=dict)
    _advised: dict[tuple[str, ...], Advice] = field(default_factory=dict)
    _notes: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # by the tasks of a run

    def tuned(self, chosen: Tasks) -> Finetuned:
        """The backbone finetuned on these tasks."""
        if chosen.names not in self._tuned:
            self._tuned[chosen.names] = self._finetune(chosen)
        return self._tuned[chosen.names]

    def knows(self, chosen: Tasks) -> bool:
        """Whether these tasks were finetuned on already."""
        return chosen.names in self._tuned

    def embedder(self, tuned: Finetuned) -> Backbone:
        """The finetuned backbone."""
        return self.backbone if tuned.moved is None else tuned.moved.onto(self.backbone)

    def worth(self, tasks: Tasks, sources: tuple[str, ...]) -> float:
        """What a short run on some tasks reaches on the validation tasks of `sources`; without any, all tasks are worth the same."""
        if not self._validation(sources):
            return 0.0
        if (tasks.names, sources) not in self._worth:
            try:
                method = self._method(self.advice(sources, tasks).rate)
                done = self._train(method, tasks, int(self.visits * SWEEP), f"trying {counted(len(tasks), 'task')}")
                self._worth[tasks.names, sources] = self.accuracy(method, done.weights, sources)
            except Diverged:
                self._worth[tasks.names, sources] = float("-inf")
        return self._worth[tasks.names, sources]

    def seconds_a_visit(self) -> float:
        """What looking at one row costs in training, measured in a few steps on all sources."""
        tasks = self._train_tasks()
        phases, _ = fit_phases(self._method(next(iter(self._variants))).phases, tasks)
        few = each_phase(phases, lambda phase: replace(phase, steps=1))
        train(self._ground(), few, tasks, key(self.seed, "speed"))  # the first step pays for what later ones share
        more = each_phase(phases, lambda phase: replace(phase, steps=_MEASURED))
        done = train(self._ground(), more, tasks, key(self.seed, "speed"))
        return done.seconds / max(done.visits, 1)

    def looked_at(self, sources: Sequence[str]) -> int:
        """Rows that one look at the validation tasks of some sources takes."""
        rows = [t.numpy().reshape(-1) for e in self._validation(sources) for t in (e.support, e.query)]
        return len(np.unique(np.concatenate(rows))) if rows else 0

    def least_visits(self) -> int:
        """The rows that a run of ten steps looks at: fewer are not worth a run."""
        tasks = self._train_tasks()
        phases, _ = fit_phases(self._method(next(iter(self._variants))).phases, tasks)
        return int(10 * max(step_visits(phase, tasks) for phase in phases_of(phases)))

    @cached_property
    def _variants(self) -> dict[str, Method]:
        """The recipe at every rate (see `at_rates`)."""
        return at_rates(self.recipe, self.rates)

    def _method(self, label: str) -> Method:
        return self._variants[label]

    def _ground(self) -> Ground:
        return Ground(self.backbone, self.source_rows.space, self._method(next(iter(self._variants))).edits)

    def _train_tasks(self) -> Tasks:
        found = self.source_rows.tasks("train")
        assert found is not None  # `serving` refuses a source with fewer than two training classes
        return found

    def _finetune(self, chosen: Tasks) -> Finetuned:
        advice = self.advice(self.source_rows.leading(chosen, MOST_SOURCES), chosen)
        method = self._method(advice.rate)
        if advice.share == 0:
            return Finetuned(chosen.names, method, None, advice, [], 0, 0, 0.0)
        title = f"finetuning on {counted(len(chosen), 'task')}, {advice.rate or 'its own rate'}"
        done = self._train(method, chosen, int(self.visits * advice.part), title)
        moved = what_moved(self.backbone, _between(self._ground().start(), done, advice.share, method.edits), method.edits)
        notes = self._notes.get(chosen.names, ())
        return Finetuned(chosen.names, method, moved, advice, done.curve, done.visits, done.steps, done.seconds, notes)

    def advice(self, sources: tuple[str, ...], chosen: Tasks) -> Advice:
        """What validation tasks of some sources say of finetuning on all train classes of theirs, in runs of a third of the visits.

        Raises Diverged where every rate does. Without validation tasks nothing is tried: the middle rate, all steps, all the way.
        """
        labels = list(self._variants)
        if not self._validation(sources):
            return Advice(labels[len(labels) // 2], 1.0, 1.0)
        if sources not in self._advised:
            tasks = self.source_rows.tasks("train", sources) or chosen
            runs: dict[str, Trained] = {}
            tried = dict.fromkeys(labels, float("-inf"))
            for label in labels:
                try:
                    runs[label] = self._train(self._method(label), tasks, int(self.visits * SWEEP), f"trying {label}", sources)
                    tried[label] = max(row["validation"] for row in runs[label].curve if "validation" in row)
                except Diverged:
                    continue
            if not runs:
                raise Diverged(f"training diverged at every learning rate ({', '.join(labels)})")
            best = max(tried, key=lambda label: tried[label])
            self._advised[sources] = self._advised_by(best, runs[best], tried, sources)
        return self._advised[sources]

    def _advised_by(self, label: str, run: Trained, tried: Mapping[str, float], sources: tuple[str, ...]) -> Advice:
        """The share of the steps after which a run was best, and how far to go from its start to there."""
        judged = [(row["validation"], -number) for number, row in enumerate(run.curve) if "validation" in row]
        part = (1 - max(judged)[1]) / len(run.curve)
        start, method = self._ground().start(), self._method(label)
        shares = {
            a: tried[label] if a == 1 else self.accuracy(method, {**start, **_between(start, run, a, method.edits)}, sources)
            for a in SHARES
        }
        share = max(shares, key=lambda a: (shares[a], -a))
        return Advice(label, part, share, dict(tried), shares, run.curve)

    def _train(self, method: Method, tasks: Tasks, visits: int, title: str, judged: tuple[str, ...] = ()) -> Trained:
        """A run; with `judged` it keeps the weights that are best on validation tasks of these sources."""
        phases, notes = fit_phases(method.phases, tasks)
        self._notes[tasks.names] = tuple(f"Finetuning: {note}." for note in notes)
        phases = budgeted(phases, tasks, visits)
        if judged:
            phases = _kept(phases)
        try:
            trained = train(
                self._ground(),
                phases,
                tasks,
                key(self.seed, "finetuning"),
                validate=(lambda weights: self.accuracy(method, weights, judged)) if judged else None,
                label=title,
                quiet=self.quiet,
            )
        except Stopped:  # what it says is of runs that can be resumed
            raise Stopped from None
        self.spent += trained.visits
        return trained

    def accuracy(self, method: Method, weights: Mapping[str, Tensor], sources: tuple[str, ...]) -> float:
        """Mean accuracy of nearest centroids on the validation tasks of some sources, each weighing the same."""
        batches = self._validation(sources)
        known = {n: t for n, t in weights.items() if n in self._ground().names}
        scores = score_each(Ground(self.backbone, self.source_rows.space, method.edits), Centroid(), known, batches)
        return float(np.mean([s.accuracy.mean() for s in scores]))

    def _validation(self, sources: Sequence[str]) -> list[Episodes]:
        return self.episodes("validation", sources, EPISODES)

    def episodes(self, part: Part, sources: Sequence[str], count: int) -> list[Episodes]:
        """Episodes like the target's on held-out classes: a batch of `count` for each of these sources that has some."""
        made = []
        for name in sources:
            tasks = self.source_rows.tasks(part, [name])
            if tasks is not None:
                sampler, _ = fitted(Sampled(ways=self.ways, shots=self.shots, queries=10), tasks)
                made.append(sampler.draw(tasks, key(self.seed, part, name), 0, count))
        return made


def _kept(phases: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same phases, the last of which keeps its best weights on validation tasks."""
    last = list(phases_of(phases))[-1]
    return each_phase(phases, lambda p: replace(p, keep=Best(every=max(1, -(-p.steps // LOOKS)))) if p is last else p)


def _between(start: Mapping[str, Tensor], trained: Trained, share: float, edits: tuple[Edit, ...]) -> dict[str, Tensor]:
    """The backbone's and edits' weights that moved, so that the edited ones are `share` of the way from the start to the end."""
    if share == 0:
        return {}
    ends = {n: trained.weights[n] for n in trained.moved if n in start}
    mixed = ends if share == 1 else average([start, {**start, **ends}], (1 - share, share), edits, start)
    return {n: t for n, t in mixed.items() if t is not start[n]}
