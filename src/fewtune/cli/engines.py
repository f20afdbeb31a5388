"""`fewtune compare --on ray|slurm`: the workers of a study, started by an engine; then the study is put together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def compare_on(engine: str, jobs: int, out: Path, format: Literal["table", "json", "csv", "latex", "markdown"]) -> None:
    """Run this very command as workers on an engine, wait, and merge. Raises InputError where the engine is not installed."""
    from fewtune.cli.merge import merge
    from fewtune.files import refuse_existing

    refuse_existing(out, overwrite=False)
    name, _, address = engine.partition(":")
    if name == "ray":
        from fewtune.cli.on_ray import run
    else:
        from fewtune.cli.on_slurm import run
    run(lambda count: worker_commands(sys.argv[1:], count), jobs, address, out)
    merge([out], format=format)


def worker_commands(words: Sequence[str], count: int) -> list[list[str]]:
    """The command of each worker: the given one with --shard instead of --on."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("--on", "--jobs"):
            skip = True
        elif not word.startswith(("--on=", "--jobs=")):
            kept.append(word)
    quiet = [] if "--quiet" in kept else ["--quiet"]
    return [[*kept, *quiet, "--shard", f"{number}/{count}"] for number in range(1, count + 1)]


def run_worker(words: Sequence[str], folder: str, environment: dict[str, str]) -> tuple[int, str]:
    """A worker on the machine where this is called: (exit code, the last line that it said). Engines send this function with its words."""
    command = [sys.executable, "-m", "fewtune", *words]
    ran = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    well = ran.returncode == 0 and ran.stdout.strip()
    said = (ran.stdout if well else ran.stderr or ran.stdout).strip().splitlines()
    return ran.returncode, said[-1] if said else ""


def passed_on() -> dict[str, str]:
    """The variables of this process that workers need too."""
    wanted = ("PYTHONPATH", "HF_HUB_OFFLINE", "HF_HOME", "TORCH_HOME", "OMP_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name in wanted or name.startswith("FEWTUNE_")}


def check_ended(ended: Sequence[tuple[int, str]]) -> None:
    """Raise InputError where every worker failed; what one left, another did."""
    from fewtune.errors import InputError

    if ended and all(code for code, _ in ended):
        raise InputError(f"all {len(ended)} workers ended with an error, the first: {ended[0][1].removeprefix('fewtune: ')}")
