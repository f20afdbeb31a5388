"""Several processes, on one machine or many, run the cells of one study in a folder that they share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.errors import InputError
from fewtune.evaluation.cells import Cell, CellValue, needed_by
from fewtune.evaluation.outline import OUTLINE, Outline
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.result import UNTRAINED
from fewtune.evaluation.run_folder import machine_of
from fewtune.evaluation.run_study import Runner
from fewtune.evaluation.saved_episodes import save_drawn
from fewtune.evaluation.study import Bench
from fewtune.files import write_bytes
from fewtune.files.leases import LEASES, TODO, Leases, shared_folder
from fewtune.words import option

POLL = 0.5  # seconds between looks at a folder in which others are at work


@final
@dataclass(frozen=True)
class Shard:
    """Worker `number` of `count` (from 1), which begins with its own share and then helps the others. `most`: cells after which it ends (0:
    when all are done). `lease`: seconds without a sign of life after which a worker counts as dead.

    Raises InputError for numbers that do not fit.
    """

    number: int = 1
    count: int = 1
    most: int = 0
    lease: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(f"--shard is i/n with i from 1 to n, such as 1/4, found {self.number}/{self.count}.")
        if self.most < 0 or self.lease <= 0:
            raise InputError(f"expected {option('--cells N')} of 1 or more and {option('--lease SECONDS')} above 0.")


def join(bench: Bench, outline: Outline, out: Path, trained: Path | None = None) -> Partial:
    """The shared folder of the study, made by the first worker. Raises InputError where another run is kept there."""
    partial = Partial(shared_folder(out), trained)
    if partial.begun is None:
        try:
            partial.begin(outline.identity, lambda folder: _prepare(folder, bench, outline))
        except InputError:
            if partial.begun is None:  # else another worker was faster
                raise
    if partial.begun != outline.identity:
        raise InputError(f"{partial.folder} holds another unfinished run: give the command it was started with, or another --out.")
    if partial.folder is not None and not (partial.folder / OUTLINE).is_file():
        raise InputError(f"{partial.folder} was started without --shard: finish it with --resume, or give another --out.")
    return partial


def work(bench: Bench, outline: Outline, partial: Partial, shard: Shard, *, quiet: bool = True) -> tuple[int, int]:
    """Run cells until all are done, or `shard.most` of them: (cells that this worker ran, cells that are not done).

    Whoever sees that all are done may merge them, which removes the folder, while another worker waits.
    """
    assert partial.folder is not None
    leases, runner = Leases(partial.folder, shard.lease), Runner(bench, partial, quiet=quiet)
    keys = dict(outline.cells)
    cells = list(keys)
    order = order_of(cells, shard.number, shard.count)
    done: set[Cell] = set()
    spent = Spent()
    ran = 0
    while True:
        try:
            for cell in cells:
                if cell not in done and partial.has_cell(keys[cell]):
                    done.add(cell)
                    spent.note(cell, partial.cell(keys[cell]))
            left = [cell for cell in order if cell not in done]
            if not left or (shard.most and ran >= shard.most):
                return ran, len(left)
            ready = [cell for cell in left if set(needed_by(cell, bench)) <= done]
            if any(_ran(cell, keys[cell], leases, runner, partial) for cell in spent.longest_first(ready)):
                ran += 1
                continue
        except FileNotFoundError:
            if (partial.folder / OUTLINE).exists():
                raise
            return ran, 0
        time.sleep(POLL)


def order_of(cells: Sequence[Cell], number: int, count: int) -> list[Cell]:
    """The order in which worker `number` of `count` looks at the cells: its own share, then those of the next workers, one after the other.

    So helpers do not all look at the same cells. Cells that others wait for, the values of a sweep, come first in each share.
    """
    ordered = sorted(cells, key=lambda cell: (cell.variant is None, cell.seed == UNTRAINED))  # stable: frozen methods, the shortest, last
    return [cell for turn in range(count) for cell in ordered[(number - 1 + turn) % count :: count]]


@final
class Spent:
    """What cells of each method took so far, by any worker: the longest are begun first, so that few workers wait at the end."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, bool], list[float]] = {}

    def note(self, cell: Cell, value: CellValue | None) -> None:
        """A cell is done."""
        if value is not None:
            training = 0.0 if value.cost is None else value.cost.seconds
            self.add(cell, training + sum(scores.seconds for scores in value.scores.values()))

    def add(self, cell: Cell, seconds: float) -> None:
        """A cell took so many seconds."""
        self._seconds.setdefault((cell.method, cell.variant is None), []).append(seconds)

    def longest_first(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells of methods that nobody has run yet, then the others, those that take longest first; equals keep their order.

        The judging of a sweep counts with the training that waits for it.
        """
        mean = {kind: sum(times) / len(times) for kind, times in self._seconds.items()}

        def seconds(cell: Cell) -> float:
            tested = mean.get((cell.method, True), float("inf"))
            judged = mean.get((cell.method, False), float("inf"))
            if cell.variant is None:
                return tested
            return judged + (judged if tested == float("inf") else tested)

        return sorted(cells, key=lambda cell: -seconds(cell))


def _ran(cell: Cell, key: str, leases: Leases, runner: Runner, partial: Partial) -> bool:
    """Whether this worker could claim the cell; then it ran it."""
    if partial.has_cell(key):
        return False
    with leases.held(key) as mine:
        if mine:
            runner.value(cell)
        return mine


def _prepare(folder: Path, bench: Bench, outline: Outline) -> None:
    """What every worker and the merging need: the cells to do, the episodes, and the outline."""
    (folder / LEASES).mkdir()
    (folder / TODO).mkdir()
    for _, key in outline.cells:
        (folder / TODO / key).touch()
    write_bytes(folder / "study.txt", (bench.text() + "\n").encode(errors="backslashreplace"))
    write_bytes(folder / "machine.json", machine_of(bench))
    save_drawn(folder, bench)
    write_bytes(folder / OUTLINE, outline.encoded())
