"""A run folder: the study in full, its episodes, every result row, and what it ran on. Whole or absent."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.outline import Outline, outline_from, outline_of
from fewtune.evaluation.partial import NOTHING, Partial, copy_models
from fewtune.evaluation.result import load_result, load_right, save_right
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.saved_episodes import save_drawn
from fewtune.evaluation.study import Bench
from fewtune.evaluation.training_settings import Cost
from fewtune.files import ANOTHER, RECORD, foreign, new_folder, read_record, recover, refuse_existing, sealed, sha256, write_bytes
from fewtune.learning.world import ALONE, World
from fewtune.machine import Machine
from fewtune.spec import digest
from fewtune.stopping import Stopped
from fewtune.words import option

FORMAT = 5
RESULT, ANSWERS = "result.parquet", "answers.npz"
RESET = option("--reset-trained", "reset=True")
_FILES = ("study.txt", RESULT, ANSWERS, "machine.json")
_FOLDERS = ("episodes/", "weights/", "curves/")
LIBRARIES = ("fewtune", "torch", "numpy", "scipy", "numba", "transformers", "timm", "open_clip_torch", "pillow")


@final
@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Where a run is kept while it runs.

    `out`: the run folder (None: nowhere). `overwrite`: replace a run that is there, finished or not. `resume`: go on with the unfinished
    run of the same study there. `trained`: a folder of trained models that several studies share. `reset`: train anew what is kept there.

    Raises InputError for `reset` without `trained`, or with `resume`.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    trained: Path | None = None
    reset: bool = False

    def __post_init__(self) -> None:
        if self.reset and self.trained is None:
            raise InputError(f"{RESET} is for the models in {option('--trained FOLDER')}: give that too.")
        if self.reset and self.resume:
            raise InputError(f"{option('--resume')} goes on with what was trained and {RESET} does not: give one.")


def run_kept(study: Bench, keeping: Keeping, *, world: World = ALONE, quiet: bool = True) -> Outcomes:
    """Run a study and keep it; the very same study that is complete there already is read instead of run again.

    While it runs, what is done is kept in a folder beside `keeping.out`; with `resume` a run that was interrupted goes on from there.
    """
    out = keeping.out
    if out is None:
        return run_study(study, Partial(None, keeping.trained, writes=world.leads, reset=keeping.reset), world=world, quiet=quiet)
    if (found := _kept(out, digest(study.text()), study)) is not None:
        return found
    refuse_existing(out, overwrite=keeping.overwrite, writes=[*_FILES, *_in_the_way(out)])
    partial = _partial(study, out, keeping, world)
    try:
        outcomes = run_study(study, partial, world=world, quiet=quiet)
    except Stopped as stopped:
        again = "with --resume to go on from there." if study.trains else "to go on."
        raise Stopped(str(stopped) or f"stopped; run the same command again {again}") from None
    except InputError:
        if partial.empty:  # a run that was refused at once leaves nothing
            partial.discard()
        raise
    if not world.leads:
        return outcomes
    where = _write_run(study, outcomes, out, partial.folder, overwrite=keeping.overwrite)
    partial.discard()
    if where == out:
        return outcomes
    return replace(outcomes, kept=where, notes=(*outcomes.notes, f"Another program used {out} in the meantime, so this run is in {where}."))


def save_run(study: Bench, outcomes: Outcomes, out: Path, models: Path | None, *, overwrite: bool = False) -> Path:
    """Write a finished run into a folder, whole or not at all, and return where it is; `models`: the folder with what was trained.

    Raises InputError where the folder exists, or with `overwrite` where it holds files that fewtune did not write.
    """
    refuse_existing(out, overwrite=overwrite, writes=[*_FILES, *_in_the_way(out)])
    return _write_run(study, outcomes, out, models, overwrite=overwrite)


def _write_run(study: Bench, outcomes: Outcomes, out: Path, models: Path | None, *, overwrite: bool) -> Path:
    with (made := new_folder(out, overwrite=overwrite)) as folder:
        write_bytes(folder / "study.txt", (study.text() + "\n").encode(errors="backslashreplace"))
        save_drawn(folder, study)
        copy_models(models, folder)
        write_bytes(folder / "machine.json", machine_of(study))
        write_result(folder, outline_of(study), outcomes)
    return made.where


def write_result(folder: Path, outline: Outline, outcomes: Outcomes) -> None:
    """The rows, the answers and the record of a run."""
    outcomes.result.save(folder / RESULT)
    save_right(folder / ANSWERS, outcomes.right)
    record = {"kind": "study", "format": FORMAT, "study": outline.identity, "methods": list(outline.methods)}
    record |= {"costs": [asdict(cost) for cost in outcomes.costs], "notes": list(outcomes.notes)}
    record |= {"outline": json.loads(replace(outline, cells=()).encoded())}
    write_bytes(folder / RECORD, sealed(record))


def load_run(run: Path) -> tuple[Outline, Outcomes]:
    """A finished run; its episodes are in its folder. Raises InputError where it is none, is damaged, or is of an older fewtune."""
    try:
        record, whole = read_record(run)
    except (OSError, ValueError):
        raise InputError(f"{run} is no finished run of compare: give folders that compare --out wrote.") from None
    if record.get("kind") != "study" or record.get("format") != FORMAT or "outline" not in record:
        raise InputError(f"{run} is no finished run of this fewtune: run compare --out again.")
    if not whole or _changed(run, record["files"]):
        raise InputError(f"{run} was changed or damaged after it was saved (a digest differs): run compare --out again.")
    costs = tuple(Cost(**cost) for cost in record["costs"])
    right = load_right(run / ANSWERS)
    return outline_from(record["outline"]), Outcomes(load_result(run / RESULT), {}, costs, tuple(record["notes"]), right=right)


def _in_the_way(out: Path) -> list[str]:
    """Files in a run's folder that have the names of fewtune's files but were not written by fewtune."""
    return [name for name in foreign(out) if name.startswith(_FOLDERS)] if out.is_dir() else []


def _partial(study: Bench, out: Path, keeping: Keeping, world: World) -> Partial:
    """The folder of what is done, beside `out`. Only studies that learn take long enough to need one."""
    if not study.trains:
        return NOTHING
    partial = Partial(out.resolve().with_name(f"{out.resolve().name}.partial"), keeping.trained, writes=world.leads, reset=keeping.reset)
    partial.open(digest(study.text()), resume=keeping.resume, overwrite=keeping.overwrite, wait=lambda: world.any(False))
    return partial


def _kept(out: Path, wanted: str, study: Bench) -> Outcomes | None:
    """What is complete in `out`, if it is this very study. Raises InputError where it was changed since."""
    recover(out.resolve())
    try:
        record, whole = read_record(out)
    except (OSError, ValueError):
        return None
    if record.get("kind") != "study" or record.get("study") != wanted:
        return None
    number = record.get("format", 0)
    if not isinstance(number, int) or number > FORMAT:
        raise InputError(f"{out} was written by a newer fewtune: upgrade fewtune, or {ANOTHER}.")
    if not whole or _changed(out, record["files"]):
        raise InputError(f"the study in {out} was changed or damaged after it was saved (a digest differs): {ANOTHER}.")
    costs = tuple(Cost(**cost) for cost in record["costs"])
    right = load_right(out / ANSWERS) if (out / ANSWERS).is_file() else {}
    return Outcomes(load_result(out / RESULT), study.draw(), costs, tuple(record["notes"]), right=right)


def _changed(run: Path, files: Mapping[str, str]) -> bool:
    """Whether the rows or the answers of a run are others than those that were saved."""
    return any(name in files and files[name] != sha256(run / name) for name in (RESULT, ANSWERS)) or RESULT not in files


def machine_of(study: Bench) -> bytes:
    """What a study runs on, as JSON."""
    return json.dumps(machine_facts(study.studies[0].backbone.machine), indent=1).encode()


def machine_facts(machine: Machine) -> dict[str, object]:
    """What a run was made on: the machine, Python, the system and the versions of libraries."""

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    versions = {name: version(name) for name in LIBRARIES}
    return {
        "machine": asdict(machine),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
    }
