"""Who helps whom among label columns, through the command line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewtune.joint import relations
from fewtune.recipes.sharing import independent, shared_bottom
from tests.journeys.conftest import Ran
from tests.unit.joint.grounds import LABELS, write_houses

Run = Callable[..., Ran]
COLUMNS = [word for name in LABELS for word in ("--label", name)]


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that train for a moment."""
    usual = {relations.INDEPENDENT: independent(steps=20), relations.TOGETHER: shared_bottom(steps=20)}
    monkeypatch.setattr(relations, "USUAL", usual)


@pytest.mark.usefixtures("short_runs")
def test_one_command_says_what_to_learn_together(fewtune: Run, tmp_path: Path) -> None:
    data, out = write_houses(tmp_path / "houses.csv", rows=80), tmp_path / "run"
    ran = fewtune("tasks", data, *COLUMNS, "--numbers", "size", "age", "--out", out, "--folds", "2", "--every", "5", "--groups", "2")
    assert ran.code == 0, ran.err
    for words in ("Should they be learned together?", "Groups", "Who helps whom", "4 looks", "Gradients: do they agree?", "same features"):
        assert words in ran.out
    page = (out / "report.html").read_text()
    assert "fewtune tasks" in page and "What to learn together" in page and page.count("<svg") == 2
    with (out / "help.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert [row[0] for row in table] == ["column", *LABELS] and table[0][1:] == list(LABELS)
    assert [table[i + 1][i + 1] for i in range(3)] == ["", "", ""]
    assert np.isfinite([float(table[i + 1][j + 1]) for i in range(3) for j in range(3) if i != j]).all()
    again = fewtune("tasks", data, *COLUMNS, "--numbers", "size", "age", "--out", out)
    assert again.code == 2 and "exists" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "price"], "two or more"),
        ([], "two or more"),
        ([*COLUMNS, "--groups", "0"], "at least 1 group"),
        ([*COLUMNS, "--every", "0"], "at least 1 step"),
        ([*COLUMNS, "--budget", "visits=10"], "minutes"),
        (["--label", "price", "--label", "price"], "price"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(fewtune: Run, tmp_path: Path, words: list[str], said: str) -> None:
    data = write_houses(tmp_path / "houses.csv", rows=30)
    ran = fewtune("tasks", data, *words, "--numbers", "size", "age") if words else fewtune("tasks", data)
    assert ran.code == 2 and said in ran.err, ran.err
