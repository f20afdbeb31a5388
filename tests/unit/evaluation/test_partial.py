"""What an unfinished run keeps: the same numbers come back, computed once, and a damaged piece is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewtune.errors import InputError
from fewtune.evaluation.answers import Scores
from fewtune.evaluation.cells import CellValue
from fewtune.evaluation.partial import Partial, slug
from fewtune.evaluation.training_settings import Cost

RIGHT = np.array([[True, False, False, False], [True, True, True, True]])
SCORES = {(0, 3): Scores(np.array([0.25, 1.0]), np.array([1.5, 0.125]), 0.5, RIGHT)}
COST = Cost(method="it", seed=3, chosen="lr=0.1", visits=5, steps=2, seconds=0.25, memory=7)
CELL = CellValue(SCORES, COST, ("something was noticed.",))


def same(found: CellValue | None) -> bool:
    if found is None or found.scores.keys() != SCORES.keys():
        return False
    return (
        found.cost == COST
        and found.notes == CELL.notes
        and all(
            np.array_equal(getattr(found.scores[0, 3], name), getattr(SCORES[0, 3], name))
            for name in ("accuracy", "loss", "right", "seconds")
        )
    )


@pytest.fixture
def partial(tmp_path: Path) -> Partial:
    begun = Partial(tmp_path / "run.partial")
    begun.begin("a study")
    return begun


def test_a_folder_says_whose_run_it_keeps(partial: Partial, tmp_path: Path) -> None:
    assert partial.begun == "a study" and partial.empty
    assert Partial(tmp_path / "another").begun is None and Partial().begun is None


def test_a_cell_comes_back_as_it_was_kept(partial: Partial) -> None:
    assert partial.cell("one") is None
    partial.keep_cell("one", CELL)
    found = partial.cell("one")
    assert same(found) and not partial.empty and partial.cell("two") is None
    assert found is not None and isinstance(found.scores[0, 3].seconds, float)
    partial.keep_cell("judged", CellValue({}))
    judged = partial.cell("judged")
    assert judged is not None and not judged.scores and judged.cost is None and judged.notes == ()


@pytest.mark.parametrize("damage", ["cut off", "other bytes", "empty"])
def test_a_damaged_cell_is_named(partial: Partial, damage: str) -> None:
    partial.keep_cell("one", CELL)
    assert partial.folder is not None
    path = partial.folder / "cells" / "one.npz"
    content = path.read_bytes()
    path.write_bytes({"cut off": content[: len(content) // 2], "other bytes": b"no archive at all", "empty": b""}[damage])
    with pytest.raises(InputError, match=r"one\.npz is damaged .*: remove it to test again"):
        partial.cell("one")


def test_a_cell_with_any_byte_changed_is_the_same_or_named(partial: Partial) -> None:
    """A zip holds a checksum of its content, so no change gives other numbers."""
    partial.keep_cell("one", CELL)
    assert partial.folder is not None
    path = partial.folder / "cells" / "one.npz"
    content, named = path.read_bytes(), 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = partial.cell("one")
        except InputError:
            named += 1
            continue
        assert found is not None and (same(found) or found.scores.keys() != SCORES.keys())
    assert named > len(content) / 3


def test_a_number_is_computed_once_by_its_identity(partial: Partial) -> None:
    assert partial.number("first", lambda: 0.1) == 0.1
    assert partial.number("first", lambda: 2.0) == 0.1 and partial.number("second", lambda: 2.0) == 2.0
    assert Partial().number("first", lambda: 3.0) == 3.0  # a run that keeps nothing computes it anew


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"half"'])
def test_a_damaged_number_is_named(partial: Partial, content: bytes) -> None:
    partial.number("first", lambda: 0.1)
    assert partial.folder is not None
    (path,) = partial.folder.rglob("first.json")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"first\.json is damaged .*: remove it"):
        partial.number("first", lambda: 0.1)


def test_a_process_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    other = Partial(tmp_path / "run.partial", writes=False)
    other.begin("a study")
    other.keep_cell("one", CELL)
    other.keep_model("centroid", 0, {}, [{"step": 0}])
    assert other.number("first", lambda: 0.1) == 0.1
    other.discard()
    assert not (tmp_path / "run.partial").exists()


def test_a_finished_run_leaves_nothing_of_it(partial: Partial) -> None:
    partial.keep_cell("one", CELL)
    partial.discard()
    assert partial.folder is not None and not partial.folder.exists()


def test_methods_that_differ_in_punctuation_have_files_of_their_own() -> None:
    assert slug("centroid") == "centroid"
    names = ["ridge(penalty=10)", "ridge(penalty=1,0)", "ridge[penalty=10]"]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == 3 and all(s.startswith("ridge-penalty=1") and "(" not in s for s in slugs)
