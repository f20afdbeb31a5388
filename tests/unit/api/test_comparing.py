"""fewtune.compare: the numbers of the command line, as values."""

from __future__ import annotations

import builtins
import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fewtune
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.evaluation.result import load_result
from fewtune.parts.heads import Ridge
from fewtune.studies.sinusoid import waves
from fewtune.tasks.samplers import Varied
from tests.journeys.conftest import Ran
from tests.journeys.conftest import fewtune as command

Run = Callable[..., Ran]
run = command  # the fixture, under a name that the package leaves free
FEW = fewtune.CompareSettings(episodes=20, queries=5)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(8), 14)
    x = (np.eye(8, 12)[y] + 0.7 * random.normal(size=(len(y), 12))).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    return tmp_path / "rows.npz"


def noisy(folder: Path, classes: int, seed: int) -> Path:
    """Folders of small photos: each class a coarse pattern under noise."""
    random = np.random.default_rng(seed)
    for k in range(classes):
        (folder / f"{folder.name}{k}").mkdir(parents=True)
        coarse = random.integers(0, 256, (4, 4, 3))
        for i in range(8):
            pixels = np.clip(np.kron(coarse, np.ones((4, 4, 1))) + random.normal(0, 90, (16, 16, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{folder.name}{k}" / f"{i}.png")
    return folder


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("train_seconds", "peak_megabytes")}


def test_the_same_numbers_as_the_command(run: Run, rows: Path, tmp_path: Path) -> None:
    asked = ("compare", rows, "--method", "centroid", "--method", "ridge(penalty=10)", "--shots", 1, 3, "--seeds", 0, 4)
    ran = run(*asked, "--episodes", 20, "--queries", 5, "--format", "json", "--out", tmp_path / "cli")
    assert ran.code == 0, ran.err
    found = fewtune.compare(rows, methods=["centroid", "ridge(penalty=10)"], shots=(1, 3), settings=replace(FEW, seeds=(0, 4)))
    assert found.rows == json.loads(ran.out) and len(found.rows) == 4
    assert found.render("json") == ran.out.rstrip("\n")
    shown = run(*asked, "--episodes", 20, "--queries", 5)
    assert str(found) == shown.out.rstrip("\n")
    saved = found.save(tmp_path / "python")
    assert sorted(p.name for p in saved.rglob("*")) == sorted(p.name for p in (tmp_path / "cli").rglob("*"))
    assert (saved / "study.txt").read_bytes() == (tmp_path / "cli" / "study.txt").read_bytes()
    columns = [name for name in load_result(saved / "result.parquet").table.schema.names if name != "seconds"]
    one, other = (load_result(folder / "result.parquet").table.select(columns) for folder in (saved, tmp_path / "cli"))
    assert one.equals(other)
    with pytest.raises(InputError, match="exists already"):
        found.save(tmp_path / "python")
    again = run(*asked, "--episodes", 20, "--queries", 5, "--format", "json", "--out", saved)  # what was saved is a run that it knows
    assert again.out == ran.out and again.code == 0, again.err


def test_training_with_a_sweep_as_the_command_does(run: Run, tmp_path: Path) -> None:
    target, source = noisy(tmp_path / "mine", 4, 1), noisy(tmp_path / "more", 10, 2)
    method = "multitask(steps=3, batch=1, ways=3, shots=1, queries=3)"
    ran = run(
        "compare", target, "--source", source, "--backbone", "conv4,size=16,width=8", "--method", "centroid", "--method", method,
        "--sweep", "lr=1e-4,1e-2", "--budget", "visits=60", "--training-seeds", 0, 1, "--validation-episodes", 4, "--ways", 3,
        "--shots", 1, "--queries", 3, "--episodes", 8, "--quiet", "--format", "json", "--out", tmp_path / "cli",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    training = fewtune.Training(seeds=(0, 1), visits=60, sweep=(("lr", (1e-4, 1e-2)),), validation=4)
    settings = fewtune.CompareSettings(queries=3, episodes=8, training=training)
    found = fewtune.compare(
        target, methods=["centroid", method], sources=[source], backbone="conv4,size=16,width=8", ways=3, shots=1, settings=settings
    )
    assert [timeless(row) for row in found.rows] == [timeless(row) for row in json.loads(ran.out)]
    assert any("was chosen on validation episodes" in remark for remark in found.remarks)
    saved = found.save(tmp_path / "python")
    weights = sorted(p.name for p in (tmp_path / "cli" / "weights").iterdir())
    assert len(weights) == 2 and sorted(p.name for p in (saved / "weights").iterdir()) == weights
    for name in weights:
        assert (saved / "weights" / name).read_bytes() == (tmp_path / "cli" / "weights" / name).read_bytes()
    scratch = found.models
    assert scratch is not None and scratch.is_dir()
    del found
    gc.collect()
    assert not scratch.parent.exists()
    keeping = fewtune.Keeping(out=tmp_path / "kept")
    kept = fewtune.compare(
        target, methods=["centroid"], backbone="conv4,size=16,width=8", ways=3, shots=1,
        settings=fewtune.CompareSettings(queries=3, episodes=8, keeping=keeping),
    )  # fmt: skip
    assert kept.models == tmp_path / "kept" and (tmp_path / "kept" / "result.parquet").exists()


def test_a_choice_of_tasks_stands_beside_random_ones_and_all_of_them(run: Run, tmp_path: Path) -> None:
    """Three rows in the table, the JSON and the page; --no-controls leaves one."""
    source, target = noisy(tmp_path / "s", 10, 1), noisy(tmp_path / "t", 4, 2)
    method = "multitask(ways=3,queries=3,steps=2,lr=0.01,selection=no_diversity(most=5))"
    asked = ("compare", target, "--source", source, "--method", method, "--backbone", "conv4,size=16,width=8", "--ways", 3, "--shots", 1)
    few = ("--episodes", 5, "--queries", 2, "--reserved", 2, "--candidates", 20, "--validation-episodes", 3)
    names = [method, f"{method}, random tasks", f"{method}, all tasks"]
    ran, alone = (run(*asked, *few, "--format", "json", *more) for more in ((), ("--no-controls",)))
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)
    assert [row["method"] for row in rows] == names and len({(row["visits"], row["steps"]) for row in rows}) == 1
    assert [row["method"] for row in json.loads(alone.out)] == names[:1] and timeless(json.loads(alone.out)[0])["mean"] == rows[0]["mean"]
    assert f"{method} minus {names[2]}: " in ran.err and "--no-controls" in ran.err and "--no-controls" not in alone.err
    settings = fewtune.CompareSettings(
        episodes=5, queries=2, reserved=2, training=fewtune.Training(candidates=20, validation=3), controls=False
    )
    given = {"sources": [source], "backbone": "conv4,size=16,width=8", "ways": 3, "shots": 1}
    few_rows = fewtune.compare(target, methods=[method], settings=settings, **given)  # type: ignore[arg-type]
    assert [row["method"] for row in few_rows.rows] == names[:1]
    whole = fewtune.compare(target, methods=[method], settings=replace(settings, controls=True), **given)  # type: ignore[arg-type]
    assert [timeless(row) for row in whole.rows] == [timeless(row) for row in rows]
    page = whole.report(tmp_path / "page.html").read_text()
    assert all(name in page for name in ("random tasks", "all tasks"))


def test_methods_by_value_and_by_name(rows: Path) -> None:
    methods = {"mine": fewtune.Method(learner=Ridge(penalty=10.0)), "text": "ridge(penalty=10)", "other": "centroid"}
    found = fewtune.compare(rows, methods=methods, shots=1, settings=FEW)
    mine, text, other = found.rows
    assert [row["method"] for row in found.rows] == ["mine", "text", "other"]
    assert mine["mean"] == text["mean"] and mine["loss"] == text["loss"] != other["loss"]


def test_rows_a_frame_and_a_page(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fewtune.compare(rows, methods={"<b>mine</b>": "ridge", "centroid": "centroid"}, shots=1, settings=FEW)
    pandas = pytest.importorskip("pandas")
    frame = found.table()
    assert isinstance(frame, pandas.DataFrame) and list(frame["method"]) == ["<b>mine</b>", "centroid"]
    assert list(frame["mean"]) == [row["mean"] for row in found.rows]
    page = found.report(tmp_path / "page.html").read_text()
    assert "&lt;b&gt;mine&lt;/b&gt;" in page and "<b>mine</b>" not in page and "<script" not in page
    assert all(f"{100 * float(str(row['mean'])):.2f}" in page for row in found.rows) and "adjusted for having" in page
    real = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'fewtune\[frames\]'"):
        found.table()


def test_a_backbone_by_value_and_another_kind_of_episode(rows: Path) -> None:
    backbone = fewtune.load_backbone("precomputed")
    settings = fewtune.CompareSettings(episodes=10, episode=Varied(most_ways=6))
    by_value = fewtune.compare(rows, methods=["centroid"], backbone=backbone, settings=settings)
    by_name = fewtune.compare(rows, methods=["centroid"], settings=fewtune.CompareSettings(episodes=10, episode="Varied(most_ways=6)"))
    assert by_value.rows == by_name.rows and by_value.rows[0]["shots"] == "varied"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"methods": "ridge"}, r'write methods=\["ridge"\]'),
        ({"methods": [fewtune.Method(learner=Ridge())]}, r'write methods=\{"mine"'),
        ({"methods": {"mine": 3}}, "mine: expected a fewtune.Method or the text of one, found a int"),
        ({"methods": ["ridge", "ridge"]}, "given twice"),
        ({"methods": ["multitask"]}, "trains on a source, but none is given"),
        ({"sources": "more/"}, r"write sources=\[...\]"),
        ({"target": waves("new", 3, 30, seed=0)}, "labelled with numbers .*compare_regression"),
        ({"ways": 20}, "at least 20 classes"),
        ({"settings": replace(FEW, seeds=())}, "distinct seeds"),
        ({"settings": fewtune.CompareSettings(episode="ridge")}, "unknown name 'ridge'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(rows: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fewtune.compare(**{"target": rows, "methods": ["centroid"], "settings": FEW, **asked})


def features(classes: int, seed: int, name: str) -> Examples:
    """14 rows of each class; the classes lie apart."""
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), 14)
    x = (2 * random.normal(size=(classes, 12))[y] + random.normal(size=(len(y), 12))).astype(np.float32)
    return make_examples(Vectors(x), [f"{name}{k}" for k in y], name=name)


