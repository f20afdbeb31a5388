"""Several label columns through the command line: learned, predicted, measured, and what cannot be is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.journeys.conftest import Ran
from tests.unit.joint.grounds import LABELS, write_houses

Run = Callable[..., Ran]
COLUMNS = [word for name in LABELS for word in ("--label", name)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run folder, learned without networks, and what was printed."""
    from fewtune.cli.adapt_columns import ColumnsAsked, adapt_table
    from fewtune.cli.options import BackboneFlags
    from fewtune.data.reading.label_table import Wanted

    folder = tmp_path_factory.mktemp("houses")
    data = write_houses(folder / "houses.csv", rows=120, split=True)
    asked = ColumnsAsked(None, "never", 5.0, 4, 0, False)
    wanted = Wanted(labels=LABELS, numbers=("size", "age"))
    adapt_table(data, wanted, folder / "run", asked, BackboneFlags(quiet=True), overwrite=False, pack=True)
    return folder, ""


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_command_learns_every_column_alone_and_together(fewtune: Run, tmp_path: Path) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=80, split=True)
    ran = fewtune("adapt", data, *COLUMNS, "--numbers", "size", "age", "--out", tmp_path / "run", "--method", "shared_bottom(steps=30)")
    assert ran.code == 0, ran.err
    assert "price: a number" in ran.out and "kind: one of two (big, small)" in ran.out and "tags: several of 2 labels" in ran.out
    assert "Should they be learned together?" in ran.out and "price: new numbers are off by" in ran.out
    assert "test rows" in ran.out and (tmp_path / "run" / "report.html").is_file()


def test_predict_gives_a_column_for_each_label(fewtune: Run, trained: tuple[Path, str]) -> None:
    folder, _ = trained
    new = write_houses(folder / "new.csv", rows=40, seed=7, missing=0.0)
    out = folder / "answers.csv"
    ran = fewtune("predict", folder / "run", new, "--out", out, "--overwrite")
    assert ran.code == 0, ran.err
    found = read(out)
    assert len(found) == 40 and list(found[0])[:5] == ["size", "age", *LABELS]
    assert {"price_predicted", "price_predicted low", "price_predicted high", "kind_predicted", "kind_predicted probability"} <= found[
        0
    ].keys()
    price = np.array([float(row["price"]) for row in found])
    low, high = (np.array([float(row[f"price_predicted {end}"]) for row in found]) for end in ("low", "high"))
    assert np.mean((price >= low) & (price <= high)) > 0.7
    assert np.mean([row["kind"] == row["kind_predicted"] for row in found]) > 0.85
    assert np.mean([{*row["tags"].split("|")} == {*row["tags_predicted"].split("|")} for row in found]) > 0.6


def test_predict_names_a_column_as_the_label_where_the_table_has_none(fewtune: Run, trained: tuple[Path, str], tmp_path: Path) -> None:
    new = tmp_path / "plain.csv"
    new.write_text("size,age\n12,1\n6,\n,4\n")
    ran = fewtune("predict", trained[0] / "run", new, "--format", "csv")
    rows = list(csv.DictReader(ran.out.splitlines()))
    assert [row["kind"] for row in rows][:2] == ["big", "small"] and float(rows[0]["price"]) > float(rows[1]["price"])
    ran = fewtune("predict", trained[0] / "run", new, "--format", "json")
    first = json.loads(ran.out)[0]
    assert first["answers"]["kind"]["value"] == "big" and first["answers"]["price"]["low"] < first["answers"]["price"]["value"]
    assert abs(sum(first["answers"]["kind"]["scores"].values()) - 1) < 1e-6
    assert set(first["answers"]["tags"]["scores"]) == {"old", "cheap"} and first["row"] == {"size": "12", "age": "1"}
    assert "big (" in fewtune("predict", trained[0] / "run", new).out


def test_evaluate_measures_every_column_and_leaves_out_what_was_learned(fewtune: Run, trained: tuple[Path, str]) -> None:
    folder, _ = trained
    new = write_houses(folder / "labelled.csv", rows=60, seed=3)
    ran = fewtune("evaluate", folder / "run", new, "--format", "json")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert made["tasks"]["price"]["metric"] == "r2" and made["tasks"]["price"]["mean"] > 0.9
    assert made["tasks"]["kind"]["metric"] == "accuracy" and 40 < made["tasks"]["kind"]["rows"] <= 60
    assert made["tasks"]["tags"]["others"].keys() >= {"micro_f1", "auc"}
    again = fewtune("evaluate", folder / "run", folder / "houses.csv")
    assert again.code == 0 and "Left out because the model learned from it" in again.out
    part = folder / "part.csv"
    part.write_text("size,age,kind\n12,1,big\n5,2,small\n11,,big\n")
    assert "price is not measured: part has no such column" in fewtune("evaluate", folder / "run", part).out


@pytest.mark.parametrize("column", LABELS)
def test_a_column_without_any_label_is_not_measured_and_the_others_are(fewtune: Run, trained: tuple[Path, str], column: str) -> None:
    folder, _ = trained
    rows = read(write_houses(folder / "some.csv", rows=40, seed=5))
    part = folder / "some.csv"
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, column: ""} for row in rows)
    ran = fewtune("evaluate", folder / "run", part, "--format", "json")
    assert ran.code == 0, ran.err
    assert set(json.loads(ran.out)["tasks"]) == set(LABELS) - {column}
    assert f"{column} is not measured: no row that counts has a label in it" in fewtune("evaluate", folder / "run", part).out


