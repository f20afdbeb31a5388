"""A study is a list of cells: computed in any order, by any process, it is the same study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.assembling import Outcomes, assembled
from fewtune.evaluation.cells import Cell, cells_of, key_of, needed_by
from fewtune.evaluation.class_roles import serving
from fewtune.evaluation.outline import outline_of
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import UNTRAINED
from fewtune.evaluation.run_study import Runner, run_study
from fewtune.evaluation.study import Bench, Study
from fewtune.evaluation.training_settings import Training
from fewtune.machine import Machine
from fewtune.recipes import variants
from fewtune.tasks.samplers import Sampled
from tests.unit.evaluation.test_trainer import collection

SWEPT = "multitask(ways=3,queries=3,steps=3)"
METHODS = ("centroid", SWEPT, "standard(on='support',steps=2)")
TIMES = ("seconds",)


def bench(methods: tuple[str, ...] = METHODS, *, targets: int = 2, backbones: int = 2, seeds: tuple[int, ...] = (0, 1)) -> Bench:
    source = RowSpace([serving(collection(10, 4))])
    spaces = [RowSpace([collection(5, 9 + i)]) for i in range(targets)]
    models = [load_backbone(f"mlp,inputs=4,width={8 + i}", machine=Machine(device="cpu").resolved()) for i in range(backbones)]
    protocols = tuple(Protocol(sampler=Sampled(ways=3, shots=s, queries=3), episodes=6) for s in (1, 2))
    made = {m: variants(m, (("lr", (1e-3, 1e-2)),)) for m in methods}
    training = Training(adapted=4, validation=5, seeds=seeds)
    return Bench.of(
        *(
            Study(space, model, feature_table(model, space, memory=True, quiet=True).features, protocols, made, source, training)
            for space in spaces
            for model in models
        )
    )


def same(a: Outcomes, b: Outcomes) -> bool:
    """Every bit but times and memory."""
    tables = [outcomes.result.table.drop_columns(list(TIMES)) for outcomes in (a, b)]
    costs = [[replace(cost, seconds=0.0, memory=0) for cost in outcomes.costs] for outcomes in (a, b)]
    right = a.right.keys() == b.right.keys() and all(np.array_equal(a.right[place], b.right[place]) for place in a.right)
    return bool(tables[0].equals(tables[1]) and costs[0] == costs[1] and a.notes == b.notes and right)


def test_cells_are_in_order_and_need_the_judging_of_their_sweep() -> None:
    cells = cells_of(bench(targets=1, backbones=1))
    assert cells == [
        Cell(0, "centroid", None, UNTRAINED),
        Cell(0, SWEPT, "lr=0.001", 0),
        Cell(0, SWEPT, "lr=0.01", 0),
        Cell(0, SWEPT, None, 0),
        Cell(0, SWEPT, None, 1),
        Cell(0, METHODS[2], "lr=0.001", 0),
        Cell(0, METHODS[2], "lr=0.01", 0),
        Cell(0, METHODS[2], None, 0),
    ]
    assert needed_by(cells[4], bench(targets=1, backbones=1)) == cells[1:3] and needed_by(cells[0], bench()) == []


def test_a_key_names_all_that_a_cell_depends_on_and_nothing_else() -> None:
    whole = bench()
    cells = cells_of(whole)
    keys = [key_of(cell, whole) for cell in cells]
    assert len(set(keys)) == len(cells) == 4 * 8
    fewer = bench(("centroid", SWEPT), targets=1, backbones=1, seeds=(0, 1, 2))
    assert {key_of(cell, fewer) for cell in cells_of(fewer) if cell.seed < 2} <= set(keys)
    study = whole.studies[0]
    for other in (
        replace(study, protocols=study.protocols[:1]),
        replace(study, training=replace(study.training, validation=6)),
        replace(study, source=RowSpace([serving(collection(10, 5))])),
        replace(study, features=study.features.double()),
    ):
        changed = Bench.of(other)
        assert key_of(cells[1], changed) != keys[1]
    assert key_of(cells[0], Bench.of(replace(study, training=replace(study.training, validation=6)))) == keys[0]  # nothing is trained


@pytest.fixture(scope="module")
def serial() -> Outcomes:
    return run_study(bench(), Partial())


def test_any_order_and_any_process_gives_the_same_bits(serial: Outcomes, tmp_path: Path) -> None:
    """Cells backwards as far as they can be, and by three runners that share a folder."""
    whole = bench()
    partial = Partial(tmp_path / "shared")
    partial.begin("it")
    runners = [Runner(bench(), Partial(tmp_path / "shared")) for _ in range(3)]
    done: set[Cell] = set()
    waiting = cells_of(whole)[::-1]
    for turn in range(100 * len(waiting)):
        cell = next((c for c in waiting if set(needed_by(c, whole)) <= done), None)
        if cell is None:
            break
        runners[turn % 3].value(cell)
        done.add(cell)
        waiting.remove(cell)
    assert not waiting
    values = {cell: partial.cell(key_of(cell, whole)) for cell in cells_of(whole) if cell.variant is None}
    assert same(assembled(outline_of(whole), whole.draw(), whole.task_names(), values), serial)  # type: ignore[arg-type]
    assert same(run_study(bench(), Partial(tmp_path / "shared")), serial)


def test_a_bench_is_its_studies_side_by_side(serial: Outcomes) -> None:
    whole = bench()
    assert len(whole.studies) == 4 and len(set(whole.targets)) == 2 and len(set(whole.backbones)) == 2
    assert serial.result.distinct("setting") == list(range(8)) and set(serial.drawn) == {(s, 0) for s in range(8)}
    for number, study in enumerate(whole.studies):
        alone = run_study(study)
        mine = serial.result.where(target=whole.targets[number], backbone=whole.backbones[number])
        for name in ("method", "value", "loss", "training", "episode"):
            assert mine.column(name).tolist() == alone.result.column(name).tolist()


def test_right_answers_are_the_accuracy(serial: Outcomes) -> None:
    for (setting, seed, method, training), right in serial.right.items():
        rows = serial.result.where(setting=setting, seed=seed, method=method, training=training)
        assert np.allclose(right.mean(1), rows.column("value"), atol=1e-12) and right.dtype == np.bool_
        label = serial.drawn[setting, seed].query_label[: len(right)]
        assert right.shape == tuple(label.shape) and bool(torch.all(label >= 0))
