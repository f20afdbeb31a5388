"""A model of several label columns over HTTP: the same answers as `predict`, and a sentence for everything else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fewtune
from fewtune.models.joint.predict import answer_record
from fewtune.models.predict import Running
from tests.unit.joint.grounds import LABELS, NUMBERS, write_houses
from tests.unit.joint.test_finetuned import BACKBONE, write_squares
from tests.unit.serving.client import as_json, asked

pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from fewtune.serving.application import application
from fewtune.serving.columns import ColumnsAnswering

NEVER = fewtune.AdaptSettings(finetune="never", folds=2)


def app_of(model: fewtune.ColumnsModel) -> Any:
    answering = ColumnsAnswering.of(model.bundle, Running())
    answering.warm()
    return application(answering, "my houses")


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> fewtune.ColumnsModel:
    folder = tmp_path_factory.mktemp("houses")
    made = fewtune.adapt(write_houses(folder / "houses.csv"), label=LABELS, numbers=NUMBERS, settings=NEVER)
    return fewtune.load_columns(made.save(folder / "run"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("squares")


def squares(folder: Path, **more: Any) -> fewtune.ColumnsModel:
    data = write_squares(folder, rows=24)
    made = fewtune.adapt(data, label=("side", "hue"), kinds={"side": "float"}, backbone=BACKBONE, settings=NEVER, **more)
    return fewtune.load_columns(made.save(folder / f"run-{len(more)}", overwrite=True))


def same(said: Any, own: fewtune.ColumnsModel, answers: dict[str, list[Any]]) -> None:
    assert said.status == 200, said
    for row, one in enumerate(said.said["predictions"]):
        assert list(one["answers"]) == list(own.columns)
        for name, found in one["answers"].items():
            expected = answer_record(answers[name][row])
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                assert found[key] == (pytest.approx(value, rel=1e-5, abs=1e-5) if not isinstance(value, str | list) else value)


def test_rows_of_numbers_are_answered_as_predict_does(houses: fewtune.ColumnsModel) -> None:
    rows = [{"size": 14.0, "age": 1.0}, {"size": 5, "age": None}, {"size": 9.5}]
    said = as_json(app_of(houses), {"rows": rows})
    same(said, houses, houses.predict(pandas.DataFrame({"size": [14.0, 5, 9.5], "age": [1.0, None, None]})).answers)
    assert [one["input"] for one in said.said["predictions"]] == ["row 1", "row 2", "row 3"]
    sure = as_json(app_of(houses), {"rows": rows, "threshold": 1}).said["predictions"]
    assert all(one["answers"]["kind"]["value"] is None and one["answers"]["price"]["value"] is not None for one in sure)


def test_photos_alone_and_with_numbers(folder: Path) -> None:
    for more in ({}, {"numbers": ["dim"]}):
        model = squares(folder, **more)
        names = [f"0-{row}.png" for row in range(4)]
        coded = [base64.b64encode((folder / name).read_bytes()).decode() for name in names]
        table = folder / "new.csv"
        table.write_text("path,dim\n" + "\n".join(f"{name},0.5" for name in names) + "\n")
        body = {"rows": [{"dim": 0.5, "photo": one} for one in coded]} if more else {"photos": coded}
        same(as_json(app_of(model), body), model, model.predict(table).answers)
    without = as_json(app_of(model), {"rows": [{"dim": 0.5}]})
    assert without.status == 422 and without.said["error"] == "row 1 has no 'photo': this model reads one in each row."
    broken = as_json(app_of(model), {"rows": [{"dim": 0.5, "photo": "bm90IGEgcGhvdG8="}]})
    assert broken.status == 422 and "row 1" in broken.said["error"]
    path = as_json(app_of(model), {"rows": [{"dim": 0.5, "photo": "/etc/passwd?"}]})
    assert path.status == 422 and path.said["error"].startswith("row 1 has a photo that is not base64")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"rows": [{"size": "big"}]}, "row 1 has 'big' as 'size': expected a number, or null where it is missing."),
        ({"rows": [{"size": True}]}, "row 1 has 'True' as 'size': expected a number, or null where it is missing."),
        ({"rows": [{"size": 10**400}]}, "row 1 has a number that is too large as 'size'."),
        ({"rows": [{"sise": 1}]}, "row 1 has 'sise', which this model does not read: expected age, size."),
        ({"rows": [3]}, "row 1 is a number: expected an object with the columns that this model reads."),
        ({"photos": ["x"]}, 'expected {"rows": [{"NUMBER": 1.5, ...}, ...]}, found an object without a list rows.'),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(houses: fewtune.ColumnsModel, body: Any, said: str) -> None:
    found = as_json(app_of(houses), body)
    assert found.status == 422 and found.said["error"] == said


def test_health_pages_and_description_say_its_columns(houses: fewtune.ColumnsModel) -> None:
    app = app_of(houses)
    health = asked(app, "/health").said
    assert health == {"status": "ok", "model": "my houses", "reads": "table", "columns": list(LABELS)}
    said = asked(app, "/openapi.json").said
    answers = said["components"]["schemas"]["Prediction"]["properties"]["answers"]
    assert answers["required"] == list(LABELS) and answers["properties"]["kind"]["properties"]["value"] == {"enum": ["big", "small", None]}
    listed = said["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["rows"]
    assert listed["items"]["properties"] == {name: {"type": ["number", "null"]} for name in NUMBERS} and not listed["items"]["required"]
    page, docs = (asked(app, path).body.decode() for path in ("/", "/docs"))
    assert "This model answers 3 columns for each row" in page and "One row a line, as JSON" in page
    assert "&#34;rows&#34;" in docs and "&#34;price&#34;" in docs
    form = asked(app, "/predict", b"x", headers={"content-type": "multipart/form-data; boundary=x"})
    assert form.status == 415 and "this model reads rows" in form.said["error"]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    said=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=8),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["size", "age", "photo", "x"]), inside, max_size=3),
        max_leaves=6,
    )
)
def test_any_row_gets_an_answer(houses: fewtune.ColumnsModel, said: Any) -> None:
    found = as_json(app_of(houses), {"rows": [said]})
    assert found.status in (200, 422) and (found.status == 200 or found.said["error"])