def test_labelled_rows_may_lack_numbers_and_not_all_labels(fewtune: Run, trained: tuple[Path, str], tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    new.write_text("size,age,kind\n12,,big\n5,,small\n11,,big\n")  # no age is known, as `predict` allows
    assert fewtune("evaluate", trained[0] / "run", new).code == 0
    new.write_text("size,age,kind,price\n12,1,,\n5,2,,\n")
    ran = fewtune("evaluate", trained[0] / "run", new)
    assert ran.code == 2 and ran.err.endswith("fewtune: new: no row has a label to measure on.\n")


def test_the_folder_alone_is_enough_and_damage_is_noticed(fewtune: Run, trained: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = trained
    assert (folder / "run" / "README.md").read_text().startswith("# A fewtune model for houses")
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (folder / "run").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    content = bytearray((broken / "head.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "head.safetensors").write_bytes(content)
    new = tmp_path / "new.csv"
    new.write_text("size,age\n12,1\n")
    ran = fewtune("predict", broken, new)
    assert ran.code == 2 and "was changed or damaged after it was saved" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "price", "--label", "price"], "'price' is named twice"),
        (["--label", "prize", "--label", "kind"], "unknown label column of houses 'prize': did you mean price"),
        (["--label", "price", "--kind", "price=number"], "unknown kind 'number' of price"),
        (["--label", "price", "--kind", "price"], "--kind is NAME=class, NAME=float or NAME=multi, found 'price'"),
        (["--label", "kind", "--kind", "price=float"], "a kind is given for 'price', which is no label column"),
        (["--label", "price", "--numbers", "kind"], "column 'kind' holds text"),
        (["--label", "price", "--numbers", "price"], "both an input and a label"),
        (["--label", "price", "--numbers", "size", "--method", "centroid"], "'centroid' does not learn label columns"),
        (["--label", "price", "--numbers", "size", "--threshold", "0.5"], "--threshold is for one column of classes"),
        (["--label", "price", "--label", "kind", "--source", "."], "--source is for one column of classes"),
        (["--label", "price", "--label", "kind", "--budget", "visits=100"], "--budget visits= is for one column of classes"),
        (["--label", "price", "--numbers", "size", "--metric", "auc"], "no label column is judged by auc, which is for columns of classes"),
    ],
)
def test_what_cannot_be_learned_is_said(fewtune: Run, tmp_path: Path, words: list[str], said: str) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=20)
    ran = fewtune("adapt", data, *words, "--out", tmp_path / "run")
    assert ran.code == 2 and said in ran.err and len(ran.err.strip().splitlines()[-1]) < 400, ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--dry-run"],
        ["--shard", "1/2", "--out", "x"],
        ["--shots", "1"],
        ["--no-controls"],
        ["--target", "."],
        ["--trained", "x"],
        ["--resume"],
    ],
)
def test_flags_of_episodes_are_not_passed_over(fewtune: Run, tmp_path: Path, words: list[str]) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=20)
    ran = fewtune("compare", data, "--label", "price", "--numbers", "size", *(str(tmp_path / "x") if w == "x" else w for w in words))
    assert ran.code == 2 and f"{words[0]} is for comparisons on few-shot episodes; leave it out" in ran.err, ran.err


def test_what_a_model_of_columns_does_and_what_it_does_not(fewtune: Run, trained: tuple[Path, str], tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    new.write_text("size,age\n12,1\n60,2\n61,1\n")
    ran = fewtune("suggest", trained[0] / "run", new, "--count", "2", "--format", "json")
    assert ran.code == 0 and len(json.loads(ran.out)["suggestions"]) == 2, ran.err
    ran = fewtune("add-class", trained[0] / "run", "vast", new, "--out", tmp_path / "larger")
    assert (ran.code == 0 and "Class vast of kind was added from 3 examples" in ran.out) or "answered by a network" in ran.err, ran.err
    ran = fewtune("add-class", trained[0] / "run", "x", new, "--column", "price")
    assert ran.code == 2 and "has no column of classes 'price'" in ran.err
    ran = fewtune("predict", trained[0] / "run", new, "--threshold", "0.5")
    assert ran.code == 2 and "--threshold is for models of one column of classes" in ran.err
    ran = fewtune("predict", trained[0] / "run", tmp_path)
    assert ran.code == 2 and "this model reads the columns size, age: give tables" in ran.err


@pytest.mark.slow
def test_methods_are_compared_on_every_column(fewtune: Run, tmp_path: Path) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=90)
    methods = ["independent", "heads", "mmoe(experts=2, steps=20)", "shared_bottom(steps=20, aggregator=PcGrad())"]
    flags = [word for method in methods for word in ("--method", method)]
    words = ("compare", data, *COLUMNS, "--numbers", "size", "age", *flags, "--training-seeds", "0", "1")
    ran = fewtune(*words, "--out", tmp_path / "out", "--metric", "rmse")
    assert ran.code == 0, ran.err
    assert "price (rmse)" in ran.out and "kind (accuracy)" in ran.out and "Use of experts: mmoe(experts=2, steps=20)" in ran.out
    rows = read(tmp_path / "out" / "results.csv")
    assert len(rows) == len(methods) * len(LABELS) and (tmp_path / "out" / "report.html").is_file()
    heads = next(row for row in rows if row["method"] == "heads" and row["column"] == "price")
    assert float(heads["value"]) < 2 and float(heads["gain"]) > 0  # in units of the table; noise has 0.5
    ran = fewtune("compare", data, *COLUMNS, "--numbers", "size", "age", "--metric", "rms")
    assert ran.code == 2 and "unknown metric 'rms': did you mean rmse" in ran.err
