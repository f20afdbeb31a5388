"""A saved model of several label columns: written as ONNX, and asked which rows to label next."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

import fewtune
from fewtune.errors import InputError
from fewtune.models.joint.add_class import add_joint_class
from fewtune.models.joint.bundle import load_joint, save_joint
from fewtune.models.joint.rows import given_rows
from fewtune.models.joint.suggest import suggest_joint
from fewtune.report.joint_answers import render_joint_suggestions
from tests.unit.joint.grounds import LABELS, NUMBERS, write_houses
from tests.unit.joint.test_finetuned import BACKBONE, write_squares

NEVER = fewtune.AdaptSettings(finetune="never", folds=2)


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses")
    made = fewtune.adapt(write_houses(folder / "houses.csv"), label=LABELS, numbers=NUMBERS, settings=NEVER)
    return made.save(folder / "run")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with a number beside them."""
    folder = tmp_path_factory.mktemp("squares")
    data = write_squares(folder, rows=24)
    labels = {"label": ("side", "hue"), "kinds": {"side": "float"}, "numbers": ["dim"]}
    return fewtune.adapt(data, backbone=BACKBONE, settings=NEVER, **labels).save(folder / "run")  # type: ignore[call-overload,no-any-return]


def same(model: fewtune.ColumnsModel, outputs: list[np.ndarray], said: dict[str, list[object]]) -> None:
    for task, found in zip(model.bundle.tasks, outputs, strict=True):
        answers: list[object] = said[task.name]
        wanted = [[a.value] if task.kind == "float" else list(a.scores.values()) for a in answers]  # type: ignore[attr-defined]
        np.testing.assert_allclose(found, np.array(wanted), rtol=1e-4, atol=1e-4)


