"""Finetuning on tasks of the sources: the rate, the steps and the share of the start are chosen on held-out classes of the sources.

The advice comes from the sources alone, so a split of the target that chooses other tasks of the same sources gets the same advice.
Nothing here looks at the target: a run depends on the chosen tasks alone, so two splits of the target that choose the same tasks share
one finetuned backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.errors import Diverged
from fewtune.keys import key
from fewtune.learning import declared
from fewtune.learning.budget import budgeted, fit_phases
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.learning.scaled import scaled
from fewtune.learning.train import Trained, train
from fewtune.models.finetuned_weights import Moved, what_moved
from fewtune.parts.plan import resolve
from fewtune.sides.progress import NOTHING, Finished
from fewtune.sources.advice import RATES, SHARES, Advice, at_rates, keeping_best, part_way
from fewtune.sources.held_out_classes import HeldOutClasses
from fewtune.sources.source_rows import SourceRows
from fewtune.spec import text
from fewtune.stopping import Stopped
from fewtune.tasks.task import Tasks
from fewtune.words import counted

MOST_SOURCES = 3  # that validate: those most of the chosen classes are from
SWEEP = 1 / 3  # of a run's visits, for each rate that is tried


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
@dataclass(frozen=True, eq=False)
class Run:
    """A training run. `notes`: what its tasks could not give, a sentence each."""

    trained: Trained
    notes: tuple[str, ...]


@final
@dataclass(eq=False)
class Done:
    """What was run already, so that nothing runs twice, and what it cost.

    `visits`: rows looked at in all runs, those that only tried a rate too. `tuned`: by the names of the tasks; `worth`: by those and the
    sources that judged; `advised`: by the sources.
    """

    visits: int = 0
    tuned: dict[tuple[str, ...], Finetuned] = field(default_factory=dict)
    worth: dict[tuple[tuple[str, ...], tuple[str, ...]], float] = field(default_factory=dict)
    advised: dict[tuple[str, ...], Advice] = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False)
class Finetuner:
    """Finetunes `backbone` on chosen tasks of the sources, always in the same way.

    `judge`: held-out classes of the sources, which choose the rate, the steps and the share. `recipe`: the text of the method; its
    learning rate is chosen from `rates` unless the text names one. `visits`: rows that a run may look at. `finished`: where runs are kept,
    so that a stopped job can go on. `done`: what was run already.
    """

    backbone: Backbone
    judge: HeldOutClasses
    recipe: str
    visits: int
    rates: tuple[float, ...] = RATES
    quiet: bool = True
    finished: Finished = NOTHING
    done: Done = field(default_factory=Done)

    @property
    def source_rows(self) -> SourceRows:
        return self.judge.source_rows

    @property
    def seed(self) -> int:
        """Of all draws."""
        return self.judge.seed

    def tuned(self, chosen: Tasks) -> Finetuned:
        """The backbone finetuned on these tasks."""
        if chosen.names not in self.done.tuned:
            self.done.tuned[chosen.names] = self._finetune(chosen)
        return self.done.tuned[chosen.names]

    @property
    def spent(self) -> int:
        """Rows looked at in all runs so far."""
        return self.done.visits

    def has_run(self, chosen: Tasks) -> bool:
        """Whether these tasks were finetuned on already."""
        return chosen.names in self.done.tuned

    def embedder(self, tuned: Finetuned) -> Backbone:
        """The finetuned backbone."""
        return self.backbone if tuned.moved is None else tuned.moved.onto(self.backbone)

    def worth(self, tasks: Tasks, sources: tuple[str, ...]) -> float:
        """What a short run on some tasks reaches on the validation tasks of `sources`; without any, all tasks are worth the same."""
        if not self.judge.validation(sources):
            return 0.0
        if (tasks.names, sources) not in self.done.worth:
            try:
                method = self.variants[self.advice(sources, tasks).rate]
                done = self._train(method, tasks, int(self.visits * SWEEP), f"trying {counted(len(tasks), 'task')}").trained
                self.done.worth[tasks.names, sources] = self._accuracy(done.weights, sources)
            except Diverged:
                self.done.worth[tasks.names, sources] = float("-inf")
        return self.done.worth[tasks.names, sources]

    @cached_property
    def variants(self) -> dict[str, Method]:
        """The recipe at every rate (see `at_rates`)."""
        return {rate: scaled(method, self.backbone) for rate, method in at_rates(self.recipe, self.rates).items()}

    def ground(self) -> Ground:
        """What all runs share: what no step changes is computed once a row, for all of them."""
        return self._held

    @cached_property
    def _held(self) -> Ground:
        method = next(iter(self.variants.values()))
        bare = Ground(self.backbone, self.source_rows.space, method.edits)
        weights = declared.begin(bare, method.phases)
        plans = [resolve(phase.plan, bare.movable(weights), self.backbone.groups) for phase in phases_of(method.phases)]
        return bare.holding(weights, {name for plan in plans for name in plan.moving})

    def train_tasks(self) -> Tasks:
        found = self.source_rows.tasks("train")
        assert found is not None  # `serving` refuses a source with fewer than two training classes
        return found

    def _finetune(self, chosen: Tasks) -> Finetuned:
        advice = self.advice(self.source_rows.leading(chosen, MOST_SOURCES), chosen)
        method = self.variants[advice.rate]
        if advice.share == 0:
            return Finetuned(chosen.names, method, None, advice, [], 0, 0, 0.0)
        title = f"finetuning on {counted(len(chosen), 'task')}, {advice.rate or 'its own rate'}"
        run = self._train(method, chosen, int(self.visits * advice.part), title)
        done = run.trained
        moved = what_moved(self.backbone, part_way(self.ground().start(), done, advice.share, method.edits), method.edits)
        return Finetuned(chosen.names, method, moved, advice, done.curve, done.visits, done.steps, done.seconds, run.notes)

    def advice(self, sources: tuple[str, ...], chosen: Tasks) -> Advice:
        """What validation tasks of some sources say of finetuning on all train classes of theirs, in runs of a third of the visits.

        Raises Diverged where every rate does. Without validation tasks nothing is tried: the middle rate, all steps, all the way.
        """
        labels = list(self.variants)
        if not self.judge.validation(sources):
            return Advice(labels[len(labels) // 2], 1.0, 1.0)
        if sources not in self.done.advised:
            tasks = self.source_rows.tasks("train", sources) or chosen
            runs: dict[str, Trained] = {}
            tried = dict.fromkeys(labels, float("-inf"))
            for label in labels:
                try:
                    runs[label] = self._train(self.variants[label], tasks, int(self.visits * SWEEP), f"trying {label}", sources).trained
                    tried[label] = max(row["validation"] for row in runs[label].curve if "validation" in row)
                except Diverged:
                    continue
            if not runs:
                raise Diverged(f"training diverged at every learning rate ({', '.join(labels)})")
            best = max(tried, key=lambda label: tried[label])
            self.done.advised[sources] = self._advised_by(best, runs[best], tried, sources)
        return self.done.advised[sources]

    def _advised_by(self, label: str, run: Trained, tried: Mapping[str, float], sources: tuple[str, ...]) -> Advice:
        """The share of the steps after which a run was best, and how far to go from its start to there."""
        judged = [(row["validation"], -number) for number, row in enumerate(run.curve) if "validation" in row]
        part = (1 - max(judged)[1]) / len(run.curve)
        start, method = self.ground().start(), self.variants[label]
        shares = {
            a: tried[label] if a == 1 else self._accuracy({**start, **part_way(start, run, a, method.edits)}, sources) for a in SHARES
        }
        share = max(shares, key=lambda a: (shares[a], -a))
        return Advice(label, part, share, dict(tried), shares, run.curve)

    def _accuracy(self, weights: Mapping[str, Tensor], sources: tuple[str, ...]) -> float:
        return self.judge.accuracy(self.ground(), weights, sources)

    @cached_property
    def _known(self) -> str:
        """All that a run depends on beside its tasks and phases."""
        digests = " ".join(source.digest() for source in self.source_rows.space.sources)
        return f"{digests} {len(self.source_rows.space)} {self.backbone.digest()} {self.seed}"

    def _train(self, method: Method, tasks: Tasks, visits: int, title: str, judged: tuple[str, ...] = ()) -> Run:
        """A run; with `judged` it keeps the weights that are best on validation tasks of these sources."""
        phases, notes = fit_phases(method.phases, tasks)
        phases = budgeted(phases, tasks, visits)
        if judged:
            phases = keeping_best(phases)
        try:
            trained = train(
                self.ground(),
                phases,
                tasks,
                key(self.seed, "finetuning"),
                validate=(lambda weights: self._accuracy(weights, judged)) if judged else None,
                checkpoints=self.finished.run(f"{self._known} {judged} {tasks.names} {text(replace(method, phases=phases))}"),
                label=title,
                quiet=self.quiet,
            )
        except Stopped:  # what it says is of runs that can be resumed
            raise Stopped from None
        self.done.visits += trained.visits
        return Run(trained, tuple(f"Finetuning: {note}." for note in notes))
