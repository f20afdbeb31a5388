"""A run folder: the study in full, its episodes, every result row, and what it ran on. Whole or absent."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict
from pathlib import Path

from fewtune.errors import InputError
from fewtune.evaluation.result import Result, load_result
from fewtune.evaluation.study import Drawn, Study, run_study
from fewtune.files import new_folder, refuse_existing, write_bytes
from fewtune.spec import digest

FORMAT = 1
LIBRARIES = ("fewtune", "torch", "numpy", "scipy", "transformers", "timm", "open_clip_torch", "pillow")


def run_kept(study: Study, out: Path | None, *, overwrite: bool = False) -> tuple[Result, Drawn]:
    """Run a study and keep it under `out`; the very same study that is complete there already is read instead of run again."""
    if out is None:
        return run_study(study)
    wanted = digest(study.text())
    if (found := _kept(out, wanted)) is not None:
        return found, study.draw()
    refuse_existing(out, overwrite=overwrite)
    result, drawn = run_study(study)
    with new_folder(out, overwrite=overwrite) as folder:
        write_bytes(folder / "study.txt", (study.text() + "\n").encode(errors="backslashreplace"))
        for (setting, seed), episodes in drawn.items():
            episodes.save(folder / "episodes" / f"setting{setting}-seed{seed}.npz")
        result.save(folder / "result.parquet")
        write_bytes(folder / "machine.json", json.dumps(_machine(study), indent=1).encode())
        record = {"kind": "study", "format": FORMAT, "study": wanted, "methods": list(study.methods)}
        write_bytes(folder / "fewtune.json", json.dumps(record, indent=1).encode())
    return result, drawn


def _kept(out: Path, wanted: str) -> Result | None:
    try:
        record = json.loads((out / "fewtune.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("kind") != "study" or record.get("study") != wanted:
        return None
    if record.get("format", 0) > FORMAT:
        raise InputError(f"{out} was written by a newer fewtune: upgrade fewtune, or choose another --out.")
    return load_result(out / "result.parquet")


def _machine(study: Study) -> dict[str, object]:
    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    versions = {name: version(name) for name in LIBRARIES}
    return {
        "machine": asdict(study.backbone.machine),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
    }