def test_onnx_answers_every_column_as_predict_does(houses: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    from fewtune.models.joint.export import export_joint

    model = fewtune.load_columns(houses)
    made = export_joint(model.bundle, houses / "model.onnx")
    assert made.difference <= 1e-4 and "one output for each of 3 columns" in made.sentences[0]
    session = onnxruntime.InferenceSession(str(made.path))
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    assert [(one["name"], one["kind"], one["output"]) for one in columns] == [
        ("price", "float", "column_0"),
        ("kind", "class", "column_1"),
        ("tags", "multi", "column_2"),
    ]
    frame = pandas.DataFrame({"size": [14.0, 5.0, 9.0], "age": [1.0, None, 4.0]})
    outputs = session.run(None, {"numbers": frame.to_numpy(dtype=np.float32)})
    same(model, outputs, model.predict(frame).answers)  # type: ignore[arg-type]
    note = made.path.with_suffix(".md").read_text()
    assert "| `column_1` | kind | float32 [N, 2]: probabilities of the classes big, small |" in note
    assert "the columns size, age in this order, NaN where one is missing" in note
    assert fewtune.load_columns(houses).predict(frame).answers == model.predict(frame).answers  # the folder is still whole


def test_onnx_of_photos_with_a_number(squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    from fewtune.models.joint.export import export_joint

    model = fewtune.load_columns(squares)
    made = export_joint(model.bundle, tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3)).astype(np.uint8)
    for row, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"{row}.png")
    (tmp_path / "t.csv").write_text("path,dim\n0.png,0.4\n1.png,\n")
    session = onnxruntime.InferenceSession(str(made.path))
    outputs = session.run(None, {"pixels_0_255": pixels, "numbers": np.array([[0.4], [np.nan]], dtype=np.float32)})
    same(model, outputs, model.predict(tmp_path / "t.csv").answers)  # type: ignore[arg-type]
    black = session.run(None, {"pixels_0_255": pixels // 255, "numbers": np.zeros((2, 1), dtype=np.float32)})
    assert all(np.isnan(one).all() for one in black)


def test_rows_that_columns_are_unsure_of_are_suggested(houses: Path, tmp_path: Path) -> None:
    bundle = fewtune.load_columns(houses).bundle
    table = tmp_path / "new.csv"
    learned = (houses.parent / "houses.csv").read_text().splitlines()
    first = next(line.split(",")[:2] for line in learned[1:] if ",," not in line)
    table.write_text("\n".join(["size,age", "20,0.5", "1,4.5", "10.0,2.5", "10.0,2.5", ",".join(first), "18,1"]) + "\n")
    given = given_rows(bundle, [table], [])
    made = suggest_joint(bundle, given, 2)
    assert made.rows[0] == 2 and len(made.rows) == 2  # between big and small, old and new
    assert made.left_out[0][1].startswith("a copy of") and made.left_out[1][1] == "the model was learned from it"
    assert made.unsure[0] is not None and made.unsure[1] is not None and made.unsure[0] > made.unsure[1]
    kind, tags = (made.answers.answers[name][0].scores or {} for name in ("kind", "tags"))
    unsure = [1 - abs(kind["big"] - kind["small"]), float(np.mean([1 - abs(2 * p - 1) for p in tags.values()]))]
    assert made.unsure[0] == pytest.approx(np.mean(unsure))
    assert made.sentences[0] == "Label 2 rows of 4: those that its columns are least sure of, far from one another."
    said = json.loads(render_joint_suggestions(made, "json", given))["suggestions"]
    assert [one["input"].endswith("row 3") or one["unsure"] > 0 for one in said] and list(said[0]["answers"]) == list(LABELS)
    rows = list(csv.DictReader(io.StringIO(render_joint_suggestions(made, "csv", given))))
    assert float(rows[0]["unsure"]) == pytest.approx(made.unsure[0], abs=1e-4) and rows[0]["kind"] in ("big", "small")
    assert "unsure %" in render_joint_suggestions(made, "table", given)
    with pytest.raises(InputError, match="no row is left to suggest"):
        (tmp_path / "one.csv").write_text("size,age\n" + ",".join(first) + "\n")
        suggest_joint(bundle, given_rows(bundle, [tmp_path / "one.csv"], []), 1)
    with pytest.raises(InputError, match="expected a count of 1 row or more"):
        suggest_joint(bundle, given, 0)


def test_a_model_of_numbers_suggests_rows_far_from_one_another(tmp_path: Path) -> None:
    made = fewtune.adapt(write_houses(tmp_path / "h.csv"), label="price", numbers=NUMBERS, settings=NEVER)
    (tmp_path / "new.csv").write_text("size,age\n" + "\n".join(f"{s},{a}" for s, a in [(5, 1), (5.1, 1), (15, 4), (15.1, 4)]) + "\n")
    bundle = made.model.bundle
    found = suggest_joint(bundle, given_rows(bundle, [tmp_path / "new.csv"], []), 2)
    assert {row // 2 for row in found.rows} == {0, 1} and found.unsure == (None, None) and "do not say how sure" in found.sentences[0]


def test_a_class_is_added_to_one_column_without_training(houses: Path, tmp_path: Path) -> None:
    bundle = load_joint(houses)
    table = tmp_path / "huge.csv"
    table.write_text("size,age\n" + "\n".join(f"{40 + i},{i % 4}" for i in range(8)) + "\n")
    made = add_joint_class(bundle, None, "huge", given_rows(bundle, [table], []))
    kind = made.bundle.tasks[1]
    assert kind.names == ("big", "small", "huge") and kind.rows == bundle.tasks[1].rows + 8 and kind.expected is not None
    assert kind.expected.mean > 0.85 and "was added from 8 examples" in made.sentences[0] and made.sentences[0] in made.bundle.card
    again = fewtune.load_columns(save_joint(made.bundle, tmp_path / "run"))
    frame = pandas.DataFrame({"size": [14.0, 5.0, 44.5], "age": [1.0, 2.0, 1.5]})
    said, before = again.predict(frame).answers, fewtune.load_columns(houses).predict(frame).answers
    assert [one.value for one in said["kind"]] == ["big", "small", "huge"] and said["price"] == before["price"]
    with pytest.raises(InputError, match="the model learned from every row"):
        again.evaluate(table.rename(tmp_path / "t.csv") and _labelled(tmp_path / "t.csv"))
    (tmp_path / "more.csv").write_text("size,age\n60,1\n60,1\n")
    more = add_joint_class(again.bundle, "kind", "huge", given_rows(bundle, [tmp_path / "more.csv"], []), more=True)
    assert more.bundle.tasks[1].rows == kind.rows + 1 and "1 row was left out" in more.sentences[1]


def _labelled(path: Path) -> Path:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",kind", *(f"{line},huge" for line in lines[1:])]) + "\n")
    return path


def test_where_a_class_cannot_be_added(houses: Path, squares: Path, tmp_path: Path) -> None:
    bundle = load_joint(houses)
    table = tmp_path / "new.csv"
    table.write_text("size,age\n40,1\n")
    rows = given_rows(bundle, [table], [])
    for column, name, said in (
        ("price", "x", "this model has no column of classes 'price': its columns of classes are kind"),
        (None, "big", "this model has a class 'big' already"),
        (None, " ", "expected the name of a class"),
    ):
        with pytest.raises(InputError, match=said):
            add_joint_class(bundle, column, name, rows)
    with pytest.raises(InputError, match="has no class 'x' to add more examples to"):
        add_joint_class(bundle, None, "x", rows, more=True)
    alone = add_joint_class(bundle, None, "one", rows)
    assert alone.bundle.tasks[1].expected is None and "is not known" in alone.sentences[-1]
    with pytest.raises(InputError, match="is answered by a network or was saved without its rows"):
        add_joint_class(replace(bundle, support=None), None, "x", rows)
    photo = given_rows(load_joint(squares), [squares.parent / "squares-0.csv"], [])
    with pytest.raises(InputError, match=r"no example of 'green' is left: .* \(the model was learned from it\)"):
        add_joint_class(load_joint(squares), None, "green", photo)


def test_an_input_column_of_a_model_of_numbers_is_refused(houses: Path, tmp_path: Path) -> None:
    table = write_houses(tmp_path / "new.csv", rows=3)
    assert len(given_rows(load_joint(houses), [table], []).examples) == 3
    with pytest.raises(InputError, match=r"reads the columns size, age and no other: leave --input .* out"):
        given_rows(load_joint(houses), [table], [], input="price")
