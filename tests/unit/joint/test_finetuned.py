"""Label columns by a network that is trained with the backbone below it: trained as others are, judged, saved, packed and asked."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import fewtune
import fewtune.joint.adapt as adapt
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.reading.label_table import LabelTable, Wanted, read_label_table
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.files import RECORD, sealed
from fewtune.joint.adapt import JointSettings, methods_of
from fewtune.joint.finetuned import FINETUNED, Beside, base_ground, on_rows, usual_finetuning
from fewtune.joint.judged import TaskJudged
from fewtune.joint.networks import Watch, fit_network
from fewtune.joint.outcome import JointOutcome
from fewtune.joint.rows import joint_rows
from fewtune.joint.words import way_in_words
from fewtune.keys import key
from fewtune.learning.laid_out import laid_out
from fewtune.models.joint.bundle import load_joint, save_joint
from fewtune.models.joint.model import answers_of
from fewtune.models.pack import pack_run
from fewtune.models.record import FORMAT
from fewtune.recipes.language import read_method
from tests.unit.joint.grounds import houses

BACKBONE = "conv4,size=16,width=4"
MOVING = "shared_bottom(moves='all', steps=20, batch=8, width=8, backbone_lr=1e-2)"


def write_squares(folder: Path, rows: int = 48, seed: int = 0, split: bool = False) -> Path:
    """Photos of a square: `side` its size (a number), `hue` its colour (a class); `dim` a number that is an input."""
    random, lines = np.random.default_rng(seed), ["path,dim,side,hue" + (",split" if split else "")]
    folder.mkdir(exist_ok=True)
    for row in range(rows):
        side, hue = int(random.integers(4, 15)), row % 2
        pixels = random.integers(0, 40, (16, 16, 3)).astype(np.uint8)
        pixels[:side, :side, 2 * hue] = 220
        Image.fromarray(pixels).save(folder / f"{seed}-{row}.png")
        part = ("," + ("test" if row % 4 == 3 else "train")) * split
        lines.append(f"{seed}-{row}.png,{random.random():.3f},{side},{('red', 'blue')[hue]}{part}")
    path = folder / f"squares-{seed}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def squares(folder: Path, numbers: tuple[str, ...] = (), **given: object) -> LabelTable:
    return read_label_table(write_squares(folder, **given), Wanted(labels=("side", "hue"), numbers=numbers, kinds={"side": "float"}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BACKBONE)


@pytest.mark.parametrize("numbers", [(), ("dim",)])
def test_a_backbone_that_hardly_moves_is_the_frozen_one(tmp_path: Path, backbone: Backbone, numbers: tuple[str, ...]) -> None:
    rows = joint_rows(squares(tmp_path, numbers), backbone)
    moving, frozen = (
        fit_network(rows, read_method(f"shared_bottom(steps=30, batch=8, width=8{more})"), rows.train, key(0))
        for more in (", moves='all', backbone_lr=1e-30", "")
    )
    for one, other in zip(moving.outputs(rows, rows.train), frozen.outputs(rows, rows.train), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    assert frozen.below is None and moving.below is not None and moving.fitted[0].parameters.keys() == frozen.fitted[0].parameters.keys()


def test_features_of_missing_rows_are_zero(tmp_path: Path, backbone: Backbone) -> None:
    rows = joint_rows(squares(tmp_path, ("dim",)), backbone)
    beside = Beside(rows.scaling, rows.table.numbers)
    asked = torch.tensor([[3, -1, 5]])
    found = beside(torch.stack([rows.embedding[3], torch.ones(backbone.width), rows.embedding[5]])[None], asked)
    assert found.shape == (1, 3, beside.width) and not found[0, 1].any()
    torch.testing.assert_close(found[0, [0, 2]], rows.features[[3, 5]])


@pytest.mark.parametrize("steps", [20, 30])
def test_the_last_groups_answer_as_the_whole_network_does(tmp_path: Path, backbone: Backbone, steps: int) -> None:
    """After 25 steps the best weights of the rows held back answer."""
    rows = joint_rows(squares(tmp_path), backbone)
    method = read_method(MOVING.replace("steps=20", f"steps={steps}, last=1"))
    found = fit_network(rows, method, rows.train, key(0))
    assert found.below is not None
    asked = np.arange(12)
    whole = backbone.embed({n: found.below.weights[n] for n in backbone.start()}, RowSpace([rows.table.examples]), asked)
    expected = rows.scaling(whole.double(), rows.table.numbers[asked])
    torch.testing.assert_close(found.features(rows, asked), expected.float(), rtol=1e-4, atol=1e-4)


def test_the_best_weights_are_those_of_their_time(tmp_path: Path, backbone: Backbone) -> None:
    """What moves is copied when it is remembered; what stays is the same tensor, by which the activations below it are known."""
    rows = joint_rows(squares(tmp_path), backbone)
    laid = laid_out(read_method(MOVING.replace(")", ", last=1)")), rows.outputs, 0)
    ground = on_rows(base_ground(rows, laid), rows)
    start = ground.start()
    kept = Watch(rows, ground.space, ground, laid, np.zeros(0, dtype=np.int64))._copied(start)
    for names, moves in ((backbone.groups[-1][1], True), (backbone.groups[0][1], False)):
        assert all((kept[name].data_ptr() != start[name].data_ptr()) == moves for name in names)
        assert all(torch.equal(kept[name], start[name]) for name in names)


def test_only_the_last_groups_move(tmp_path: Path, backbone: Backbone) -> None:
    rows = joint_rows(squares(tmp_path), backbone)
    found = fit_network(rows, read_method(MOVING.replace(")", ", last=1)")), rows.train, key(0)).below
    assert found is not None
    moved = found.moved()
    assert moved is not None and set(moved.weights) <= set(backbone.groups[-1][1])
    with pytest.raises(InputError, match="this table has none with weights"):
        fit_network(joint_rows(houses(tmp_path), None), read_method(MOVING), np.arange(40), key(0))


def test_it_is_tried_beside_the_usual_ways() -> None:
    found = methods_of([MOVING])
    assert list(found) == ["independent", "shared_bottom", MOVING] and found[MOVING].moves_backbone
    assert (
        JointSettings(methods=found).pair == JointSettings(methods=dict(reversed(found.items()))).pair == ("independent", "shared_bottom")
    )
    assert JointSettings(methods={name: found[name] for name in ("independent", MOVING)}).pair is None
    assert usual_finetuning().moves_backbone and not found["shared_bottom"].moves_backbone


@final
@dataclass(frozen=True)
class Made:
    """The folder of a model that reads the finetuned backbone in every column, more photos, and what `adapt` found out."""

    run: Path
    more: Path
    outcome: JointOutcome


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Made:
    folder = tmp_path_factory.mktemp("squares")
    table, honest = squares(folder, ("dim",), split=True), adapt.judged_task

    def judged(*given: Any, **named: Any) -> TaskJudged:
        found = honest(*given, **named)
        assert {"ridge", MOVING} <= found.ways.keys()
        return replace(found, chosen=MOVING)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "judged_task", judged)
        outcome = adapt.adapt_columns(table, backbone, JointSettings(methods={MOVING: read_method(MOVING)}, folds=2))
    run = fewtune.AdaptedColumns(outcome).save(folder / "run")
    return Made(run, write_squares(folder, rows=12, seed=5), outcome)


def test_the_saved_model_answers_as_the_network_that_was_trained(made: Made) -> None:
    opened, rows = fewtune.load_columns(made.run), made.outcome.rows
    assert opened.bundle.places == (1,) and opened.bundle.changes[0] is None and opened.bundle.changes[1] is not None
    said = opened.predict(made.run.parent / "squares-0.csv")
    network = made.outcome.networks[MOVING]
    outputs = network.outputs(rows, np.arange(len(rows)))
    numbers = answers_of("float", outputs[0], rows.tasks[0].scale)
    np.testing.assert_allclose([one.value for one in said.answers["side"]], numbers, rtol=1e-4, atol=1e-4)
    frozen = answers_of("float", network.fitted[0].outputs(rows.features), rows.tasks[0].scale)
    assert np.abs(frozen - numbers).max() > 0.05  # the features as they were give other answers
    measured = {one.name: one.value.mean for one in made.outcome.measured}
    again = opened.evaluate(made.run.parent / "squares-0.csv", include_learned=True)
    test = opened.evaluate(
        pandas.read_csv(made.run.parent / "squares-0.csv")
        .query("split == 'test'")
        .drop(columns="split")
        .assign(path=lambda t: [str(made.run.parent / name) for name in t["path"]])
    )
    assert {one.name: one.value.mean for one in test.tasks} == pytest.approx(measured, abs=1e-5) and again.tasks[0].rows == len(rows)
    assert fewtune.AdaptedColumns(made.outcome).predict(made.more).answers["side"] == opened.predict(made.more).answers["side"]
    assert "a network with the finetuned backbone" in way_in_words(FINETUNED)


def test_it_is_packed_and_saved_again(made: Made) -> None:
    packed = made.run.parent / "packed"
    shutil.copytree(made.run, packed)
    before = fewtune.load_columns(packed).predict(made.more).answers
    said = pack_run(packed)
    assert said.size > 0 and fewtune.load_columns(packed).bundle.packed is not None
    assert fewtune.load_columns(packed).predict(made.more).answers == before
    with pytest.raises(InputError, match="is packed already"):
        pack_run(packed)
    again = save_joint(load_joint(packed), made.run.parent / "again")
    assert fewtune.load_columns(again).predict(made.more).answers == before


def test_damage_to_what_moved_is_noticed(made: Made, tmp_path: Path) -> None:
    for number, (name, change) in enumerate({"weights.safetensors": b"x", "fewtune.json": b" "}.items()):
        broken = tmp_path / str(number)
        shutil.copytree(made.run, broken)
        (broken / name).write_bytes((broken / name).read_bytes() + change)
        if name == "weights.safetensors":
            with pytest.raises(InputError, match="was changed or damaged after it was saved"):
                load_joint(broken)
    record = {k: v for k, v in json.loads((made.run / RECORD).read_bytes()).items() if k not in ("digest",)}
    tasks = [{**task, "reads": 3} for task in record["tasks"]]
    for change in ({"tasks": tasks}, {"changes": [None]}, {"changes": [None, {"edits": "()"}]}, {"changes": "none"}):
        (broken / RECORD).write_bytes(sealed({**record, **change}))
        with pytest.raises(InputError, match="is not a whole fewtune model"):
            load_joint(broken)
    older = {**record, "changes": None, "tasks": [{k: v for k, v in task.items() if k != "reads"} for task in record["tasks"]]}
    (broken / RECORD).write_bytes(sealed(older))
    assert load_joint(broken).changes == (None,) and record["format"] == FORMAT


def test_a_short_budget_leaves_it_out_with_a_sentence(tmp_path: Path, backbone: Backbone) -> None:
    table = squares(tmp_path, rows=24)
    found = adapt.adapt_columns(table, backbone, JointSettings(methods={}, finetune=True, minutes=0.01, folds=2))
    assert all(FINETUNED not in task.ways for task in found.tasks)
    said = r"Too little time to finetune the backbone: it takes about \d+ minutes?: --budget minutes=\d+ \(in Python [^()]+\([^()]+\)\)\.$"
    assert any(re.match(said, line) for line in found.details)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "usual_finetuning", lambda: read_method(MOVING))
        longer = adapt.adapt_columns(table, backbone, JointSettings(methods={}, finetune=True, folds=2))
    assert all(FINETUNED in task.ways for task in longer.tasks) and not longer.details
