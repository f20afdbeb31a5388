"""compare on several targets and backbones, and on saved episodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fewtune.evaluation.saved_episodes import read_saved
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
SMALL = ("--episodes", "20", "--queries", "4", "--ways", "3", "--format", "json")


def rows(path: Path, seed: int, order: np.ndarray | None = None, *, names: str = "abcdef") -> Path:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(6), 10)
    x = (np.eye(6, 8)[y] * 1.5 + random.normal(size=(60, 8))).astype(np.float32)
    order = np.arange(60) if order is None else order
    np.savez(path, x=x[order], y=np.array(list(names))[y[order]])
    return path


def test_targets_backbones_and_shots_in_one_study(fewtune: Run, tmp_path: Path) -> None:
    one, two = rows(tmp_path / "one.npz", 1), rows(tmp_path / "two.npz", 2)
    asked = ("--backbone", "mlp,inputs=8,width=8", "mlp,inputs=8,width=12", "--method", "centroid", "ridge", "--shots", "1", "3", *SMALL)
    ran = fewtune("compare", one, "--target", two, *asked, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    lines = json.loads(ran.out)
    assert len(lines) == 2 * 2 * 2 * 2 and {x["target"] for x in lines} == {"one", "two"} and len({x["backbone"] for x in lines}) == 2
    for data in (one, two):
        for name in ("mlp,inputs=8,width=8", "mlp,inputs=8,width=12"):
            alone = fewtune("compare", data, "--backbone", name, *asked[3:])
            mine = [x for x in lines if x["target"] == data.stem and x["backbone"] == name]
            assert json.loads(alone.out) == mine
    assert len(set(pq.read_table(tmp_path / "run" / "result.parquet")["setting"].to_pylist())) == 8
    table = fewtune("compare", one, "--target", two, *asked[:-2], "--format", "table").out
    assert "target" in table and "width=12" in table and table.splitlines()[0].startswith("one, two, all classes")


def test_wrong_targets_and_backbones(fewtune: Run, tmp_path: Path) -> None:
    one = rows(tmp_path / "one.npz", 1)
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\n" + "".join(f"word {i} of {i % 3},{i % 3}\n" for i in range(30)))
    mixed = fewtune("compare", one, "--target", texts, *SMALL)
    assert mixed.code == 2 and "expected targets of one modality, but one holds vectors, texts holds texts" in mixed.err
    twice = fewtune("compare", one, "--backbone", "mlp,inputs=8", "mlp,inputs=8", *SMALL)
    assert twice.code == 2 and "is given twice" in twice.err
    other = fewtune("adapt", one, "--backbone", "precomputed", "small", "--out", tmp_path / "m")
    assert other.code == 2 and "takes one --backbone, found 2" in other.err


def test_one_training_is_tested_on_every_target(fewtune: Run, tmp_path: Path) -> None:
    one, two, source = (rows(tmp_path / f"{name}.npz", i, names=name * 6) for i, name in enumerate("xyz"))
    source = rows(source, 5, names="ghijkl")
    asked = (
        *("--source", source, "--backbone", "mlp,inputs=8", "--method", "multitask(ways=3,shots=1,queries=3,steps=3)"),
        *("--sweep", "lr=1e-3,1e-1", "--training-seeds", "0", "1", "--validation-episodes", "4", "--shots", "1", *SMALL),
    )
    one, two = rows(one, 1), rows(two, 2)
    ran = fewtune("compare", one, "--target", two, *asked, "--trained", tmp_path / "trained", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    kept = [path for path in (tmp_path / "trained").iterdir() if path.name != "validation"]
    assert len(kept) == 3  # two values of the sweep, and the second seed of the best: not twice as many for two targets
    assert len(list((tmp_path / "run" / "weights").iterdir())) == 4
    alone = [json.loads(fewtune("compare", data, *asked).out)[0]["mean"] for data in (one, two)]
    assert [x["mean"] for x in json.loads(ran.out)] == alone


def test_saved_episodes_are_read_back_on_the_same_data_in_another_order(fewtune: Run, tmp_path: Path) -> None:
    data = rows(tmp_path / "mine.npz", 1)
    asked = ("--method", "centroid", "--method", "ridge", "--format", "json")
    first = fewtune("compare", data, *asked, *SMALL[:-2], "--shots", "1", "3", "--seeds", "0", "5", "--out", tmp_path / "run")
    assert first.code == 0, first.err
    shuffled = rows(tmp_path / "theirs.npz", 1, np.random.default_rng(3).permutation(60))
    again = fewtune("compare", shuffled, *asked, "--episodes", tmp_path / "run")
    assert again.code == 0, again.err
    pairs = list(zip(json.loads(first.out), json.loads(again.out), strict=True))
    assert len(pairs) == 4
    for a, b in pairs:
        assert a | {"target": ""} == b | {"target": ""}
    lone = fewtune(
        "compare", shuffled, *asked, "--episodes", tmp_path / "run" / "episodes" / "setting1-seed5.npz", "--out", tmp_path / "two"
    )
    assert lone.code == 0 and [x["n"] for x in json.loads(lone.out)] == [20, 20], lone.err
    kept, first_kept = (read_saved(tmp_path / name) for name in ("two", "run"))
    assert kept.protocols == first_kept.protocols[1:]
    drawn = fewtune("compare", shuffled, *asked, *SMALL[:-2], "--shots", "1", "3", "--seeds", "0", "5")
    assert json.loads(drawn.out) != json.loads(again.out)  # drawn anew, rows in another order give other episodes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("other rows", "60 rows of 60 in the saved episodes are missing here"),
        ("other labels", "of another class in the data"),
        ("other names", "another name in the data"),
    ],
)
def test_other_data_are_refused(change: str, said: str, fewtune: Run, tmp_path: Path) -> None:
    data = rows(tmp_path / "mine.npz", 1)
    first = fewtune("compare", data, "--method", "centroid", *SMALL[2:], "--episodes", "200", "--out", tmp_path / "run")
    assert first.code == 0, first.err
    names = {"other labels": "abcdfe", "other names": "ABCDEF"}.get(change, "abcdef")
    other = rows(tmp_path / "other.npz", 2 if change == "other rows" else 1, names=names)
    ran = fewtune("compare", other, "--method", "centroid", "--episodes", tmp_path / "run")
    assert ran.code == 2, ran.out
    assert said in ran.err or (change == "other names" and "of another class in the data" in ran.err), ran.err


def test_flags_that_saved_episodes_decide_are_refused(fewtune: Run, tmp_path: Path) -> None:
    data = rows(tmp_path / "mine.npz", 1)
    ran = fewtune("compare", data, "--episodes", tmp_path, "--ways", "3")
    assert ran.code == 2 and "--ways cannot change: leave --ways out" in ran.err
    empty = fewtune("compare", data, "--episodes", tmp_path)
    assert empty.code == 2 and "holds no saved episodes" in empty.err
    absent = fewtune("compare", data, "--episodes", tmp_path / "absent")
    assert absent.code == 2 and "absent" in absent.err
