"""`pretrain`: a backbone learns from data before it is adapted; everything through the one engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import refuse_unreadable
from fewtune.backbones.own_module import is_own
from fewtune.backbones.scale import with_scale
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.marks import Marks
from fewtune.learning.phase import Phase
from fewtune.learning.train import Trained, train
from fewtune.learning.world import ALONE, World
from fewtune.models.named_backbone import load_backbone
from fewtune.pretraining.objectives import Objective, objective_of
from fewtune.pretraining.outcome import Pretrained
from fewtune.pretraining.plan import Length, planned_again, rows_of, seconds_of, steps_of_visits
from fewtune.pretraining.probe import Probe, probe_of
from fewtune.pretraining.rows import Rows, divided
from fewtune.pretraining.run import RunFolder
from fewtune.pretraining.settings import PretrainSettings
from fewtune.spec import digest, text
from fewtune.tasks.task import Tasks, class_rows
from fewtune.words import counted, noun_of

FRESH, GIVEN = 1e-3, 1e-4  # the usual rates from random weights and from others
PRETRAINED = "pretrained"  # a line of a backbone's source


@final
@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """How a run is done; nothing here changes its result. `say`: is called with what is about to be done. `page`: the page of a record.
    `dry`: say the plan and stop."""

    world: World = ALONE
    quiet: bool = True
    say: Callable[[str], None] = lambda _: None
    page: Callable[[Mapping[str, Any]], str] = lambda _: ""
    dry: bool = False


def pretrain_examples(
    sources: Sequence[Examples], backbone: Backbone, settings: PretrainSettings, keeping: Keeping, at: Surroundings = Surroundings()
) -> Pretrained | None:
    """Train a backbone on collections and write the run into `keeping.out`; None after a dry run.

    Raises InputError where data, backbone and objective do not fit, or the folder is not to be written; Stopped when the user stops the
    run, which `keeping.resume` continues bit for bit.
    """
    _check(sources, backbone)
    work = _Work.of(sources, backbone, settings, at)
    for sentence in work.objective.told:
        at.say(sentence)
    if work.probe is not None:
        at.say(work.probe.sentence)
    folder = RunFolder(keeping, work.identity, world=at.world)
    if (record := folder.finished()) is not None:
        at.say(f"This run is complete in {folder.out}.")
        return Pretrained(load_backbone(f"run:{folder.out}", machine=backbone.machine), folder.out, record, at.world.leads)
    if at.dry:
        work.say_length(work.length())
        return None
    with folder:
        at.world.any(False)  # what an earlier run left is gone, or kept, before any process looks
        known = folder.fact("length")
        length = work.length() if known is None else planned_again(known)
        if known is None:
            folder.keep_fact("length", asdict(length))
        work.say_length(length)
        return work.done(folder, length)


def _check(sources: Sequence[Examples], backbone: Backbone) -> None:
    """Raise InputError for data of another modality than the backbone's, and for a backbone that has no weights or cannot be kept."""
    modality = backbone.preparation.modality
    for one in sources:
        if one.modality != modality:
            raise InputError(
                f"{one.name} holds {noun_of(one.modality)}s, but {backbone.name} reads {noun_of(modality)}s: give a backbone for them."
            )
    if not any(names for _, names in backbone.groups):
        raise InputError(f"{backbone.name} has no weights, so there is nothing to pretrain: give a network such as conv4 or timm:NAME.")
    if is_own(backbone.name):
        raise InputError("your own network cannot be written into a run's folder, only its weights: train it with fewtune.learning.train.")


