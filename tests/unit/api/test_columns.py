"""Several label columns from Python."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

import fewtune
from fewtune.errors import InputError
from tests.unit.joint.grounds import LABELS, NUMBERS, write_houses

NEVER = fewtune.AdaptSettings(finetune="never", folds=3)


def test_a_table_is_adapted_saved_opened_and_asked(tmp_path: Path) -> None:
    frame = pandas.read_csv(write_houses(tmp_path / "houses.csv", rows=100))
    made = fewtune.adapt(frame, label=LABELS, numbers=NUMBERS, settings=NEVER)
    assert isinstance(made, fewtune.AdaptedColumns) and made.model.columns == LABELS
    assert made.sentences[0] == "All 3 columns are answered better than by guessing."
    new = pandas.DataFrame({"size": [14.0, 5.0], "age": [1.0, None]})
    said = made.predict(new)
    assert [answer.value for answer in said.answers["kind"]] == ["big", "small"]
    opened = fewtune.load_columns(made.save(tmp_path / "run", pack=True))
    again = opened.predict(new)
    assert again.answers == said.answers and (tmp_path / "run" / "report.html").is_file()
    measured = opened.evaluate(write_houses(tmp_path / "more.csv", rows=50, seed=5))
    assert {one.name for one in measured.tasks} == set(LABELS) and measured.tasks[0].value.mean > 0.9
    assert made.report(tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_one_number_is_a_regression(tmp_path: Path) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=60)
    made = fewtune.adapt(data, label="price", numbers=NUMBERS, settings=NEVER)
    assert made.tasks[0].metric.name == "r2" and made.tasks[0].best.value.mean > 0.9
    low_high = made.predict(pandas.DataFrame({"size": [10.0], "age": [2.0]})).answers["price"][0]
    assert low_high.low is not None and low_high.high is not None and isinstance(low_high.value, float)
    assert low_high.low < low_high.value < low_high.high


def test_columns_are_judged_by_the_metric_that_is_asked_for(tmp_path: Path) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=60)
    made = fewtune.adapt(data, label=("price", "kind"), numbers=NUMBERS, metric=["mae", "auc"], settings=NEVER)
    assert [task.metric.name for task in made.tasks] == ["mae", "auc"] and made.tasks[0].best.value.mean < made.tasks[0].guessing
    one = fewtune.adapt(data, label="price", numbers=NUMBERS, metric="rmse", settings=NEVER)
    assert one.tasks[0].metric.name == "rmse" and one.model.bundle.tasks[0].metric == "rmse"
    with pytest.raises(InputError, match="no label column is judged by auc"):
        fewtune.adapt(data, label="price", numbers=NUMBERS, metric="auc", settings=NEVER)
    with pytest.raises(InputError, match="unknown metric 'mea': did you mean mae"):
        fewtune.adapt(data, label="price", numbers=NUMBERS, metric="mea", settings=NEVER)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=30)
    with pytest.raises(InputError, match="unknown argument of adapt 'lable': did you mean label"):
        fewtune.adapt(data, lable="price")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="sources are for one column of classes"):
        fewtune.adapt(data, label=LABELS, sources=[data])  # type: ignore[call-overload]
    made = fewtune.adapt(data, label="price", numbers=NUMBERS, settings=NEVER).save(tmp_path / "run")
    with pytest.raises(InputError, match=r"in Python fewtune.load_columns"):
        fewtune.load(made)
    with pytest.raises(InputError, match="has no column 'age' of numbers"):
        fewtune.load_columns(made).predict(pandas.DataFrame({"size": [1.0]}))
    with pytest.raises(InputError, match="several label columns are read from a table"):
        fewtune.adapt([1, 2, 3], label="price")
