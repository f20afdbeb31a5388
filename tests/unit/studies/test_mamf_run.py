"""The MAMF study on a small text encoder: matched budgets, one set of heads, weights that are reset, and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewtune.api.mamf import mamf_study
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.errors import InputError
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.run_folder import Keeping
from fewtune.learning.phase import Adapt, phases_of
from fewtune.learning.world import ALONE
from fewtune.stopping import Stopped
from fewtune.studies.mamf import run
from fewtune.studies.mamf.bench import Bench, make_bench
from fewtune.studies.mamf.cell import make_cell, run_cell
from fewtune.studies.mamf.lines import CLASSICAL, FOMAML, MAMF, ZERO_SHOT, Configuration, methods_of, spending, visits_of
from fewtune.studies.mamf.new_heads import with_random_heads
from fewtune.tasks.few_tasks import FewTasks
from fewtune.tasks.in_sequence import InSequence
from tests.tiny import save_clip
from tests.unit.studies.mamf_grounds import sentences, small_encoder, small_settings

GRID = Configuration(ways=3, tasks=5, classes=4, rows=8)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return small_encoder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def bench(encoder: Backbone) -> Bench:
    return make_bench(sentences(), encoder, small_settings(), 0)


def without_time(ran: run.Ran) -> Rows:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in ran.rows.to_pylist()]


def rows_of(bench: Bench, **given: Any) -> Rows:
    found: Rows = run_cell(make_cell(bench, "grid", GRID, small_settings(**given)), Partial(), world=ALONE, quiet=True).rows.to_pylist()
    return found


def test_a_sweep_of_the_test_rate_is_a_sweep_for_every_method_that_trains(bench: Bench) -> None:
    asked = small_settings(sweep=(("lr", (1e-3,)), ("test_lr", (1e-4, 1e-2))))
    made = methods_of(GRID, asked, bench.prompts, bench.tasks)
    for name in (CLASSICAL, FOMAML, MAMF):
        learners = [method.learner for label, method in made[name].items() if label]
        assert len(learners) == 2 and len(set(learners)) == 2, name
    swept = {method.learner for label, method in made[FOMAML].items() if label}
    assert swept == {method.learner for label, method in made[MAMF].items() if label}  # the same two rates on a test task


def test_one_head_and_one_update_at_test_for_all_that_train(bench: Bench) -> None:
    made = {name: v[""] for name, v in methods_of(GRID, small_settings(), bench.prompts, bench.tasks).items()}
    assert list(made) == [ZERO_SHOT, CLASSICAL, FOMAML, MAMF]
    trained = [made[name] for name in (CLASSICAL, FOMAML, MAMF)]
    assert len({method.learner for method in trained}) == 1 and isinstance(trained[0].learner, Adapt)
    assert len({head for method in made.values() for head in method.heads}) == 1
    (sequence,), (turns,) = (phases_of(made[name].phases) for name in (MAMF, FOMAML))
    assert isinstance(sequence.sampler, InSequence) and isinstance(turns.sampler, FewTasks)
    assert (sequence.sampler.ways, turns.sampler.ways, turns.sampler.tasks) == (3, 3, 5)
    assert sequence.steps == 5 * sequence.sampler.steps_per_task == 5 * sequence.restart


def test_training_episodes_fit_the_training_rows(bench: Bench) -> None:
    few = replace(GRID, rows=5)
    (turns,) = phases_of(methods_of(few, small_settings(), bench.prompts, bench.tasks)[FOMAML][""].phases)
    assert isinstance(turns.sampler, FewTasks) and (turns.sampler.shots, turns.sampler.queries) == (2, 3)


@pytest.mark.parametrize(("tasks", "visits"), [(1, 60), (5, 240), (5, 17), (31, 4800), (10, 24000), (7, 999)])
def test_tasks_share_the_budget(tasks: int, visits: int) -> None:
    asked = replace(GRID, tasks=tasks, rows=60)
    spent = spending(asked, visits)
    looked = tasks * asked.ways * spent.epochs * spent.rows
    assert spent.rows <= 60 and looked <= visits < looked + tasks * asked.ways * spent.epochs
    with pytest.raises(InputError, match=f"one row of each class in {tasks} tasks of 3 classes: expected {3 * tasks} or more"):
        spending(asked, 3 * tasks - 1)


def test_the_budgets_of_the_paper_are_unmatched() -> None:
    """N = 5, M = 10, 60 rows: 24,000 visits of MAMF beside 4,800 of classical finetuning."""
    asked = Configuration(ways=5, tasks=10, classes=10, rows=60)
    paper = small_settings(budgets="paper", visits=0)
    assert [visits_of(name, asked, paper) for name in (CLASSICAL, FOMAML, MAMF)] == [4800, 24000, 24000]
    assert {visits_of(name, asked, replace(paper, budgets="matched")) for name in (CLASSICAL, FOMAML, MAMF)} == {4800}


def test_every_method_looks_at_as_many_rows(bench: Bench) -> None:
    settings = small_settings(methods=(("reptile", "reptile(inner_batch=3)"),))
    found = run_cell(make_cell(bench, "grid", GRID, settings), Partial(), world=ALONE, quiet=True)
    visits = {row["method"]: row["visits"] for row in found.rows.to_pylist()}
    assert visits[ZERO_SHOT] == 0
    for name in (CLASSICAL, FOMAML, MAMF):
        assert 0.92 * 240 <= visits[name] <= 240, name
    assert 0 < visits["reptile"] <= 240
    assert set(found.seen) == set(visits)


@pytest.mark.slow
def test_weights_are_reset_for_each_task(bench: Bench) -> None:
    """A task is answered alike whether other tasks were answered before it or not; updates on the support do change the answer."""

    def place(row: dict[str, Any]) -> tuple[str, str, int]:
        return row["method"], row["part"], row["episode"]

    three = {place(row): row for row in rows_of(bench, episodes=3)}
    for row in rows_of(bench, episodes=1):
        assert (row["value"], row["loss"]) == (three[place(row)]["value"], three[place(row)]["loss"])
    still = rows_of(bench, episodes=3, test_lr=0.0)
    assert all(row["loss"] != three[place(row)]["loss"] for row in still if row["method"] in (CLASSICAL, MAMF))


@pytest.mark.slow
def test_a_stopped_study_goes_on_to_the_same_rows(encoder: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, settings = sentences(), small_settings(ablation=(2,), ablation_ways=3)
    whole = mamf_study(data, backbone=encoder, settings=settings, keeping=Keeping(out=tmp_path / "whole"))
    cells: list[object] = []
    real = run.run_cell

    def stops(*given: Any, **named: Any) -> Any:
        if len(cells) == 2:
            raise Stopped("stopped")
        cells.append(None)
        return real(*given, **named)

    def counts(*given: Any, **named: Any) -> Any:
        cells.append(None)
        return real(*given, **named)

    monkeypatch.setattr(run, "run_cell", stops)
    with pytest.raises(Stopped):
        mamf_study(data, backbone=encoder, settings=settings, keeping=Keeping(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists() and len(list((tmp_path / "run.partial" / "configurations").iterdir())) == 2
    with pytest.raises(InputError, match="an unfinished run is kept in"):
        mamf_study(data, backbone=encoder, settings=settings, keeping=Keeping(out=tmp_path / "run"))
    monkeypatch.setattr(run, "run_cell", counts)
    again = mamf_study(data, backbone=encoder, settings=settings, keeping=Keeping(out=tmp_path / "run", resume=True))
    assert len(cells) == 4  # two of them before it was stopped
    assert without_time(again.ran) == without_time(whole.ran) and not (tmp_path / "run.partial").exists()
    assert (tmp_path / "run" / "report.html").read_bytes() == (tmp_path / "whole" / "report.html").read_bytes()
    read = mamf_study(data, backbone=encoder, settings=settings, keeping=Keeping(out=tmp_path / "run"))
    assert len(cells) == 4  # read, not run again
    assert without_time(read.ran) == without_time(whole.ran) and read.sentences == whole.sentences
    with pytest.raises(InputError, match="exists already"):
        mamf_study(data, backbone=encoder, settings=small_settings(), keeping=Keeping(out=tmp_path / "run"))


def test_the_ablation_is_answered_on_the_tasks_of_the_grid(bench: Bench) -> None:
    """So that its lines are paired with those of the grid."""
    cells = [make_cell(bench, "grid", GRID, small_settings()), make_cell(bench, "ablation", replace(GRID, tasks=1), small_settings())]
    first, second = (cell.studies[0].draw() for cell in cells)
    assert list(first) == [(0, 0), (1, 0)] and list(second) == [(0, 0)]  # dev and test; test alone
    assert np.array_equal(first[1, 0].query, second[0, 0].query)
    few = replace(small_settings(), visits=20, ablation=(1, 7, 30), ablation_ways=3)
    assert [c.tasks for kind, c in run.configurations(bench, few) if kind == "ablation"] == [1]  # 7 x 3 rows are more than 20
    assert list(cells[1].studies[0].methods) == [FOMAML, MAMF]


def test_new_heads_replace_the_projections_alone(tmp_path: Path) -> None:
    save_clip(tmp_path)
    clip = load_backbone(f"hf:{tmp_path}")
    fresh = with_random_heads(clip, 0)
    changed = {name for name, tensor in fresh.start().items() if not tensor.equal(clip.start()[name])}
    assert {name.split(".")[-2] for name in changed} == {"visual_projection", "text_projection"}
    assert not with_random_heads(clip, 1).start()[min(changed)].equal(fresh.start()[min(changed)])
    spread = float(fresh.start()["model.visual_projection.weight"].std()) * 24**0.5
    assert 0.8 < spread < 1.2


def test_what_does_not_fit_is_refused_before_anything_is_trained(encoder: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_cell", None)
    for data, backbone, settings, said in (
        (sentences(), load_backbone("mlp,inputs=3,width=4"), small_settings(), "no label side"),
        ([sentences(), sentences(4, name="few")], encoder, small_settings(), "few: 18 different rows"),
        ([sentences(), sentences()], encoder, small_settings(), "two data sets are called 'pets'"),
        (sentences(), encoder, small_settings(visits=10), "10 visits does not allow one row"),
        (sentences(), encoder, small_settings(new_heads=True), "no projections that are known by name"),
        (sentences(), encoder, small_settings(methods=(("x", "mafm"),)), "unknown name .mafm.: did you mean"),
    ):
        with pytest.raises(InputError, match=said):
            mamf_study(data, backbone=backbone, settings=settings)


def test_models_of_a_seed_are_removed_when_its_configurations_are_done(encoder: Backbone, tmp_path: Path, monkeypatch: Any) -> None:
    kept: list[list[str]] = []
    forget = Partial.forget_models

    def watched(partial: Partial) -> None:
        assert partial.folder is not None
        mine = (partial.folder / "mine.safetensors").parent / "trained" / "x"
        mine.mkdir(parents=True, exist_ok=True)
        (mine / "mine.safetensors").write_bytes(b"a file that fewtune did not write")
        before = [p.name for p in partial.folder.glob("trained/*/*.safetensors")]
        forget(partial)
        kept.append([str(len(before) > 1), *(p.name for p in partial.folder.glob("trained/*/*.safetensors"))])

    monkeypatch.setattr(Partial, "forget_models", watched)
    keeping = run.Keeping(out=tmp_path / "run")
    ran, partial = run.run_grid([sentences()], encoder, small_settings(), keeping)
    assert kept == [["True", "mine.safetensors"]] * 2
    again, _ = run.run_grid([sentences()], encoder, small_settings(), replace(keeping, resume=True))
    assert without_time(again) == without_time(ran) and partial.folder is not None
