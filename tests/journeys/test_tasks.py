"""Who helps whom among label columns, through the command line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewtune.errors import InputError
from fewtune.joint import relations
from fewtune.joint.groups import gains_over_alone, trained_groups
from fewtune.keys import key
from fewtune.recipes.sharing import independent, shared_bottom
from fewtune.report.relations import groups_table, relations_tables, write_relations
from fewtune.statistics import choose_groups
from tests.journeys.conftest import Ran
from tests.unit.joint.grounds import LABELS, houses, write_houses

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
    assert "making the model" not in (out / "report.html").read_text() and not (out / "head.safetensors").exists()
    for name, begins in (("help.svg", b"<?xml"), ("help.png", b"\x89PNG")):
        content = (out / name).read_bytes()
        assert content.startswith(begins) and b"#0a0b" not in content
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


@pytest.mark.usefixtures("short_runs")
def test_groups_are_trained_and_widths_tried(tmp_path: Path) -> None:
    """Each column of a group is answered by the network of its group, one alone by its own; each beside one network for all."""
    table = houses(tmp_path, rows=80)
    found = relations.relate_columns(table, None, relations.RelationSettings(groups=2, every=5, folds=2, widths=(8, 64), minutes=1e6))
    assert found.widths == (8,) and "shared_bottom, 8 wide" in found.outcome.tasks[0].ways
    steps = [stage.name for stage in found.outcome.clock.stages]
    networks = [relations.INDEPENDENT, relations.TOGETHER, "shared_bottom, 8 wide"] * 2  # of each fold
    assert steps[:2] == ["embedding the rows", "comparing learners on frozen features"]
    assert steps[2:8] == [f"training {name}, run {run + 1} of 6" for run, name in enumerate(networks)]
    assert steps[8:11] == ["looking at who helps whom", "training each column alone", "comparing features of columns"]
    if found.grouped is None:
        assert found.grouping.groups == ((0, 1, 2),) and len(steps) == 11
    forced = replace(found.grouping, groups=((0, 1), (2,)), served=(0, 0, 1))
    grouped, notes = trained_groups(found.outcome, forced, key(0), 0)
    assert grouped is not None and not notes
    assert [stage.name for stage in found.outcome.clock.stages[-2:]] == ["training group 1, run 1 of 2", "training group 1, run 2 of 2"]
    assert grouped[2].ways["groups"] is found.outcome.tasks[2].ways["independent"]
    for place in (0, 1):
        mine, every = grouped[place].ways["groups"].answers, grouped[place].ways["shared_bottom"].answers
        assert mine.shape == every.shape and np.isfinite(mine).all() and np.abs(mine - every).max() > 1e-3
        gain = grouped[place].sharing
        assert gain is not None and gain.gain.mean == pytest.approx(
            grouped[place].ways["groups"].value.mean - grouped[place].ways["shared_bottom"].value.mean, abs=1e-6
        )
    first, second, own = gains_over_alone(found.outcome, grouped)
    assert own is None
    for place, over in ((0, first), (1, second)):
        ways = grouped[place].ways
        assert over is not None and over.mean == pytest.approx(ways["groups"].value.mean - ways["independent"].value.mean, abs=1e-6)
    shown = [one.caption for one in relations_tables(replace(found, grouped=grouped))]
    assert "The groups, trained as groups" in shown and "How wide should the shared network be?" in shown
    assert trained_groups(found.outcome, replace(forced, groups=((0, 1, 2),), served=(0, 0, 0)), key(0), 0) == (None, ())


@pytest.mark.usefixtures("short_runs")
def test_groups_go_by_retraining_where_it_is_asked_for(tmp_path: Path) -> None:
    """Three columns: all pairs are retrained; its table and its CSV stand beside those of the looks ahead."""
    asked = relations.RelationSettings(every=5, folds=2, affinity="linearised", train_groups=False)
    found = relations.relate_columns(houses(tmp_path, rows=80), None, asked)
    assert found.linearised is not None and found.linearised.subsets.sum(1).tolist() == [2, 2, 2]
    assert [stage.name for stage in found.outcome.clock.stages[-3:-1]] == ["retraining a linearised network", "training each column alone"]
    assert found.grouping == choose_groups(found.linearised.help.mean, 2)
    shown = [one.caption for one in relations_tables(found)]
    assert shown.index("Who helps whom, by retraining") == shown.index("Who helps whom") - 1
    for value in (0.01, -0.0016):  # below 0: the groups are the least bad ones, and that is said
        (note,) = groups_table(replace(found, grouping=replace(found.grouping, value=value))).notes
        assert "by retraining" in note and ("a network for each column is expected to do better" in note) == (value < 0)
    out = write_relations(found, tmp_path / "out", overwrite=False)
    assert len((out / "linearised.csv").read_text().splitlines()) == 4
    with pytest.raises(InputError, match="linearised"):
        relations.RelationSettings(affinity="linear")  # type: ignore[arg-type]


@pytest.mark.usefixtures("short_runs")
def test_a_short_budget_leaves_groups_out_with_a_sentence(tmp_path: Path) -> None:
    found = relations.relate_columns(houses(tmp_path, rows=60), None, relations.RelationSettings(every=5, folds=2))
    late = replace(found.outcome, clock=replace(found.outcome.clock, minutes=1e-9))
    grouping = replace(found.grouping, groups=((0, 1), (2,)), served=(0, 0, 1))
    grouped, notes = trained_groups(late, grouping, key(0), 0)
    assert grouped is None and notes[0].startswith("Too little time to train the groups: it takes about ")
