"""What a pool lends: which rows, and that what judges was never learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Files, Pixels, Vectors
from fewtune.data.pool import Pool
from fewtune.data.reading.read import read_examples
from fewtune.data.rotations import rotated
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.sources.roles import PARTS
from fewtune.sources.roles import lend as lent
from fewtune.sources.source_rows import Related, related_pool

WIDTH = 16


def rows(labels: list[str], seed: int = 0, name: str = "pool") -> Examples:
    return make_examples(Vectors(np.random.default_rng(seed).normal(size=(len(labels), WIDTH)).astype("float32")), labels, name=name)


def lend(pool: list[Examples], tmp_path: Path, **given: Any) -> Related:
    target = rows(["x", "y"] * 5, seed=9, name="target")
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=8,depth=1", machine=Machine(device="cpu"))
    features = backbone.embed(backbone.start(), Pool([target]), np.arange(10))
    return related_pool(pool, target, np.arange(10), features, backbone, cache=tmp_path, quiet=True, **given)


def contents(related: Related, part: str) -> set[bytes]:
    """The contents of the rows of a part."""
    tasks = related.tasks(part)  # type: ignore[arg-type]
    assert tasks is not None
    digests = [d for source in related.pool.sources for d in source.row_digests]
    return {digests[row] for task in tasks for mine in task.rows for row in mine}


def test_classes_of_a_single_row_lend_nothing(tmp_path: Path) -> None:
    pool = rows([f"c{k}" for k in range(20) for _ in range(6)] + [f"lone{k}" for k in range(40)])
    related = lend([pool], tmp_path)
    for part in ("train", "validation", "judging"):
        tasks = related.tasks(part)  # type: ignore[arg-type]
        assert tasks is not None and (tasks.count[tasks.slots] >= 2).all()


def test_a_collection_that_is_too_small_is_left_out(tmp_path: Path) -> None:
    small, large = rows(["a", "b", "c"], name="small"), rows([f"c{k}" for k in range(20) for _ in range(6)], name="large")
    related = lend([small, large], tmp_path)
    assert related.names == ("large",)
    assert related.notes[0].startswith("small was left out: it has 0 training classes with rows to learn from")
    with pytest.raises(InputError, match="small has 0 training classes"):
        lend([small], tmp_path)


def test_a_class_lends_different_rows() -> None:
    x = np.random.default_rng(0).normal(size=(8 * 30, WIDTH)).astype("float32")
    for k in range(8):
        x[30 * k : 30 * k + 20] = x[30 * k]  # twenty copies of one row
    pool = make_examples(Vectors(x), np.repeat(np.arange(8), 30), name="pool")
    few = lent(pool, 6, 0, False, [])
    assert len(set(few.row_digests)) == len(few) == 8 * 6


def test_what_is_held_out_of_one_source_is_not_learned_from_in_another(tmp_path: Path) -> None:
    """The second source holds the classes of the first in other company, so other classes of it are held out."""
    whole = rows([f"c{k}" for k in range(30) for _ in range(8)])
    part = whole.take(np.flatnonzero(whole.labels % 2 == 0))
    again = make_examples(part.items, [f"other {whole.class_names[k]}" for k in part.labels], name="again")
    related = lend([whole, again], tmp_path)
    train, validation, judging = (contents(related, part) for part in ("train", "validation", "judging"))
    assert not train & validation and not train & judging and not validation & judging and len(judging) >= 16
    assert any("held out classes" in note for note in related.notes)


def test_turns_of_a_class_judge_or_validate_together() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30 * 4, 8, 8), dtype=np.uint8)
    pool = rotated(make_examples(Pixels(images), [f"c{k}" for k in range(30) for _ in range(4)], name="turned"))
    few = lent(pool, 4, 0, False, [])
    parts = {part: {few.class_names[c].partition("@")[0] for c in np.flatnonzero(few.class_split == code)} for part, code in PARTS.items()}
    assert len(parts["judging"]) >= 2 and len(parts["validation"]) >= 2 and not parts["judging"] & parts["validation"]


def test_of_many_files_few_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for k in range(6):
        (tmp_path / "pool" / f"c{k}").mkdir(parents=True)
        for i in range(30):
            Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(tmp_path / "pool" / f"c{k}" / f"{i}.png")
    pool, read = read_examples(tmp_path / "pool"), []
    honest = Files.read
    monkeypatch.setattr(Files, "read", lambda self, row: read.append(row) or honest(self, row))
    few = lent(pool, 5, 0, False, [])
    assert len(few) == 30 and len(set(read)) <= 30
    more = replace(pool, name="more")
    again = lent(more.take(np.arange(len(more))[::-1]), 5, 0, False, [])
    assert sorted(again.row_names) == sorted(few.row_names)  # whatever the order of reading