@final
@dataclass(frozen=True, eq=False)
class _Work:
    """A run that is ready to be measured and done. `backbone`: what it begins with; `ground` has the network that is trained."""

    backbone: Backbone
    ground: Ground
    tasks: Tasks
    objective: Objective
    probe: Probe | None
    settings: PretrainSettings
    identity: str
    at: Surroundings

    @staticmethod
    def of(sources: Sequence[Examples], backbone: Backbone, settings: PretrainSettings, at: Surroundings) -> _Work:
        read = [_readable(one, settings.skip_bad) for one in sources]
        rows = [divided(one, key(settings.seed, "rows", number)) for number, one in enumerate(read)]
        objective = objective_of([one.train for one in rows], backbone, settings)
        space = RowSpace(objective.examples, remember=int(settings.memory * 2**30))
        probe = next(filter(None, map(probe_of, rows)), None) if settings.probe else None
        identity = digest("\n".join([f"pretrain 2 {settings}", backbone.digest(), *map(_facts, rows), *map(_learned, objective.examples)]))
        trained = backbone if objective.masked is None else objective.masked.backbone
        return _Work(backbone, Ground(trained, space), class_rows(space), objective, probe, settings, identity, at)

    @property
    def lr(self) -> float:
        fresh = self.backbone.source.get("weights") == "random" and PRETRAINED not in self.backbone.source
        return self.settings.lr or (FRESH if fresh else GIVEN)

    def phase(self, steps: int) -> Phase:
        return self.objective.phase(steps, self.lr, self.settings)

    def length(self) -> Length:
        """How long the run is by its budget; an update is timed."""
        rows = rows_of(self.phase(1), self.tasks)
        steps = steps_of_visits(self.settings.visits, rows) if self.settings.visits else 0
        seconds = seconds_of(self.ground, self.phase(1), self.tasks, self.at.world)
        if not steps:
            steps = int(60 * self.settings.minutes / seconds)
        if not steps:
            raise InputError(f"a budget of minutes={self.settings.minutes:g} does not allow one update, which takes {seconds:.1f} s here.")
        return Length(steps=steps, rows=rows, seconds=seconds)

    def say_length(self, length: Length) -> None:
        self.at.say(length.sentence(int(self.tasks.count.sum()), length.marks(self.settings.checkpoints)))

    def done(self, folder: RunFolder, length: Length) -> Pretrained:
        """Train, look at the run on the way, and write what came of it."""
        first = self._probed(self.ground.start())

        def look(step: int, weights: Mapping[str, Tensor]) -> Mapping[str, float]:
            folder.keep_step(step, self._made(weights, step), self._written(weights))
            return self._probed(weights)

        marks = length.marks(self.settings.checkpoints)
        trained = train(
            self.ground,
            (self.phase(length.steps),),
            self.tasks,
            key(self.settings.seed, "pretraining"),
            checkpoints=folder.checkpoints,
            world=self.at.world,
            marks=Marks(frozenset(marks), look),
            label="pretraining",
            quiet=self.at.quiet,
        )
        made = self._made(trained.weights, length.steps)
        record = self._record(
            trained, length, [{"step": 0, **first}, *self._measured(trained), {"step": length.steps, **self._probed(trained.weights)}]
        )
        if not self.at.world.leads:
            return Pretrained(made, folder.out, record, leads=False)
        return Pretrained(made, folder.finish(made, record, self.at.page(record), self._written(trained.weights)), record)

    def _made(self, weights: Mapping[str, Tensor], step: int) -> Backbone:
        """The backbone with these weights; its source says where they come from."""
        backbone, masked = self.backbone, self.objective.masked
        names = {n: n for n in backbone.start()} if masked is None else masked.encoder
        moved = backbone.with_weights({n: weights[at] for n, at in names.items()})
        data = ", ".join(one.name for one in self.objective.examples)
        if (scale := self.objective.scale(self.ground, weights)) is not None:
            moved = with_scale(moved, scale)
        said = f"{self.settings.objective} on {data}, {counted(step, 'update')} (run {self.identity[:12]})"
        before = backbone.source.get(PRETRAINED)
        return replace(moved, origin=None, source={**backbone.source, PRETRAINED: said if before is None else f"{before}, then {said}"})

    def _written(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """What is written where that is more than the backbone: the head over the vocabulary."""
        return None if self.objective.masked is None else self.objective.masked.written(weights)

    def _probed(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        return {} if self.probe is None else {"probe": self.probe.accuracy(self.ground.backbone, weights)}

    def _measured(self, trained: Trained) -> list[dict[str, float]]:
        return [{"step": row["step"] + 1, "probe": row["probe"]} for row in trained.curve if "probe" in row]

    def _record(self, trained: Trained, length: Length, probed: list[dict[str, float]]) -> dict[str, Any]:
        backbone, settings, probe = self.backbone, self.settings, self.probe
        accuracies = []
        for point in probed if probe is not None else ():
            low, high = probe.interval(point["probe"]) if probe is not None else (0.0, 1.0)
            accuracies.append({"step": point["step"], "accuracy": point["probe"], "low": low, "high": high})
        read = self.ground.read(self.objective.head, trained.weights)
        return {
            "objective": settings.objective,
            "loss": settings.minimised,
            "settings": {**asdict(settings), "templates": list(settings.templates), "view": text(settings.seen)},
            "lr": self.lr,
            "backbone": {"name": backbone.name, "digest": backbone.digest(), "source": dict(backbone.source)},
            "data": [{"name": one.name, "rows": len(one), "digest": one.digest()} for one in self.objective.examples],
            "steps": trained.steps,
            "visits": trained.visits,
            "seconds": trained.seconds,
            "processes": self.at.world.size,
            "learned": {n: float(t) for n, t in read.items() if t.ndim == 0 and t.is_floating_point()},
            "curve": [{**row, "step": row["step"] + 1} for row in trained.curve],
            "probe": None
            if probe is None
            else {
                "told": probe.sentence,
                "classes": len(probe.fit.class_names),
                "rows": len(probe.judge),
                "accuracies": accuracies,
            },
            "checkpoints": list(length.marks(settings.checkpoints)),
            "remarks": list(self.objective.told),
        }


def _readable(examples: Examples, skip_bad: bool) -> Examples:
    """The rows that can be read. Raises InputError with the others, unless `skip_bad`."""
    bad = unreadable(examples, deep=False)
    refuse_unreadable(examples, bad, skip_bad)
    return examples.take(np.setdiff1d(np.arange(len(examples)), list(bad))) if bad else examples


def _facts(rows: Rows) -> str:
    """What the probe of a run depends on."""
    sides = [one for one in (rows.fit, rows.judge) if one is not None]
    return " ".join(f"{one.digest()} {digest(repr(one.labels.tolist()))}" for one in sides)


def _learned(examples: Examples) -> str:
    """What training depends on of a collection."""
    return f"{examples.name} {examples.digest()} {digest(repr((examples.labels.tolist(), examples.class_names)))}"
