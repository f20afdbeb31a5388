"""One cell of the grid: every method of one task configuration, trained by one seed, on its dev and test tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, final

import numpy as np
import pyarrow as pa
import torch

from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import Result
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.study import Study, Variants
from fewtune.evaluation.trainer import Learned, Learning
from fewtune.evaluation.training_settings import Training
from fewtune.learning.ground import Ground
from fewtune.learning.world import World
from fewtune.lengths import unit
from fewtune.spec import digest
from fewtune.studies.mamf.bench import Bench
from fewtune.studies.mamf.lines import FOMAML, MAMF, ZERO_SHOT, Configuration, methods_of, with_new_heads
from fewtune.studies.mamf.new_heads import with_random_heads
from fewtune.studies.mamf.settings import MamfSettings
from fewtune.tasks.samplers import Sampled
from fewtune.transfer import variance_ratio

Kind: TypeAlias = Literal["grid", "ablation"]
Part: TypeAlias = Literal["validation", "test"]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
PARTS: dict[str, str] = {"validation": "dev", "test": "test"}  # by the classes of their protocol
SCHEMA = pa.schema(
    [
        ("cell", pa.string()),  # digest of everything that the value depends on
        ("data", pa.string()),
        ("part", pa.string()),  # dev or test
        ("kind", pa.string()),  # grid or ablation
        ("ways", pa.int32()),  # N
        ("tasks", pa.int32()),  # T, of training
        ("classes", pa.int32()),  # M
        ("rows", pa.int32()),  # S, training rows of a class
        ("seed", pa.int64()),
        ("method", pa.string()),
        ("spec", pa.string()),
        ("episode", pa.int32()),
        ("value", pa.float64()),  # accuracy
        ("loss", pa.float64()),
        ("seconds", pa.float64()),
        ("visits", pa.int64()),  # rows that training looked at
    ]
)


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """What a trained method makes of the test rows: unit features [N, D], and within- over between-class variance."""

    features: Floats
    ratio: float


@final
@dataclass(frozen=True, eq=False)
class Finished:
    """`rows` with the columns of SCHEMA; `seen` by method, in a cell of the grid; `notes`: what was noticed, a sentence each."""

    rows: pa.Table
    seen: Mapping[str, Seen]
    notes: tuple[str, ...]


@final
@dataclass(frozen=True, eq=False)
class Cell:
    """What is run: `studies`, one on the backbone as it is and, where asked for, one with new heads."""

    bench: Bench
    kind: Kind
    configuration: Configuration
    studies: tuple[Study, ...]

    @property
    def identity(self) -> str:
        """A digest of everything that the results depend on."""
        return digest("\n".join([self.kind, repr(self.configuration), *(study.text() for study in self.studies)]))


def make_cell(bench: Bench, kind: Kind, configuration: Configuration, settings: MamfSettings) -> Cell:
    """The methods of a configuration as studies; an ablation has those whose training tasks are counted, on test tasks."""
    methods = methods_of(configuration, settings, bench.prompts, bench.tasks)
    if kind == "ablation":
        methods = {name: methods[name] for name in (FOMAML, MAMF)}
    parts: tuple[Part, ...] = ("validation", "test") if kind == "grid" else ("test",)
    studies = [_study(bench, configuration, settings, methods, parts)]
    if settings.new_heads and kind == "grid":
        fresh = replace(bench, backbone=with_random_heads(bench.backbone, bench.seed))
        studies.append(_study(fresh, configuration, settings, with_new_heads(methods), parts))
    return Cell(bench, kind, configuration, tuple(studies))


def run_cell(cell: Cell, partial: Partial, *, world: World, quiet: bool) -> Finished:
    """Train and test every method."""
    tables, seen, notes = [], dict[str, Seen](), dict[str, None]()
    if cell.kind == "grid":
        seen[ZERO_SHOT] = _judged(cell.bench, cell.bench.features[_test_rows(cell.bench)])
    for study in cell.studies:
        outcomes = run_study(study, partial, world=world, quiet=quiet)
        tables.append(_table(cell, outcomes))
        notes |= dict.fromkeys(outcomes.notes)
        if cell.kind == "grid":
            learning = Learning(study, partial, world, quiet)  # reads what was just trained from its last checkpoint
            for cost in outcomes.costs:
                seen[cost.method] = _seen(cell.bench, learning.learn(cost.method, study.methods[cost.method], cost.chosen, cost.seed))
    return Finished(pa.concat_tables(tables), seen, tuple(notes))


def _study(
    bench: Bench, configuration: Configuration, settings: MamfSettings, methods: Mapping[str, Variants], parts: tuple[Part, ...]
) -> Study:
    count = settings.episodes or configuration.tasks
    sampler = Sampled(ways=configuration.ways, shots=settings.shots, queries=settings.queries)
    protocols = tuple(Protocol(sampler=sampler, episodes=count, seeds=(bench.seed,), classes=part) for part in parts)
    training = Training(seeds=(bench.seed,), sweep=settings.sweep, adapted=count, validation=count)
    return Study(bench.target, bench.backbone, bench.features, protocols, methods, bench.source, training)


def _test_rows(bench: Bench) -> torch.Tensor:
    return torch.arange(int(bench.target.starts[1]), len(bench.target))


def _seen(bench: Bench, ready: Learned) -> Seen:
    """The test rows by the weights that training ended with, before any update on a test task."""
    ground = Ground(ready.ground.backbone, bench.target, ready.method.edits)
    with torch.no_grad():
        return _judged(bench, ground.embed(ready.trained.weights, _test_rows(bench)[None])[0])


def _judged(bench: Bench, features: torch.Tensor) -> Seen:
    found = unit(features.double()).cpu().numpy()
    return Seen(found, variance_ratio(found, bench.division.test.labels))


def _table(cell: Cell, outcomes: Outcomes) -> pa.Table:
    """The rows of a study under the names of the grid."""
    result, asked = Result(outcomes.result.table), cell.configuration
    visits = {cost.method: cost.visits for cost in outcomes.costs}
    count = len(result.table)
    methods = result.table["method"].to_pylist()
    constant: dict[str, Any] = {
        "cell": cell.identity,
        "data": cell.bench.name,
        "kind": cell.kind,
        "ways": asked.ways,
        "tasks": asked.tasks,
        "classes": asked.classes,
        "rows": asked.rows,
        "seed": cell.bench.seed,
    }
    columns = {name: [value] * count for name, value in constant.items()}
    columns |= {name: result.table[name].to_pylist() for name in ("method", "spec", "episode", "value", "loss", "seconds")}
    parts = [PARTS[protocol.classes] for protocol in cell.studies[0].protocols]
    columns["part"] = [parts[setting] for setting in result.table["setting"].to_pylist()]
    columns["visits"] = [visits.get(name, 0) for name in methods]
    return pa.table({field.name: columns[field.name] for field in SCHEMA}, schema=SCHEMA)
