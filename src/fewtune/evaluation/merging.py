"""Putting a study together from the cells in a folder that several workers shared."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes, assembled
from fewtune.evaluation.cells import Cell, decoded
from fewtune.evaluation.outline import Outline, read_outline
from fewtune.evaluation.partial import Partial, copy_models
from fewtune.evaluation.run_folder import write_result
from fewtune.evaluation.saved_episodes import FOLDER, SavedEpisodes, read_saved
from fewtune.evaluation.study import Drawn
from fewtune.files import new_folder, read_regular, write_bytes
from fewtune.files.leases import LEASES, TODO
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
    for name in (LEASES, TODO):  # a worker that was killed leaves its lease
        shutil.rmtree(folder / name, ignore_errors=True)
    Partial(folder).discard()
    return made.where
