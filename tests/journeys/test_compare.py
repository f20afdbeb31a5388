"""compare: one table of methods on the same episodes, kept on request."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fewtune.tasks.episodes import load_episodes
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
SMALL = ("--episodes", "40", "--queries", "5")


def test_json_is_a_list_of_objects(fewtune: Run, embeddings: Path) -> None:
    ran = fewtune(
        "compare", embeddings, "--shots", "1", "5", "--method", "centroid", "--method", "ridge(penalty=10)", *SMALL, "--format", "json"
    )
    assert ran.code == 0, ran.err
    lines = json.loads(ran.out)
    assert [(x["method"], x["ways"], x["shots"]) for x in lines] == [
        ("centroid", 5, 1),
        ("ridge(penalty=10)", 5, 1),
        ("centroid", 5, 5),
        ("ridge(penalty=10)", 5, 5),
    ]
    for x in lines:
        low, high = x["interval"]
        assert 0 <= low <= x["mean"] <= high <= 1.01 and x["n"] == 40
    best = max(lines[:2], key=lambda x: x["mean"])
    assert best["p"] is None and all(0 <= x["p"] <= 1 for x in lines[:2] if x is not best)


def test_every_frozen_learner_by_default_in_every_format(fewtune: Run, embeddings: Path) -> None:
    for format in ("table", "csv", "latex", "markdown"):
        ran = fewtune("compare", embeddings, *SMALL, "--shots", "1", "--format", format)
        assert ran.code == 0, ran.err
        for learner in ("centroid", "matching", "ridge", "logistic", "blend"):
            assert learner in ran.out
    rows = list(csv.reader(io.StringIO(fewtune("compare", embeddings, *SMALL, "--shots", "1", "--format", "csv").out)))
    assert len(rows) == 6 and rows[0][0] == "method"


def test_a_kept_run_holds_episodes_and_every_row_and_is_not_run_again(fewtune: Run, embeddings: Path, tmp_path: Path) -> None:
    asked = ("compare", embeddings, "--method", "centroid", "--method", "logistic", *SMALL, "--seeds", "0", "1", "--out", tmp_path / "run")
    first = fewtune(*asked, "--format", "json")
    assert first.code == 0, first.err
    table = pq.read_table(tmp_path / "run" / "result.parquet").to_pydict()
    assert len(table["value"]) == 2 * 2 * 2 * 40
    lines = json.loads(first.out)
    for x in lines:
        mine = [
            v for v, m, s in zip(table["value"], table["method"], table["shots"], strict=True) if m == x["method"] and s == str(x["shots"])
        ]
        assert abs(np.mean(mine) - x["mean"]) < 1e-12
        assert x["interval_over_seeds"] is not None
    assert len(load_episodes(tmp_path / "run" / "episodes" / "setting0-seed1.npz")) == 40
    stamp = (tmp_path / "run" / "result.parquet").stat().st_mtime_ns
    assert fewtune(*asked, "--format", "json").out == first.out
    assert (tmp_path / "run" / "result.parquet").stat().st_mtime_ns == stamp
    other = fewtune("compare", embeddings, "--method", "centroid", *SMALL, "--out", tmp_path / "run")
    assert other.code == 2 and "exists already" in other.err


def test_the_same_episodes_serve_every_method(fewtune: Run, embeddings: Path) -> None:
    """Two spellings of one method agree episode by episode, so their paired difference is exactly zero and nobody wins."""
    ran = fewtune("compare", embeddings, "--method", "logistic", "--method", "logistic(C=3.0)", *SMALL, "--shots", "1", "--format", "json")
    first, second = json.loads(ran.out)
    assert first["mean"] == second["mean"] and not first["winner"] and not second["winner"]
    assert {first["p"], second["p"]} == {None, 1.0}


def test_other_kinds_of_episodes(fewtune: Run, embeddings: Path) -> None:
    for episode in ("Varied(most_ways=8)", "Imbalanced(ways=4)", "Hard(ways=3, shots=2)"):
        ran = fewtune("compare", embeddings, "--episode", episode, "--episodes", "20", "--method", "centroid", "--format", "json")
        assert ran.code == 0, ran.err
        assert 0.2 < json.loads(ran.out)[0]["mean"] <= 1


def planted(folder: Path, sizes: list[int], angles: list[float]) -> Path:
    """Embeddings in a plane: class c has `sizes[c]` rows about the direction `angles[c]` (radians)."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    at = np.array(angles)[labels] + 0.01 * np.random.default_rng(0).normal(size=len(labels))
    np.savez(folder / "planted.npz", x=np.stack([np.cos(at), np.sin(at)], axis=1).astype(np.float32), y=labels)
    return folder / "planted.npz"


