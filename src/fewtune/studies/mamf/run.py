"""Running the grid: for each collection and seed, each N with its T, and the ablation over T."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import pyarrow as pa

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.data.unreadable import refuse_unreadable, unreadable
from fewtune.errors import InputError
from fewtune.evaluation.facts import backbone_fact, collection_fact
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.run_folder import Keeping
from fewtune.learning.world import ALONE, World
from fewtune.spec import digest, text
from fewtune.stopping import Stopped
from fewtune.studies.mamf import kept_cells
from fewtune.studies.mamf.bench import Bench, check_backbone, make_bench
from fewtune.studies.mamf.cell import Cell, Finished, Kind, Seen, make_cell, run_cell
from fewtune.studies.mamf.lines import MAMF, Configuration, visits_of
from fewtune.studies.mamf.settings import MamfSettings
from fewtune.tasks.counted import tasks_needed
from fewtune.version import __version__


@final
@dataclass(frozen=True, eq=False)
class Picture:
    """What the methods of one cell make of the test rows of its collection: `seen` by method, `labels` [N] with their `names`."""

    data: str
    ways: int
    seed: int
    labels: tuple[int, ...]
    names: tuple[str, ...]
    seen: dict[str, Seen]


@final
@dataclass(frozen=True, eq=False)
class Ran:
    """What the study found: `rows` with the columns of `cell.SCHEMA`; `ratios`: (collection, N, seed, method, within- over between-class
    variance); `pictures`: one for each collection, of its first seed; `notes`: what was noticed, a sentence each. `identity` stands for
    all that it depends on, which `facts` spells out."""

    rows: pa.Table
    ratios: tuple[tuple[str, int, int, str, float], ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]
    settings: MamfSettings
    facts: str

    @property
    def identity(self) -> str:
        return digest(self.facts)


def facts_of(data: Sequence[Examples], backbone: Backbone, settings: MamfSettings) -> str:
    """All that the results depend on, one fact a line."""
    lines = [f"fewtune {__version__}", "study mamf", backbone_fact(backbone), *(collection_fact(one, "data") for one in data)]
    return "\n".join([*lines, f"settings {text(settings)}"])


def run_grid(
    data: Sequence[Examples],
    backbone: Backbone,
    settings: MamfSettings,
    keeping: Keeping,
    *,
    world: World = ALONE,
    quiet: bool = True,
) -> tuple[Ran, Partial]:
    """The whole study, and the folder of what was done on the way, to be discarded once the results are written.

    With `keeping.out` that folder stands beside it, and `keeping.resume` goes on from there; without, it is a temporary one. Raises
    InputError for data, a backbone and settings that do not fit, before anything is trained.
    """
    for one in data:
        check_backbone(backbone, one)
        refuse_unreadable(one, unreadable(one))
    if repeated := {one.name for one in data if [other.name for other in data].count(one.name) > 1}:
        raise InputError(f"two data sets are called {sorted(repeated)[0]!r}: rename one of them.")
    facts = facts_of(data, backbone, settings)
    planned = [list(_cells(examples, backbone, settings, settings.seeds[0], quiet)) for examples in data]
    partial = _partial(facts, keeping, world)
    try:
        ran = _run(data, backbone, settings, facts, planned, partial, world=world, quiet=quiet)
    except Stopped as stopped:
        raise Stopped(str(stopped) or "stopped; run the same command again with --resume to go on from there.") from None
    except BaseException:
        if keeping.out is None:
            discard(partial)
        raise
    return ran, partial


def discard(partial: Partial) -> None:
    """Remove the folder of what was done on the way."""
    partial.discard()
    if partial.folder is not None and partial.folder.parent.name.startswith(_SCRATCH):
        shutil.rmtree(partial.folder.parent, ignore_errors=True)


_SCRATCH = "fewtune-mamf-"


def _partial(facts: str, keeping: Keeping, world: World) -> Partial:
    wanted = digest(facts)
    if keeping.out is None:
        partial = Partial(Path(tempfile.mkdtemp(prefix=_SCRATCH)) / "run", writes=world.leads)
        partial.begin(wanted)
        return partial
    out = keeping.out.resolve()
    partial = Partial(out.with_name(f"{out.name}.partial"), writes=world.leads)
    partial.open(wanted, resume=keeping.resume, overwrite=keeping.overwrite, wait=lambda: world.any(False))
    return partial


def _run(
    data: Sequence[Examples],
    backbone: Backbone,
    settings: MamfSettings,
    facts: str,
    planned: list[list[Cell]],
    partial: Partial,
    *,
    world: World,
    quiet: bool,
) -> Ran:
    tables: list[pa.Table] = []
    ratios: list[tuple[str, int, int, str, float]] = []
    pictures: list[Picture] = []
    notes: dict[str, None] = {}
    for examples, first in zip(data, planned, strict=True):
        shown = _shown(first, settings)
        for seed in settings.seeds:
            for cell in first if seed == settings.seeds[0] else _cells(examples, backbone, settings, seed, quiet):
                found = _finished(cell, partial, world, quiet)
                tables.append(found.rows)
                ratios += [(examples.name, cell.configuration.ways, seed, name, seen.ratio) for name, seen in found.seen.items()]
                notes |= {f"{examples.name}, N = {cell.configuration.ways}: {sentence}": None for sentence in found.notes}
                if cell is shown:
                    pictures.append(_picture(cell, found))
            partial.forget_models()  # each seed trains anew; classical finetuning is the same for all N of one
    return Ran(pa.concat_tables(tables), tuple(ratios), tuple(pictures), tuple(notes), settings, facts)


def _finished(cell: Cell, partial: Partial, world: World, quiet: bool) -> Finished:
    known = kept_cells.find(partial, cell.identity)
    if known is not None:
        return known
    found = run_cell(cell, partial, world=world, quiet=quiet)
    return kept_cells.keep(partial, cell.identity, found) if world.leads else found


def _cells(examples: Examples, backbone: Backbone, settings: MamfSettings, seed: int, quiet: bool) -> Iterator[Cell]:
    """The grid of one collection and seed, then its ablation."""
    bench = make_bench(examples, backbone, settings, seed, quiet=quiet)
    for kind, configuration in configurations(bench, settings):
        yield make_cell(bench, kind, configuration, settings)


def configurations(bench: Bench, settings: MamfSettings) -> list[tuple[Kind, Configuration]]:
    """Each N with its T, then the other T of the ablation that the budget has a row of each class for."""
    division = bench.division
    most = min(len(part.class_names) for part in (division.train, division.dev, division.test))
    ways = settings.ways or tuple(range(2, most + 1))
    made: list[tuple[Kind, Configuration]] = []
    for n in ways:
        needed = tasks_needed(division.classes, n, miss=settings.miss, bound=settings.bound)
        made.append(("grid", Configuration(ways=n, tasks=needed, classes=division.classes, rows=division.rows)))
    middle = next((one for _, one in made if one.ways == settings.ablation_ways), None)
    if middle is not None and middle.ways < middle.classes:
        tried = (replace(middle, tasks=t) for t in settings.ablation if t != middle.tasks)
        made += [("ablation", one) for one in tried if visits_of(MAMF, one, settings) >= one.tasks * one.ways]
    return made


def _shown(cells: list[Cell], settings: MamfSettings) -> Cell:
    """The cell whose features are drawn: that of the ablation's N, or the one in the middle of the grid."""
    grid = [cell for cell in cells if cell.kind == "grid"]
    return next((cell for cell in grid if cell.configuration.ways == settings.ablation_ways), grid[len(grid) // 2])


def _picture(cell: Cell, found: Finished) -> Picture:
    test = cell.bench.division.test
    labels = tuple(test.labels.tolist())
    return Picture(cell.bench.name, cell.configuration.ways, cell.bench.seed, labels, test.class_names, dict(found.seen))
