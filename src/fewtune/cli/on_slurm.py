"""Workers as an array of Slurm jobs, through submitit (which keeps its own files of each job beside the study)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from fewtune.cli.engines import check_ended, passed_on, run_worker

MINUTES = 24 * 60  # of a job, at most; partition and account come from the variables that Slurm reads (SBATCH_PARTITION, ...)


def run(commands: Callable[[int], list[list[str]]], jobs: int, address: str, out: Path) -> None:
    """Submit the workers and wait for them. `address`: the kind of cluster as submitit names it ("" finds Slurm; "local" for trials)."""
    from fewtune.errors import InputError

    if not jobs:
        raise InputError("--on slurm needs to know how many jobs to submit: give --jobs N.")
    executor = _submitit().AutoExecutor(folder=str(out.resolve().with_name(f"{out.resolve().name}.slurm")), cluster=address or None)
    executor.update_parameters(timeout_min=MINUTES, cpus_per_task=1, name="fewtune")
    words = commands(jobs)
    array = executor.map_array(run_worker, words, [str(Path.cwd())] * jobs, [passed_on()] * jobs)
    check_ended([job.result() for job in array])


def _submitit() -> Any:
    from fewtune.errors import InputError

    try:
        return import_module("submitit")
    except ImportError:
        raise InputError("--on slurm needs submitit: pip install 'fewtune[slurm]'.") from None
