"""Learning within a study: the same sources, budget, sweep and validation episodes for every method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final

import numpy as np
from torch import Tensor

from fewtune.errors import Diverged, InputError
from fewtune.evaluation.answers import score_each
from fewtune.evaluation.class_roles import tasks_of
from fewtune.evaluation.edges import edges
from fewtune.evaluation.identity import judged_by, trained_identity
from fewtune.evaluation.memory import peak_memory
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.study import DEFAULTS, Study, Variants
from fewtune.evaluation.task_choice import candidate_ways, candidates_of, chooses, chosen_again, evidence_of, resolved
from fewtune.evaluation.training_settings import Cost
from fewtune.keys import key
from fewtune.learning.budget import budgeted, fit_phases
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase, Step, phases_of
from fewtune.learning.train import Trained, train
from fewtune.learning.world import World
from fewtune.spec import digest
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.fit import fitted, left_out
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection import Evidence
from fewtune.tasks.task import Tasks
from fewtune.words import option


@final
@dataclass(frozen=True, eq=False)
class Learned:
    """A method ready to be tested. `identity` is a hash of everything that its weights depend on."""

    method: Method
    ground: Ground
    trained: Trained
    cost: Cost
    identity: str


@final
class Learning:
    """Trains the methods of one study."""

    def __init__(self, study: Study, partial: Partial, world: World, quiet: bool) -> None:
        self.study, self.partial, self.world, self.quiet = study, partial, world, quiet
        self._notes: dict[str, None] = {}
        self._chosen: dict[str, tuple[str, tuple[str, ...]]] = {}  # by method: what its sweep chose, and what was said
        self._ready: dict[str, Learned] = {}
        self._candidates: dict[int, Tasks] = {}  # by their ways

    def begin(self) -> None:
        """From here on `notes` are those of another cell."""
        self._notes = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed since the cell began, a sentence each."""
        return tuple(self._notes)

    def choose(self, name: str, variants: Variants) -> str:
        """The variant that is best on validation episodes, trained by the first seed; ties go to the first one."""
        if name not in self._chosen:
            before, self._notes = self._notes, {}
            self._chosen[name] = self._choice(name, variants), self.notes
            self._notes = before
        chosen, said = self._chosen[name]
        self._notes |= dict.fromkeys(said)
        return chosen

    def judged(self, name: str, variants: Variants, label: str) -> tuple[float, Cost | None]:
        """How good a variant is on validation episodes (`_validated`), trained by the first seed, and its cost; minus infinity where it
        diverged.
        """
        if not self.validation:
            return float("-inf"), None
        try:
            ready = self.learn(name, variants, label, self.study.training.seeds[0])
            return self._validated(ready), ready.cost
        except Diverged:
            return float("-inf"), None

    def _choice(self, name: str, variants: Variants) -> str:
        swept = [label for label in variants if label != DEFAULTS]
        if not swept:
            return DEFAULTS
        if not self.validation:
            self._notes[f"{name}: fewer than two validation classes, so nothing was swept: its defaults stand."] = None
            return DEFAULTS
        found = {label: self.judged(name, variants, label)[0] for label in swept}
        if max(found.values()) == float("-inf"):
            raise InputError(f"{name} diverged at every value of the sweep: lower the values.")
        best = max(found, key=lambda label: found[label])
        self._ready = {i: r for i, r in self._ready.items() if r.cost.method != name or r.cost.chosen == best}
        tried = ", ".join(f"{label} {'diverged' if a == float('-inf') else f'{100 * a:.1f}'}" for label, a in found.items())
        self._notes[f"{name}: {best} was chosen on validation episodes ({tried})."] = None
        for edge in edges(best, swept):
            self._notes[f"{name}: {edge}."] = None
        return best

    def learn(self, name: str, variants: Variants, label: str, seed: int) -> Learned:
        """The method trained by this seed."""
        method = variants[label]
        phases = self._phases(name, method)
        identity = trained_identity(self.study, phases, method, seed)
        if identity in self._ready:
            known = self._ready[identity]
            return replace(known, method=method, cost=replace(known.cost, method=name, chosen=label))
        ground = Ground(self.study.backbone, self.study.source or self.study.target, method.edits)
        title = " ".join(filter(None, (name, label, f"seed {seed}")))
        tasks = self._drawn_from(method) if phases else _NONE
        checkpoints = Checkpoints(self.partial.folder_of(identity) if phases else None, writes=self.world.leads, write=self.partial.write)
        with peak_memory(ground.backbone.machine.device) as peak:
            trained = train(
                ground,
                phases,
                tasks,
                key(seed, "training"),
                validate=(lambda weights: self._judged(method, ground, weights)) if self.validation else None,
                checkpoints=checkpoints,
                world=self.world,
                before=lambda phase, weights: self._begun(phase, weights, ground, tasks),
                watch=self.study.training.watch,
                label=title,
                quiet=self.quiet,
            )
        cost = Cost(
            method=name, seed=seed, chosen=label, visits=trained.visits, steps=trained.steps, seconds=trained.seconds, memory=peak()
        )
        self._ready[identity] = Learned(method, ground, trained, cost, identity)
        return self._ready[identity]

    def _begun(self, phase: Phase, weights: Mapping[str, Tensor], ground: Ground, tasks: Tasks) -> Phase:
        """A phase as it begins: with the tasks that it chooses anew."""
        study = self.study
        return phase if study.reserved is None else chosen_again(phase, weights, ground, study.target, tasks, study.reserved)

    def planned(self, name: str, method: Method) -> tuple[tuple[Step, ...], Tasks]:
        """The source phases of a method as the source and the budget allow them, and what they draw from."""
        return self._phases(name, method), self._drawn_from(method)

    def forget(self, ready: Learned) -> None:
        """Give the memory of a tested method back."""
        self._ready.pop(ready.identity, None)

    def _validated(self, ready: Learned) -> float:
        """The mean of what the study is judged by on validation episodes, kept once it is known."""
        asked = digest("\n".join([ready.identity, *judged_by(self.study, ready.method)]))
        return self.partial.number(asked, lambda: self._judged(ready.method, ready.ground, ready.trained.weights))

    def _judged(self, method: Method, ground: Ground, weights: Mapping[str, Tensor]) -> float:
        few = self.study.training.adapted if isinstance(method.learner, Adapt) else None
        batches = [episodes[:few] for episodes in self.validation]
        scores = score_each(ground.metered(), method.learner, weights, batches, at=key(0, "validation"), metric=self.study.judged)
        return float(np.mean([s.judged.mean() for s in scores]))

    def _phases(self, name: str, method: Method) -> tuple[Step, ...]:
        """The method's source phases as the source and the budget allow them."""
        if not method.phases:
            return ()
        tasks, phases = self._drawn_from(method), method.phases
        if chooses(method):
            phases = self._resolved(name, method, tasks)
        phases, notes = fit_phases(phases, tasks)
        for note in notes:
            self._notes[f"{name}: {note}."] = None
        visits = self.study.training.visits
        return budgeted(phases, tasks, visits) if visits else phases

    def _drawn_from(self, method: Method) -> Tasks:
        """What a method's source phases draw from: the sources, or the candidates that it chooses among."""
        if not chooses(method):
            return self.tasks
        tasks = self.tasks  # says what is missing
        assert self.study.source is not None
        ways = candidate_ways(method)
        if ways not in self._candidates:
            self._candidates[ways] = candidates_of(tasks, self.study.source, ways, self.study.training.candidates)
        return self._candidates[ways]

    def _resolved(self, name: str, method: Method, tasks: Tasks) -> tuple[Step, ...]:
        """The phases with the tasks that were chosen, once for all variants and seeds of a choice."""
        if self.study.reserved is None:
            raise InputError(f"{name} chooses its tasks by rows of the target that no query uses, and none were reserved.")
        found = resolved(method.phases, tasks, self._evidence)
        chosen = max(len(p.sampler.selection.select(tasks)) for p in phases_of(found) if isinstance(p.sampler, Chosen))
        self._notes[f"{name}: {chosen:,} of {len(tasks):,} candidate tasks were chosen."] = None
        return found

    @cached_property
    def _evidence(self) -> Evidence:
        assert self.study.reserved is not None and self.study.source is not None
        return evidence_of(self.study.backbone, self.study.source, self.study.features, self.study.reserved)

    @cached_property
    def tasks(self) -> Tasks:
        """What source phases draw from."""
        found = self._part("train")
        if found is None:
            raise InputError(
                f"methods that learn from a source need one: give {option('--source DATA', 'sources=[...]')}; its train classes are used."
            )
        return found

    @property
    def validation(self) -> tuple[Episodes, ...]:
        """The validation episodes, one batch a setting; none where there are fewer than two validation classes."""
        episodes, said = self._validation
        self._notes |= dict.fromkeys(said)
        return episodes

    @cached_property
    def _validation(self) -> tuple[tuple[Episodes, ...], tuple[str, ...]]:
        """These, and what was noticed."""
        tasks = self._part("validation")
        if tasks is None:
            return (), ()
        made, said = [], []
        for number, protocol in enumerate(self.study.protocols):
            asked = protocol.sampler if isinstance(protocol.sampler, Sampled) else Sampled()
            sampler, _ = fitted(asked, tasks)
            said += [f"Validation episodes: {sentence}." for sentence in left_out(tasks, *sampler.needs)]
            made.append(sampler.draw(tasks, key(0, "validation", number), 0, self.study.training.validation))
        return tuple(made), tuple(said)

    def _part(self, part: Literal["train", "validation"]) -> Tasks | None:
        return None if self.study.source is None else tasks_of(self.study.source, part, self.study.training.within)


_EMPTY = np.zeros(0, dtype=np.int64)
_NONE = Tasks(_EMPTY, _EMPTY, _EMPTY, _EMPTY, _EMPTY, np.zeros(1, dtype=np.int64), ())