HEAD_ALONE = (
    "Method(phases=(Phase(sampler=Sampled(ways=3, shots=2, queries=3), learner=Ridge(), plan=Plan(rules=(('head.*', 0.01), ('*', 0.0))), "
    "steps=5),), learner=Ridge())"
)
PROBE = (
    "Method(learner=Adapt(phases=(Phase(sampler=Pooled(), learner=Linear(start='zeros'), plan=Plan(rules=(('head.*', 0.5), ('*', 0.0))), "
    "steps=20),), then=Linear(start='zeros')))"
)


@pytest.mark.parametrize("method", ["relation_network(steps=100, lr=0.01)", "black_box(steps=60, width=16)", HEAD_ALONE, PROBE])
def test_what_trains_a_head_alone_learns_on_embeddings(method: str) -> None:
    """No weights of a backbone are needed. Chance is a third; the target has other classes than the source."""
    target, source = features(6, 0, "new"), features(8, 1, "old")
    found = fewtune.compare(target, methods={"mine": method, "centroid": "centroid"}, sources=[source], settings=FEW, ways=3, shots=5)
    mine, centroid = sorted(found.rows, key=lambda row: row["method"] == "centroid")
    assert mine["n"] == 20 and float(str(mine["mean"])) > 0.42 and float(str(centroid["mean"])) > 0.9