def test_every_setting_is_of_the_same_classes(fewtune: Run, tmp_path: Path) -> None:
    """Rows 16 and 20 are asked by 1 and 5 shots with 15 queries: both settings are of the four classes of 40, and it is said."""
    data = planted(tmp_path, [40] * 4 + [18] * 4 + [12] * 4, list(np.linspace(0, 3, 12)))
    ran = fewtune(
        "compare", data, "--ways", "3", "--shots", "1", "5", "--episodes", "60", "--method", "centroid", "--out", tmp_path / "run"
    )
    assert ran.code == 0, ran.err
    both = [load_episodes(tmp_path / f"run/episodes/setting{setting}-seed0.npz") for setting in (0, 1)]
    assert [sorted(set(episodes.classes.flatten().tolist())) for episodes in both] == [[0, 1, 2, 3]] * 2
    assert both[0].classes.tolist() == both[1].classes.tolist()  # and the episodes too, one by one
    said = "Test episodes: 8 of 12 classes have fewer than 20 rows and are left out, in every setting (1, 5 shots)."
    assert " ".join(ran.out.split()).count(said) == 1
    alone = fewtune("compare", data, "--ways", "3", "--shots", "1", "--episodes", "60", "--method", "centroid", "--out", tmp_path / "one")
    assert set(load_episodes(tmp_path / "one/episodes/setting0-seed0.npz").classes.flatten().tolist()) == set(range(8))
    assert "4 of 12 classes have fewer than 16 rows and are left out." in " ".join(alone.out.split())
    whole = fewtune("compare", data, "--ways", "3", "--shots", "1", "--queries", "5", "--episodes", "9", "--method", "centroid")
    assert "left out" not in whole.out + whole.err


def test_hard_episodes_are_of_near_classes(fewtune: Run, tmp_path: Path) -> None:
    """Four pairs of near classes, met class by class in another order: two ways are always a pair, each pair in a quarter of episodes."""
    angles = [0.0, 1.0, 2.0, 3.0, 0.1, 1.15, 2.2, 2.75]
    data = planted(tmp_path, [12] * 8, angles)
    hard = fewtune(
        *("compare", data, "--episode", "Hard(ways=2, shots=1, queries=5)", "--episodes", "800", "--method", "centroid"),
        *("--out", tmp_path / "run", "--format", "json"),
    )
    assert hard.code == 0, hard.err
    found = np.sort(load_episodes(tmp_path / "run/episodes/setting0-seed0.npz").classes.numpy(), axis=1)
    assert (found[:, 1] == found[:, 0] + 4).all()
    shares = np.bincount(found[:, 0]) / 800
    assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 800)


def test_methods_have_names_of_their_own(fewtune: Run, embeddings: Path) -> None:
    mine = "mine=Method(learner=Ridge(penalty=10))"
    ran = fewtune("compare", embeddings, "--method", mine, "--method", "centroid", *SMALL, "--shots", "1", "--format", "json")
    assert ran.code == 0, ran.err
    assert [x["method"] for x in json.loads(ran.out)] == ["mine", "centroid"]
    twice = fewtune("compare", embeddings, "--method", "a=ridge", "--method", "a=centroid", *SMALL)
    assert twice.code == 2 and "two methods have one name" in twice.err
    wrong = fewtune("compare", embeddings, "--method", "mine=rigde", *SMALL)
    assert wrong.code == 2 and "did you mean ridge" in wrong.err


def test_an_unknown_path_of_a_sweep_says_the_nearest(fewtune: Run, embeddings: Path) -> None:
    asked = ("compare", embeddings, "--source", embeddings, "--method", "multitask(ways=3)", *SMALL)
    ran = fewtune(*asked, "--backbone", "mlp,inputs=16", "--sweep", "phases.0.stepps=1,2")
    assert ran.code == 2 and "no method has a number at phases.0.stepps: did you mean phases.0.steps" in ran.err, ran.err
    wrong = fewtune(*asked, "--sweep", "phases..lr=1,2")
    assert wrong.code == 2 and "--sweep is lr, or an option" in wrong.err


