"""Which rows of the sources may be used, and that what judges was never learned from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Files, Pixels, Vectors
from fewtune.data.reading.read import read_examples
from fewtune.data.rotations import rotated
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.sides.clock import Clock
from fewtune.sides.job import Job, Workplace
from fewtune.sources.roles import PARTS, mark_rows
from fewtune.sources.source_rows import SourceRows, usable_rows

WIDTH = 16


def rows(labels: list[str], seed: int = 0, name: str = "pool") -> Examples:
    return make_examples(Vectors(np.random.default_rng(seed).normal(size=(len(labels), WIDTH)).astype("float32")), labels, name=name)


def usable(sources: list[Examples], tmp_path: Path, **given: Any) -> SourceRows:
    target = rows(["x", "y"] * 5, seed=9, name="target")
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=8,depth=1", machine=Machine(device="cpu"))
    features = backbone.embed(backbone.start(), RowSpace([target]), np.arange(10))
    return usable_rows(
        sources, target, np.arange(10), features, backbone, Job(clock=Clock(math.inf), at=Workplace(cache=tmp_path, quiet=True)), **given
    )


def contents(source_rows: SourceRows, part: str) -> set[bytes]:
    """The contents of the rows of a part."""
    tasks = source_rows.tasks(part)  # type: ignore[arg-type]
    assert tasks is not None
    digests = [d for source in source_rows.space.sources for d in source.row_digests]
    return {digests[row] for task in tasks for mine in task.rows for row in mine}


def test_classes_of_a_single_row_are_left_out(tmp_path: Path) -> None:
    sources = rows([f"c{k}" for k in range(20) for _ in range(6)] + [f"lone{k}" for k in range(40)])
    source_rows = usable([sources], tmp_path)
    for part in ("train", "validation", "judging"):
        tasks = source_rows.tasks(part)  # type: ignore[arg-type]
        assert tasks is not None and (tasks.count[tasks.slots] >= 2).all()


def test_a_collection_that_is_too_small_is_left_out(tmp_path: Path) -> None:
    small, large = rows(["a", "b", "c"], name="small"), rows([f"c{k}" for k in range(20) for _ in range(6)], name="large")
    source_rows = usable([small, large], tmp_path)
    assert source_rows.names == ("large",)
    assert source_rows.notes[0].startswith("small was left out: it has 0 training classes with rows to learn from")
    with pytest.raises(InputError, match="small has 0 training classes"):
        usable([small], tmp_path)


def test_a_class_gives_different_rows() -> None:
    x = np.random.default_rng(0).normal(size=(8 * 30, WIDTH)).astype("float32")
    for k in range(8):
        x[30 * k : 30 * k + 20] = x[30 * k]  # twenty copies of one row
    sources = make_examples(Vectors(x), np.repeat(np.arange(8), 30), name="pool")
    few = mark_rows(sources, 6, 0, False, [])
    assert len(set(few.row_digests)) == len(few) == 8 * 6


def test_what_is_held_out_of_one_source_is_not_learned_from_in_another(tmp_path: Path) -> None:
    """The second source holds the classes of the first in other company, so other classes of it are held out."""
    whole = rows([f"c{k}" for k in range(30) for _ in range(8)])
    part = whole.take(np.flatnonzero(whole.labels % 2 == 0))
    again = make_examples(part.items, [f"other {whole.class_names[k]}" for k in part.labels], name="again")
    source_rows = usable([whole, again], tmp_path)
    train, validation, judging = (contents(source_rows, part) for part in ("train", "validation", "judging"))
    assert not train & validation and not train & judging and not validation & judging and len(judging) >= 16
    assert any("held out classes" in note for note in source_rows.notes)


def test_turns_of_a_class_judge_or_validate_together() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30 * 4, 8, 8), dtype=np.uint8)
    sources = rotated(make_examples(Pixels(images), [f"c{k}" for k in range(30) for _ in range(4)], name="turned"))
    few = mark_rows(sources, 4, 0, False, [])
    parts = {part: {few.class_names[c].partition("@")[0] for c in np.flatnonzero(few.class_split == code)} for part, code in PARTS.items()}
    assert len(parts["judging"]) >= 2 and len(parts["validation"]) >= 2 and not parts["judging"] & parts["validation"]


def test_of_many_files_few_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for k in range(6):
        (tmp_path / "pool" / f"c{k}").mkdir(parents=True)
        for i in range(30):
            Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(tmp_path / "pool" / f"c{k}" / f"{i}.png")
    sources, read = read_examples(tmp_path / "pool"), []
    honest = Files.read
    monkeypatch.setattr(Files, "read", lambda self, row: read.append(row) or honest(self, row))
    few = mark_rows(sources, 5, 0, False, [])
    assert len(few) == 30 and len(set(read)) <= 30
    more = replace(sources, name="more")
    again = mark_rows(more.take(np.arange(len(more))[::-1]), 5, 0, False, [])
    assert sorted(again.row_names) == sorted(few.row_names)  # whatever the order of reading