@pytest.mark.parametrize(
    ("method", "backbone"),
    [
        ("black_box(backbone_lr=0.001)", None),
        ("multitask", None),
        ("maml", None),
        ("lora(on='support')", None),
        ("layerwise(on='support')", None),
        ("surgical(group='blocks.0', on='support')", None),
        ("standard", "pixels"),
    ],
)
def test_what_moves_a_backbone_is_refused_where_there_is_none(method: str, backbone: str | None) -> None:
    random = np.random.default_rng(0)
    photos = fewtune.read_examples(
        ([Image.fromarray(one) for one in random.integers(0, 255, (24, 8, 8, 3), dtype=np.uint8)], ["a", "b"] * 12)
    )
    data = features(6, 0, "new") if backbone is None else photos
    with pytest.raises(InputError, match=r"moves the backbone's weights, but (precomputed embeddings have no backbone|pixels has none)"):
        fewtune.compare(data, methods=[method], backbone=backbone, sources=[data], settings=FEW, ways=2, shots=1)


def test_a_row_that_one_of_two_backbones_cannot_read_is_in_no_episode() -> None:
    """Its features are not numbers for the second backbone alone: every method would have answered by them."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 8)
    x = (np.eye(3, 4)[y] + 0.3 * random.normal(size=(24, 4))).astype(np.float32)
    x[5] = 1e37
    one, other = (load_backbone(f"mlp,inputs=4,width={width}") for width in (6, 8))
    with torch.no_grad():
        for weight in other.network.parameters():
            weight.mul_(1e4)
    settings = fewtune.CompareSettings(episodes=30, queries=3, skip_bad=True)
    alone = fewtune.compare((x, y), methods=["centroid"], backbone=one, ways=3, shots=1, settings=settings)
    assert not alone.unreadable
    both = fewtune.compare((x, y), methods=["centroid"], backbone=[one, other], ways=3, shots=1, settings=settings)
    assert list(both.unreadable or ()) == [5]
    assert all(5 not in torch.cat([e.support, e.query], 1) for e in both.outcomes.drawn.values())


def test_numbers_of_shots_that_repeat_are_refused(rows: Path) -> None:
    for shots, found in (((1, 1), "found 1, 1"), ((), "found none")):
        with pytest.raises(InputError, match=f"expected one or several different numbers of shots, {found}"):
            fewtune.compare(rows, methods=["centroid"], shots=shots)
