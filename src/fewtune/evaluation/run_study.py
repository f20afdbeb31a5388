"""Running a study: its cells one after the other; what is done already is not done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.evaluation.answers import Scores, score_each, score_table
from fewtune.evaluation.cells import Cell, CellValue, cells_of, key_of
from fewtune.evaluation.partial import NOTHING, Partial, slug
from fewtune.evaluation.result import SCHEMA, UNTRAINED, Result, Right, make_result
from fewtune.evaluation.study import DEFAULTS, Bench, Drawn, Study
from fewtune.evaluation.trainer import Learned, Learning
from fewtune.evaluation.training_settings import Cost
from fewtune.keys import key
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt
from fewtune.learning.world import ALONE, World
from fewtune.parts.heads.head import Head
from fewtune.spec import digest, text
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, eq=False)
class Outcomes:
    """The rows of all methods, the episodes by (setting, seed), what training cost, what was noticed, a sentence each, and where they are
    kept if that is not where it was asked for.

    `right`: which queries each cell answered correctly, bool [E, Q], by (setting, episode seed, method, training seed).
    """

    result: Result
    drawn: Drawn
    costs: tuple[Cost, ...]
    notes: tuple[str, ...]
    kept: Path | None = None
    right: Right = field(default_factory=dict)


def run_study(study: Study | Bench, partial: Partial = NOTHING, *, world: World = ALONE, quiet: bool = True) -> Outcomes:
    """Every method of the study on its episodes. What `partial` holds is read from there, what is new is kept there."""
    bench = study if isinstance(study, Bench) else Bench.of(study)
    runner = Runner(bench, partial, world, quiet)
    tested = [cell for cell in cells_of(bench) if cell.variant is None]  # a sweep is judged where its method is tested
    return assembled(bench, {cell: runner.value(cell) for cell in tested})


def assembled(bench: Bench, values: Mapping[Cell, CellValue]) -> Outcomes:
    """The outcome of a study from the values of its cells."""
    rows = _Rows(bench, digest(bench.text()))
    columns: list[dict[str, Any]] = []
    costs: list[Cost] = []
    right: dict[tuple[int, int, str, int], np.ndarray[Any, np.dtype[np.bool_]]] = {}
    notes: dict[str, None] = {}
    for number, one in enumerate(bench.studies):
        notes |= dict.fromkeys(_named(bench, number, _left_out(one)))
    for cell, value in values.items():
        notes |= dict.fromkeys(_named(bench, cell.study, value.notes))
        if value.cost is not None:
            costs.append(value.cost)
        for place, scores in value.scores.items():
            method = bench.methods[cell.method][DEFAULTS if value.cost is None else value.cost.chosen]
            trained = cell.seed if method.phases else UNTRAINED
            columns.append(rows.made(cell, method, trained, place, scores))
            right[bench.setting(cell.study, place[0]), place[1], cell.method, trained] = scores.right
    return Outcomes(make_result(columns), bench.draw(), tuple(costs), tuple(notes), right=right)


def _named(bench: Bench, study: int, sentences: Sequence[str]) -> list[str]:
    """Sentences on one of several studies, with its target and backbone before them."""
    if len(bench.studies) == 1:
        return list(sentences)
    several = [names[study] for names in (bench.targets, bench.backbones) if len(set(names)) > 1]
    return [f"{', '.join(several)}: {sentence}" for sentence in sentences]


@final
class Runner:
    """Computes cells of a bench, in any order."""

    def __init__(self, bench: Bench, partial: Partial, world: World = ALONE, quiet: bool = True) -> None:
        self.bench, self.partial = bench, partial
        self._each = [_Tester(study, partial, world, quiet, prefix) for study, prefix in zip(bench.studies, _prefixes(bench), strict=True)]

    def value(self, cell: Cell) -> CellValue:
        """The value of a cell: as it was kept, or computed and kept."""
        name = key_of(cell, self.bench)
        if (known := self.partial.cell(name)) is not None:
            return known
        value = self._each[cell.study].value(cell)
        self.partial.keep_cell(name, value)
        return value


def _prefixes(bench: Bench) -> list[str]:
    """What the names of files of each study begin with."""
    if len(bench.studies) == 1:
        return [""]
    return [f"{slug(target)}-{slug(backbone)}-" for target, backbone in zip(bench.targets, bench.backbones, strict=True)]


@final
class _Tester:
    """Computes the cells of one study."""

    def __init__(self, study: Study, partial: Partial, world: World, quiet: bool, prefix: str) -> None:
        self.study, self.partial, self._quiet, self._prefix = study, partial, quiet, prefix
        self.learning = Learning(study, partial, world, quiet)
        self._vectors: dict[tuple[str, ...], Any] = {}

    def value(self, cell: Cell) -> CellValue:
        variants = self.study.methods[cell.method]
        method = variants[DEFAULTS]
        if method.frozen:
            return CellValue({place: self._scores(method.head, episodes) for place, episodes in self.study.draw().items()})
        self.learning.begin()
        if cell.variant is not None:
            self.learning.judged(cell.method, variants, cell.variant)
            return CellValue({}, None, self.learning.notes)
        name = self.study.beside.get(cell.method, cell.method)
        chosen = self.learning.choose(name, self.study.methods[name])
        ready = self.learning.learn(cell.method, variants, chosen, cell.seed)
        scores = self._tested(ready)
        if ready.trained.moved:
            moved = {n: ready.trained.weights[n] for n in ready.trained.moved}
            self.partial.keep_model(self._prefix + cell.method, cell.seed, moved, ready.trained.curve)
        self.learning.forget(ready)
        return CellValue(scores, ready.cost, self.learning.notes)

    def _scores(self, head: Head, episodes: Episodes) -> Scores:
        """A frozen method's answers."""
        prompts = prompts_of(head)
        if head.reads_classes and prompts not in self._vectors:
            backbone = self.study.backbone
            self._vectors[prompts] = class_vectors(backbone, backbone.start(), self.study.target.class_names, prompts)
        return score_table(head, self.study.features, episodes, self._vectors.get(prompts), metric=self.study.judged)

    def _tested(self, ready: Learned) -> dict[tuple[int, int], Scores]:
        """A trained method's answers."""
        study, method = self.study, ready.method
        batches = tested_on(method, self.study.draw(), study.training.adapted)
        ground, at = Ground(study.backbone, study.target, method.edits), key(ready.cost.seed, "testing")
        found = score_each(
            ground, method.learner, ready.trained.weights, list(batches.values()), at=at, metric=self.study.judged, quiet=self._quiet
        )
        return dict(zip(batches, found, strict=True))


