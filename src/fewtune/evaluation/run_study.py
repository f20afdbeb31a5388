"""Running a study: its cells one after the other; what is done already is not done again."""

from __future__ import annotations

from typing import Any, final

from fewtune.evaluation.answers import Scores, score_each, score_table
from fewtune.evaluation.assembling import Outcomes, assembled
from fewtune.evaluation.cells import Cell, CellValue, cells_of, key_of
from fewtune.evaluation.outline import outline_of
from fewtune.evaluation.partial import NOTHING, Partial, slug
from fewtune.evaluation.study import DEFAULTS, Bench, Drawn, Study
from fewtune.evaluation.trainer import Learned, Learning
from fewtune.keys import key
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt
from fewtune.learning.world import ALONE, World
from fewtune.parts.heads.head import Head
from fewtune.tasks.episodes import Episodes


def run_study(study: Study | Bench, partial: Partial = NOTHING, *, world: World = ALONE, quiet: bool = True) -> Outcomes:
    """Every method of the study on its episodes. What `partial` holds is read from there, what is new is kept there."""
    bench = study if isinstance(study, Bench) else Bench.of(study)
    runner = Runner(bench, partial, world, quiet)
    tested = [cell for cell in cells_of(bench) if cell.variant is None]  # a sweep is judged where its method is tested
    return assembled(outline_of(bench), bench.draw(), bench.task_names(), {cell: runner.value(cell) for cell in tested})


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

    def learning(self, study: int) -> Learning:
        """What trains the methods of a study."""
        return self._each[study].learning


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
            return CellValue({place: answer_frozen(self.study, method.head, e, self._vectors) for place, e in self.study.draw().items()})
        self.learning.begin()
        if cell.variant is not None:
            _, cost = self.learning.judged(cell.method, variants, cell.variant)
            return CellValue({}, cost, self.learning.notes)
        name = self.study.beside.get(cell.method, cell.method)
        chosen = self.learning.choose(name, self.study.methods[name])
        ready = self.learning.learn(cell.method, variants, chosen, cell.seed)
        scores = self._tested(ready)
        if ready.trained.moved:
            moved = {n: ready.trained.weights[n] for n in ready.trained.moved}
            self.partial.keep_model(self._prefix + cell.method, cell.seed, moved, ready.trained.curve)
        self.learning.forget(ready)
        return CellValue(scores, ready.cost, self.learning.notes)

    def _tested(self, ready: Learned) -> dict[tuple[int, int], Scores]:
        """A trained method's answers."""
        study, method = self.study, ready.method
        batches = tested_on(method, self.study.draw(), study.training.adapted)
        ground, at = Ground(study.backbone, study.target, method.edits), key(ready.cost.seed, "testing")
        found = score_each(
            ground, method.learner, ready.trained.weights, list(batches.values()), at=at, metric=self.study.judged, quiet=self._quiet
        )
        return dict(zip(batches, found, strict=True))


def answer_frozen(study: Study, head: Head, episodes: Episodes, vectors: dict[tuple[str, ...], Any] | None = None) -> Scores:
    """A frozen method's answers; `vectors`: class vectors that are known already, by their prompts."""
    known, prompts = {} if vectors is None else vectors, prompts_of(head)
    if head.reads_classes and prompts not in known:
        known[prompts] = class_vectors(study.backbone, study.backbone.start(), study.target.class_names, prompts)
    return score_table(head, study.features, episodes, known.get(prompts), metric=study.judged, fast=study.backbone.machine.fast)


def tested_on(method: Method, drawn: Drawn, adapted: int) -> Drawn:
    """The episodes that a method is tested on: the first `adapted` of each batch where it moves weights on each of them, else all."""
    return {place: e[:adapted] for place, e in drawn.items()} if isinstance(method.learner, Adapt) else drawn