def test_lists_may_stand_behind_one_flag(fewtune: Run, embeddings: Path) -> None:
    ran = fewtune("compare", embeddings, "--method", "centroid", "ridge", *SMALL, "--shots", "1", "--format", "json")
    assert ran.code == 0, ran.err
    assert [x["method"] for x in json.loads(ran.out)] == ["centroid", "ridge"]


def test_reset_trained_needs_trained(fewtune: Run, embeddings: Path, tmp_path: Path) -> None:
    ran = fewtune("compare", embeddings, "--method", "centroid", *SMALL, "--reset-trained")
    assert ran.code == 2 and "--reset-trained" in ran.err and "give that too" in ran.err
    both = fewtune("compare", embeddings, "--method", "centroid", *SMALL, "--reset-trained", "--resume", "--trained", tmp_path)
    assert both.code == 2 and "give one" in both.err


def test_out_holds_summary_page_and_table(fewtune: Run, embeddings: Path, tmp_path: Path) -> None:
    asked = ("compare", embeddings, "--method", "centroid", "ridge", "matching", *SMALL, "--shots", "1", "5", "--out", tmp_path / "run")
    first = fewtune(*asked, "--format", "json")
    assert first.code == 0, first.err
    run = tmp_path / "run"
    lines = json.loads(first.out)
    assert json.loads((run / "summary.json").read_text()) == lines
    assert [row["method"] for row in csv.DictReader(io.StringIO((run / "summary.csv").read_text()))] == [x["method"] for x in lines]
    kept = pq.read_table(run / "summary.parquet").to_pylist()
    assert [(x["mean"], x["interval"], x["p"]) for x in kept] == [(x["mean"], x["interval"], x["p"]) for x in lines]
    page, latex = (run / "report.html").read_text(), (run / "table.tex").read_text()
    assert 'id="ranks"' in page and 'id="errors"' in page and r"\pm" in latex
    assert fewtune(*asked, "--format", "latex").out == latex
    for name in ("report.html", "summary.json"):
        (run / name).unlink()
    assert fewtune(*asked, "--format", "json").out == first.out  # read back, and completed
    assert (run / "report.html").read_text() == page
    (run / "report.html").write_text("mine")
    (run / "summary.csv").unlink()
    refused = fewtune(*asked)
    assert refused.code == 2 and "report.html was edited" in refused.err and (run / "report.html").read_text() == "mine"


def test_sinusoids_are_compared_by_their_error(fewtune: Run) -> None:
    few = ("--episodes", 40, "--queries", 10, "--shots", 5, 10, "--quiet")
    quick = "fast=maml(steps=3, inner_lr=0.01)"
    ran = fewtune("compare", "sinusoid", "--method", "ridge", "--method", quick, *few, "--training-seeds", 0, 1, "--format", "json")
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)
    assert [(row["method"], row["shots"], row["episodes"]) for row in rows] == [(m, s, 40) for s in (5, 10) for m in ("ridge", "fast")]
    assert all(0 < row["rmse"] < 6 for row in rows) and rows[0]["seeds_interval"] is None and rows[1]["visits"] > 0
    ridge, fast = rows[:2]
    lowest, other = sorted((ridge, fast), key=lambda row: row["rmse"])
    assert lowest["above_lowest"] is None and other["above_lowest"] == pytest.approx(other["rmse"] - lowest["rmse"])
    shown = fewtune("compare", "latent", "--method", "ridge(normalize=False)", *few)
    assert shown.code == 0 and "latent, 10 queries, precomputed, RMSE" in shown.out and "lowest" in shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ways", 3), "--ways is for data with classes; leave it out for sinusoid"),
        (("--out", "x"), "--out is for data with classes"),
        (("--source", "x"), "--source is for data with classes"),
        (("--method", "centroid"), "is for classes: expected one that predicts numbers"),
        (("--backbone", "mlp", "--backbone", "precomputed"), "one backbone, found 2"),
    ],
)
def test_what_is_for_classes_is_refused_for_sinusoids(fewtune: Run, words: tuple[object, ...], said: str) -> None:
    ran = fewtune("compare", "sinusoid", *words, "--quiet")
    assert ran.code == 2 and said in ran.err, ran.err