def _left_out(study: Study) -> tuple[str, ...]:
    """What of the target no episode is drawn from, a sentence for each setting that it holds for, or for all."""
    each = [protocol.left_out(study.target) for protocol in study.protocols]
    if len(set(each)) == 1:
        every = f", in every setting ({', '.join(p.shots for p in study.protocols)} shots)" if len(each) > 1 else ""
        return tuple(f"Test episodes: {sentence}{every}." for sentence in each[0])
    return tuple(
        f"Test episodes of {protocol.ways} ways and {protocol.shots} shots: {sentence}."
        for protocol, said in zip(study.protocols, each, strict=True)
        for sentence in said
    )


def tested_on(method: Method, drawn: Drawn, adapted: int) -> Drawn:
    """The episodes that a method is tested on: the first `adapted` of each batch where it moves weights on each of them, else all."""
    return {place: e[:adapted] for place, e in drawn.items()} if isinstance(method.learner, Adapt) else drawn


@final
@dataclass(frozen=True, eq=False)
class _Rows:
    """Makes the columns of a result."""

    bench: Bench
    identity: str

    def made(self, cell: Cell, method: Method, trained: int, place: tuple[int, int], scores: Scores) -> dict[str, Any]:
        number, seed = place
        count = len(scores.accuracy)
        study = self.bench.studies[cell.study]
        protocol, episodes = study.protocols[number], study.draw()[place]
        constant = {
            "study": self.identity,
            "target": self.bench.targets[cell.study],
            "backbone": self.bench.backbones[cell.study],
            "method": cell.method,
            "spec": text(method),
            "setting": self.bench.setting(cell.study, number),
            "seed": seed,
            "training": trained,
            "ways": protocol.ways,
            "shots": protocol.shots,
            "metric": study.metric,
        }
        columns = {
            "episode": np.arange(count),
            "task": study.task_names(number)[episodes.task.numpy()][:count],
            "value": scores.judged,
            "loss": scores.loss,
            "seconds": [scores.seconds / count] * count,
        }
        return {f.name: columns[f.name] if f.name in columns else [constant[f.name]] * count for f in SCHEMA}
