"""One study by several processes: a worker's share, putting it together, and what it will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fewtune.api.benches import ComparedData, MadeBench, make_bench
from fewtune.api.comparison import Comparison
from fewtune.api.settings import CompareSettings
from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.controls import worth_of_choice
from fewtune.evaluation.expected_time import expected_times
from fewtune.evaluation.merging import merged_cells, write_merged
from fewtune.evaluation.outline import OUTLINE, Outline, outline_of
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.saved_episodes import SavedEpisodes
from fewtune.evaluation.several_runs import merged_runs, write_runs
from fewtune.evaluation.study import Variants
from fewtune.evaluation.workers import Shard, join, work
from fewtune.files import refuse_existing
from fewtune.files.leases import shared_folder
from fewtune.report.study_details import KnownRows, with_most_shots
from fewtune.report.tables import Cell, Table
from fewtune.words import counted


def work_on(
    data: ComparedData,
    backbones: Sequence[Backbone],
    methods: Mapping[str, Variants],
    protocols: Sequence[tuple[Protocol, ...]],
    settings: CompareSettings,
    shard: Shard,
) -> str:
    """Do a worker's share of a study in the folder that the workers share, and return what was done, as a sentence."""
    out = settings.keeping.out
    assert out is not None
    refuse_existing(out, overwrite=False)
    made = make_bench(data, backbones, methods, protocols, settings, quiet=settings.quiet)
    outline = outline_of(made.bench, made.remarks, keys=True)
    partial = join(made.bench, outline, out, settings.keeping.trained)
    ran, left = work(made.bench, outline, partial, shard, quiet=settings.quiet)
    rest = f"{left} of {len(outline.cells)} are left" if left else f"all {len(outline.cells)} are done: fewtune merge {out}"
    return f"Worker {shard.number} of {shard.count} ran {counted(ran, 'cell')}; {rest}."


def planned_table(
    data: ComparedData,
    backbones: Sequence[Backbone],
    methods: Mapping[str, Variants],
    protocols: Sequence[tuple[Protocol, ...]],
    settings: CompareSettings,
) -> Table:
    """The cells of a study, what their training looks at, and the seconds that are expected."""
    made = make_bench(data, backbones, methods, protocols, settings, quiet=settings.quiet)
    found = expected_times(made.bench)
    rows = [
        [*_planned(made, one.cell), Cell(one.visits or None, f"{one.visits:,}" if one.visits else ""), _seconds(one.seconds)]
        for one in found
    ]
    whole, longest = sum(one.seconds for one in found), max(one.seconds for one in found)
    notes = [
        f"{counted(len(found), 'cell')}, about {whole:,.0f} s by one worker and not less than {longest:,.0f} s by any number. Measured "
        "here on a few training steps and episodes, after the rows were embedded.",
    ]
    return Table.of(["method", "target", "backbone", "sweep", "seed", "visits", "seconds"], rows, made.bench.caption, notes)


def _planned(made: MadeBench, cell: object) -> list[Cell]:
    from fewtune.evaluation.cells import Cell as StudyCell

    assert isinstance(cell, StudyCell)
    bench = made.bench
    seed = "" if cell.seed < 0 else str(cell.seed)
    return [Cell(cell.method), Cell(bench.targets[cell.study]), Cell(bench.backbones[cell.study]), Cell(cell.variant or ""), Cell(seed)]


def _seconds(value: float) -> Cell:
    return Cell(value, f"{value:,.1f}" if value < 10 else f"{value:,.0f}")


def merge(runs: Sequence[Path | str], out: Path | str | None = None, *, overwrite: bool = False) -> Comparison:
    """Put together the cells of one study that several workers ran, or several finished runs.

    `runs`: the folder that was given to the workers as --out; or two or more folders of finished runs, whose methods, targets, backbones
    and shots become one study in the folder `out`. Raises InputError where cells are missing, or where runs do not fit together.
    """
    paths = [Path(run) for run in runs]
    if len(paths) == 1:
        folder = next((one for one in (paths[0], shared_folder(paths[0])) if (one / OUTLINE).is_file()), None)
        if folder is None:
            raise InputError(f"{paths[0]} holds no cells to merge: give the --out of compare --shard, or two or more finished runs.")
        outline, outcomes, saved = merged_cells(folder)
        where = Path(out) if out is not None else folder.with_name(folder.name.removesuffix(".partial"))
        found = _comparison(outline, outcomes, saved, where)
        where = write_merged(folder, where, outline, outcomes, overwrite=overwrite)
    else:
        if out is None:
            raise InputError("several runs become one in a folder of its own: give --out FOLDER.")
        where = Path(out)
        refuse_existing(where, overwrite=overwrite)
        outline, outcomes, saved = merged_runs(paths)
        found = _comparison(outline, outcomes, saved, where)
        where = write_runs(paths, where, outline, outcomes, saved, overwrite=overwrite)
    found.describe(where)
    return found


def _comparison(outline: Outline, outcomes: Outcomes, saved: SavedEpisodes, where: Path) -> Comparison:
    rows: dict[int, KnownRows] = {}
    shown = with_most_shots(outline.settings)
    for number, (_, _, _, known) in zip(saved.numbers, saved.entries, strict=True):
        if number in shown:
            names = (known["label_names"].tolist(), known["group_names"].tolist())
            rows[number] = _joined(rows.get(number), KnownRows(known["rows"], known["labels"], known["groups"], *names))
    remarks = (*outline.remarks, *outcomes.notes, *worth_of_choice(outcomes.result, dict(outline.beside)))
    return Comparison(outline, outcomes, dict(sorted(rows.items())), remarks, None, where)


def _joined(one: KnownRows | None, other: KnownRows) -> KnownRows:
    """The rows that either knows; both are of the same target."""
    import numpy as np

    if one is None:
        return other
    row, place = np.unique(np.concatenate([one.row, other.row]), return_index=True)
    label, group = (np.concatenate(pair)[place] for pair in ((one.label, other.label), (one.group, other.group)))
    return KnownRows(row, label, group, one.class_names, one.group_names)
