"""Workers on a Ray cluster: of a study as tasks, of a feature table as rows of Ray Data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fewtune.cli.engines import check_ended, passed_on, run_worker

RETRIES = 3  # of a worker whose machine was lost


def run(commands: Callable[[int], list[list[str]]], jobs: int, address: str, out: Path) -> None:  # noqa: ARG001
    """Run the workers and wait for them. `address`: of a running cluster; "" starts one on this machine. `jobs` 0: one for each core."""
    with _cluster(address) as ray:
        worker = ray.remote(num_cpus=1, max_retries=RETRIES)(run_worker)
        check_ended(ray.get([worker.remote(words, str(Path.cwd()), passed_on()) for words in commands(jobs or _cores(ray))]))


def run_shares(commands: Callable[[int], list[list[str]]], jobs: int, address: str) -> list[tuple[int, str]]:
    """(exit code, last line) of each worker, in order. Ray Data gives every command to a machine with a free core, and again where one is
    lost. `address` and `jobs` as in `run`."""
    with _cluster(address) as ray:
        words = commands(jobs or _cores(ray))
        data = import_module("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        given = [{"number": number, "words": one, "folder": str(Path.cwd()), "variables": passed_on()} for number, one in enumerate(words)]
        asked = data.from_items(given, override_num_blocks=len(given))
        rows = asked.map(_share, num_cpus=1, max_retries=RETRIES).take_all()
    return [(int(row["code"]), str(row["said"])) for row in sorted(rows, key=lambda row: int(row["number"]))]


def _share(row: dict[str, Any]) -> dict[str, Any]:
    variables = {name: value for name, value in row["variables"].items() if value is not None}
    code, said = run_worker(row["words"], row["folder"], variables)
    return {"number": row["number"], "code": code, "said": said}


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, connected; a cluster that is begun here ends with the block."""
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        ray.init(address=address or None, log_to_driver=False, include_dashboard=False)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _cores(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _ray() -> Any:
    from fewtune.errors import InputError

    try:
        return import_module("ray")
    except ImportError:
        raise InputError("--on ray needs Ray: pip install 'fewtune[ray]'.") from None
