"""Workers as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from fewtune.cli.engines import check_ended, passed_on, run_worker

RETRIES = 3  # of a worker whose machine was lost


def run(commands: Callable[[int], list[list[str]]], jobs: int, address: str, out: Path) -> None:  # noqa: ARG001
    """Run the workers and wait for them. `address`: of a running cluster; "" starts one on this machine. `jobs` 0: one for each core."""
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        ray.init(address=address or None, log_to_driver=False, include_dashboard=False)
    try:
        count = jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
        worker = ray.remote(num_cpus=1, max_retries=RETRIES)(run_worker)
        check_ended(ray.get([worker.remote(words, str(Path.cwd()), passed_on()) for words in commands(count)]))
    finally:
        if mine:
            ray.shutdown()


def _ray() -> Any:
    from fewtune.errors import InputError

    try:
        return import_module("ray")
    except ImportError:
        raise InputError("--on ray needs Ray: pip install 'fewtune[ray]'.") from None
