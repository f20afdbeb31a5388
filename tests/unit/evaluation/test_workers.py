"""In which order workers take cells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fewtune.evaluation import workers
from fewtune.evaluation.cells import Cell
from fewtune.evaluation.outline import outline_of
from fewtune.evaluation.result import UNTRAINED
from fewtune.evaluation.workers import Shard, Spent, join, order_of, work
from fewtune.files.leases import Leases
from tests.unit.evaluation.test_cells import bench

SWEPT = [Cell(0, "a", "lr=1", 0), Cell(0, "a", "lr=2", 0), Cell(0, "a", None, 0), Cell(0, "a", None, 1)]
CELLS = [Cell(0, "frozen", None, UNTRAINED), *SWEPT, Cell(0, "b", None, 0)]


def test_each_worker_begins_with_its_own_share_and_sees_all_cells() -> None:
    orders = [order_of(CELLS, number, 3) for number in (1, 2, 3)]
    assert all(set(order) == set(CELLS) and len(order) == len(CELLS) for order in orders)
    own = [set(order[:2]) for order in orders]
    assert not own[0] & own[1] and not own[1] & own[2] and set.union(*own) == set(CELLS)
    assert orders[0][0] == SWEPT[0] and orders[1][0] == SWEPT[1]  # what others wait for comes first
    assert orders[2][1] == CELLS[0]  # and what is quick last


def test_the_longest_are_begun_first_and_unknown_methods_before_all() -> None:
    spent = Spent()
    assert spent.longest_first(CELLS) == CELLS
    spent.add(CELLS[0], 1.0)
    spent.add(Cell(3, "b", None, 0), 5.0)
    assert spent.longest_first(CELLS) == [*SWEPT, CELLS[5], CELLS[0]]
    spent.add(SWEPT[0], 3.0)
    spent.add(SWEPT[1], 5.0)
    spent.add(SWEPT[2], 3.0)
    assert spent.longest_first(CELLS) == [SWEPT[0], SWEPT[1], CELLS[5], SWEPT[2], SWEPT[3], CELLS[0]]  # 4 + 3, 5, 3, 1


def test_a_worker_that_waits_while_the_others_merge_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last cell is done elsewhere, and the folder is gone when the worker looks again."""
    whole = bench(("centroid", "ridge"), targets=1, backbones=1)
    outline = outline_of(whole, keys=True)
    partial = join(whole, outline, tmp_path / "out")
    folder = partial.folder
    assert folder is not None
    monkeypatch.setattr(workers.time, "sleep", lambda _: shutil.rmtree(folder))
    with Leases(folder).held(outline.cells[1][1]) as mine:
        assert mine and work(whole, outline, partial, Shard()) == (1, 0)


def test_a_file_that_is_missing_for_another_reason_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench(("centroid", "ridge"), targets=1, backbones=1)
    outline = outline_of(whole, keys=True)
    partial = join(whole, outline, tmp_path / "out")

    def missing(*_: object) -> None:
        raise FileNotFoundError("weights")

    monkeypatch.setattr(workers, "_ran", missing)
    with pytest.raises(FileNotFoundError, match="weights"):
        work(whole, outline, partial, Shard())
