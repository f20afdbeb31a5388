"""Putting a study together: from the cells in a shared folder, or from several finished runs of other methods, targets or backbones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes, assembled
from fewtune.evaluation.cells import Cell, decoded
from fewtune.evaluation.outline import Outline, read_outline
from fewtune.evaluation.partial import Partial, copy_models
from fewtune.evaluation.result import Result
from fewtune.evaluation.run_folder import load_run, write_result
from fewtune.evaluation.saved_episodes import FOLDER, SavedEpisodes, read_saved
from fewtune.evaluation.study import Drawn
from fewtune.evaluation.training_settings import Cost
from fewtune.files import new_folder, read_regular, write_bytes
from fewtune.spec import digest
from fewtune.words import counted

_SHOWN = 5  # missing cells that are named


def merged_cells(folder: Path) -> tuple[Outline, Outcomes, SavedEpisodes]:
    """The study whose cells are in a shared folder. Raises InputError, with their names, where cells are missing."""
    outline, saved = read_outline(folder), read_saved(folder)
    tested = [(cell, folder / "cells" / f"{key}.npz") for cell, key in outline.cells if cell.variant is None]
    missing = [cell for cell, path in tested if not path.is_file()]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        named = "; ".join(_named(cell, outline) for cell in missing[:_SHOWN])
        raise InputError(
            f"{counted(len(missing), 'cell')} of {len(tested)} not done yet: {named}{more}. Run the command with --shard again, then merge."
        )
    drawn, tasks = _episodes(saved)
    values = {cell: decoded(read_regular(path), path) for cell, path in tested}
    return outline, assembled(outline, drawn, tasks, values), saved


def _named(cell: Cell, outline: Outline) -> str:
    several = [names[cell.study] for names in (outline.targets, outline.backbones) if len(set(names)) > 1]
    return ", ".join([*several, cell.title])


def _episodes(saved: SavedEpisodes) -> tuple[Drawn, Mapping[tuple[int, int], np.ndarray[tuple[int], np.dtype[np.str_]]]]:
    places = [(number, seed) for number, (_, seed, _, _) in zip(saved.numbers, saved.entries, strict=True)]
    drawn = dict(zip(places, (entry[2] for entry in saved.entries), strict=True))
    tasks = {place: entry[3]["task_names"][entry[2].task.numpy()] for place, entry in zip(places, saved.entries, strict=True)}
    return drawn, tasks


def write_merged(folder: Path, out: Path, outline: Outline, outcomes: Outcomes, *, overwrite: bool = False) -> Path:
    """Write the run of a shared folder as `compare --out` would have, remove the shared folder, and return where the run is."""
    with (made := new_folder(out, overwrite=overwrite)) as new:
        for name in ("study.txt", "machine.json"):
            write_bytes(new / name, read_regular(folder / name))
        shutil.copytree(folder / FOLDER, new / FOLDER)
        copy_models(folder, new)
        write_result(new, outline, outcomes)
    Partial(folder).discard()
    return made.where


def merged_runs(runs: Sequence[Path]) -> tuple[Outline, Outcomes, SavedEpisodes]:
    """Several finished runs as one study: more methods on the same episodes, or more targets, backbones and shots.

    Raises InputError where two runs answer different episodes of the same setting, or where a method is in two of them twice.
    """
    settings: dict[tuple[str, str, str, str], int] = {}
    places: list[tuple[str, str]] = []
    drawn: Drawn = {}
    entries, numbers = [], []
    tables: list[pa.Table] = []
    costs: list[Cost] = []
    notes: dict[str, None] = {}
    right: dict[tuple[int, int, str, int], np.ndarray[Any, np.dtype[np.bool_]]] = {}
    outlines: list[Outline] = []
    for run in runs:
        outline, outcomes = load_run(run)
        saved = read_saved(run)
        outlines.append(outline)
        moved = {}
        for number, (study, _, ways, shots) in enumerate(outline.settings):
            name = (outline.targets[study], outline.backbones[study], ways, shots)
            moved[number] = settings.setdefault(name, len(settings))
            places += [name[:2]] if name[:2] not in places else []
        for entry, number in zip(saved.entries, saved.numbers, strict=True):
            place = (moved[number], entry[1])
            if place in drawn and drawn[place].digest() != entry[2].digest():
                raise InputError(f"{run} answers other episodes than the runs before it: compare the methods on the same episodes first.")
            if place not in drawn:
                drawn[place] = entry[2]
                entries.append(entry)
                numbers.append(place[0])
        table = outcomes.result.table
        column = pa.array([moved[number] for number in table["setting"].to_pylist()], type=pa.int32())
        tables.append(table.set_column(table.schema.get_field_index("setting"), "setting", column))
        taken = {(moved[s], seed, m, t): values for (s, seed, m, t), values in outcomes.right.items()}
        if again := sorted({place[2] for place in taken.keys() & right.keys()}):
            raise InputError(f"method {again[0]!r} is in two of the runs on the same episodes: leave one out, or give it another name.")
        right |= taken
        costs += outcomes.costs
        notes |= dict.fromkeys((*outline.remarks, *outcomes.notes))
    if len({outline.metric for outline in outlines}) > 1:
        raise InputError(f"the runs are judged by {' and '.join(sorted({o.metric for o in outlines}))}: merge runs of one metric.")
    methods = {name: made for outline in outlines for name, made in outline.methods.items()}
    rows = pa.concat_tables(tables)
    names = [(places.index(name[:2]), index, name[2], name[3]) for index, name in enumerate(settings)]
    whole = Outline(
        identity=digest("\n".join(outline.identity for outline in outlines)),
        targets=tuple(target for target, _ in places),
        backbones=tuple(backbone for _, backbone in places),
        left_out=((),) * len(places),
        settings=tuple(names),
        methods=methods,
        cells=(),
        caption=", ".join(dict.fromkeys(outline.caption for outline in outlines)),
        items=outlines[0].items,
        metric=outlines[0].metric,
    )
    _check_whole(rows, whole)
    outcomes = Outcomes(Result(rows), drawn, tuple(costs), tuple(notes), right=right)
    return whole, outcomes, SavedEpisodes(tuple(entries), tuple(numbers))


def _check_whole(rows: pa.Table, outline: Outline) -> None:
    """Raise InputError where a method lacks a setting, or episodes of a seed, that others have."""
    have = set(zip(*(rows[name].to_pylist() for name in ("method", "setting", "seed")), strict=True))
    for number, seed in sorted({(number, seed) for _, number, seed in have}):
        study, _, ways, shots = outline.settings[number]
        for method in outline.methods:
            if (method, number, seed) not in have:
                where = f"{outline.targets[study]}, {outline.backbones[study]}, {ways}-way {shots}-shot, seed {seed}"
                raise InputError(f"no run has {method!r} on {where}: merge runs that together have every method in every setting.")


def write_runs(runs: Sequence[Path], out: Path, outline: Outline, outcomes: Outcomes, saved: SavedEpisodes, *, overwrite: bool) -> Path:
    """Write several runs as one, and return where it is. The runs stay as they are."""
    with (made := new_folder(out, overwrite=overwrite)) as new:
        texts = [read_regular(run / "study.txt").decode(errors="replace") for run in runs]
        write_bytes(new / "study.txt", "\n".join(texts).encode(errors="backslashreplace"))
        write_bytes(new / "machine.json", read_regular(runs[0] / "machine.json"))
        for number, (_, seed, episodes, known) in zip(saved.numbers, saved.entries, strict=True):
            episodes.save(new / FOLDER / f"setting{number}-seed{seed}.npz", known)
        for run in runs:
            for part in ("weights", "curves"):
                if (run / part).is_dir():
                    shutil.copytree(run / part, new / part, dirs_exist_ok=True)
        write_result(new, outline, outcomes)
    return made.where
