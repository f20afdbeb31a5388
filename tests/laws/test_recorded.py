"""Which rows and classes every step of adapt, compare and evaluate sees: what judges is never what was learned or chosen by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.adaptation import adapt, judging, kept, own_labels
from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import TEST, TRAIN, Examples, Integers, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.evaluation import trainer as learn
from fewtune.evaluation.class_roles import serving, tasks_of
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.study import Study
from fewtune.evaluation.task_choice import reserve
from fewtune.evaluation.trainer import Learning
from fewtune.evaluation.training_settings import Training
from fewtune.learners import choice as choose
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.machine import Machine
from fewtune.models import evaluate as evaluation
from fewtune.models.predict import Running
from fewtune.recipes import read_method, variants
from fewtune.sides import held_out, own
from fewtune.sides.job import Workplace
from fewtune.sides.settings import OwnSettings
from fewtune.sources import answering, choosing, finetune, held_out_classes, stages
from fewtune.sources.finetune import Finetuner
from fewtune.sources.settings import SourceSettings
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection import ConsistencyDiversity, Evidence
from tests.laws.recorder import Recorder, Seen, asked, classes_of

run_study = import_module("fewtune.evaluation.run_study")  # the room exports its function under the same name

WIDTH = 12
METHODS = {name: read_method(name) for name in ("centroid", "ridge")}


def clusters(classes: int, rows: int, *, seed: int = 0, name: str = "pool", letter: str = "c", split: Any = None) -> Examples:
    """Classes that lie apart in four dimensions; the others are loud."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rows)
    x = random.normal(scale=5.0, size=(len(labels), WIDTH))
    x[:, :4] = random.normal(scale=1.5, size=(classes, 4))[labels] + random.normal(scale=0.3, size=(len(labels), 4))
    return make_examples(Vectors(x.astype("float32")), [f"{letter}{k}" for k in labels], name=name, row_split=split)


def target(shots: int, tested: int = 8, classes: int = 4) -> Examples:
    split = np.where(np.arange(classes * (shots + tested)) % (shots + tested) < shots, TRAIN, TEST)
    return clusters(classes, shots + tested, seed=7, name="target", letter="t", split=split)


def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Every place where a step of `adapt` is given rows or classes."""
    at = Recorder(monkeypatch)
    at.wrap(adapt, "usable_target", "read")

    def evidence(_: object, tasks: object, found: Evidence) -> dict[str, Iterable[int]]:  # noqa: ARG001
        whole: Target = at.results["read"][0]
        place = {tuple(row): i for i, row in enumerate(whole.features.tolist())}
        assert len(place) == len(whole.features)
        rows = [place[tuple(row)] for row in found.target.tolist()]
        assert found.target_label.tolist() == whole.labels[rows].tolist()
        return {"rows": rows}

    def embedded(_: object, space: RowSpace, rows: Integers) -> dict[str, Iterable[int]]:
        return {"rows" if space.sources[0] is at.results["read"][0].examples else "source rows": rows}

    at.wrap(Side, "choose", "choose", lambda _, methods, rows, *__, **___: {"rows": rows})  # noqa: ARG005
    at.wrap(choose, "answer_table", "held out", lambda _, features, episodes, **__: asked([episodes]))  # noqa: ARG005
    at.wrap(choose, "fit_temperature", "temperature")
    at.wrap(adapt, "forecast", "forecast", lambda _, labelled, *__, **___: {"rows": labelled.rows})
    at.wrap(adapt, "fit_head", "fit", lambda _, features, rows, *__, **___: {"rows": rows})  # noqa: ARG005
    at.wrap(adapt, "_measured", "measure", lambda _, whole, side: {"rows": whole.test})  # noqa: ARG005
    at.wrap(judging, "held_out", "guard")
    at.wrap(stages, "guard_on_sources", "related")
    at.wrap(held_out, "answer_table", "judge", lambda _, features, episodes, *__: asked([episodes]))  # noqa: ARG005
    at.wrap(answering, "correct_on_table", "judge", lambda _, features, episodes, *__: asked([episodes]))  # noqa: ARG005
    at.wrap(ConsistencyDiversity, "trace", "select", evidence)
    at.wrap(choosing, "choose_p", "p")
    at.wrap(stages, "side_of", "embed", embedded)
    at.wrap(kept, "side_of", "embed", embedded)
    at.wrap(own, "tune", "tune", lambda _, adapt, weights, episode, *__: asked([episode]))  # noqa: ARG005
    at.wrap(Finetuner, "advice", "advice")
    at.wrap(Finetuner, "worth", "worth")
    at.wrap(finetune, "train", "train", lambda _, phases, tasks, *__, **___: {"classes": classes_of(tasks)})  # noqa: ARG005
    at.wrap(held_out_classes, "score_each", "validate", lambda _, learner, weights, batches: asked(batches))  # noqa: ARG005
    return at


def run(
    at: Recorder,  # noqa: ARG001
    examples: Examples,
    sources: list[Examples],
    cache: Path,
    tries: tuple[float, ...] = (),
    own_labels: OwnSettings | None = None,
) -> Outcome:
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=24,depth=1", machine=Machine(device="cpu"))
    how = SourceSettings(visits=1600, rates=(0.01, 0.1), candidates=6, tries=tries)
    settings = AdaptSettings(sources=how, own=own_labels or OwnSettings(), minutes=math.inf)
    return adapt_examples(examples, backbone, sources=sources, settings=settings, methods=METHODS, at=Workplace(cache=cache, quiet=True))


def all_of(seen: list[Seen], what: str) -> set[frozenset[int]]:
    assert seen
    return {s.given[what] for s in seen}


def test_without_sources_a_row_is_answered_by_what_never_saw_it_and_test_rows_come_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = recorded(monkeypatch)
    found = run(at, target(6), [], tmp_path)
    support = frozenset(found.target.support.tolist())
    for step in ("choose", "forecast", "fit"):
        assert all_of(at.of(step), "rows") == {support}
    for held in at.of("held out"):
        assert held.given["support"] | held.given["query"] == support
    for folds in [found.choice.splits.episodes, found.frozen.splits.episodes]:
        assert folds is not None
        assert not any(set(s.tolist()) & set(q.tolist()) - {-1} for s, q in zip(folds.support, folds.query, strict=True))
    assert at.seen[-1].step == "measure" and at.seen[-1].given["rows"] == frozenset(found.target.test.tolist()) and len(found.target.test)
    assert [s.within for s in at.of("temperature")] == [("choose", "temperature")]


def sources_are_used_as_they_should_be(at: Recorder, found: Outcome) -> dict[str, frozenset[int]]:
    """What holds however the finetuned backbone is judged; returns the classes of each part."""
    assert found.sources is not None
    source_rows = found.sources.source_rows
    parts = {}
    for part in ("train", "validation", "judging"):
        tasks = source_rows.tasks(part)  # type: ignore[arg-type]
        parts[part] = frozenset() if tasks is None else frozenset(classes_of(tasks))
        names = {source_rows.space.class_names[c] for c in parts[part]}
        assert len(names) == len(parts[part])
    assert not parts["train"] & parts["validation"] and not parts["judging"] & (parts["train"] | parts["validation"])
    assert all(s.given["classes"] and s.given["classes"] <= parts["train"] for s in at.of("train"))
    validated = at.of("validate")
    assert validated and all("advice" in s.within or "worth" in s.within for s in validated)  # rate, steps, share, and the values of p
    assert all(s.given["classes"] and s.given["classes"] <= parts["validation"] for s in validated)
    tested, support = set(found.target.tested.tolist()), frozenset(found.target.support.tolist())
    last = [s for s in at.seen if tested & s.given.get("rows", frozenset())]
    assert [s.step for s in last] in (["measure"], ["embed", "measure"])  # by the finetuned backbone, once it is kept
    assert at.seen.index(last[0]) > max(at.seen.index(s) for s in (*at.of("guard"), *at.of("related"))) and at.seen[-1] is last[-1]
    for step in ("choose", "forecast", "fit"):
        assert all_of(at.of(step, outside="guard"), "rows") == {support}
    assert all_of(at.of("select", outside="guard"), "rows") == {support}
    return parts


def folds_of_a_side(at: Recorder, judged: list[Seen], support: frozenset[int]) -> list[tuple[dict[str, frozenset[int]], list[Seen]]]:
    """(a fold, the steps on the way to its answers) of a side that answers every row once; rows are answered by what learned the others."""
    folds = [s.given for s in judged]
    assert sum(len(f["query"]) for f in folds) == len(support) and frozenset().union(*(f["query"] for f in folds)) == support
    began = max(i for i, s in enumerate(at.seen[: at.seen.index(judged[0])]) if s.step == "guard")
    starts = [began, *(at.seen.index(s) + 1 for s in judged)]
    found = []
    for (first, end), fold in zip(pairwise(starts), folds, strict=True):
        assert fold["support"] == support - fold["query"]
        mine = [s for s in at.seen[first:end] if "guard" in s.within]
        for step in ("select", "choose"):
            assert {s.given["rows"] for s in mine if s.step == step} <= {fold["support"]}
        assert {s.given["support"] for s in mine if s.step == "tune"} <= {fold["support"]}
        for held in [s for s in mine if s.step == "held out"]:
            assert held.given["support"] | held.given["query"] == fold["support"]
        found.append((fold, mine))
    return found


def test_a_fold_of_the_guard_is_decided_by_its_training_rows_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks, their p, the learner of either side and the head: by the training fold, for rows that are held out of it; each row once."""
    at = recorded(monkeypatch)
    found = run(at, target(16), [clusters(24, 12)], tmp_path, (-0.1, 0.0))
    sources_are_used_as_they_should_be(at, found)
    guard = found.finetuning.guard
    assert guard is not None and guard.where == "the target's own splits"
    support = frozenset(found.target.support.tolist())
    judged = at.of("judge", inside="guard")
    assert len(judged) == 8 and all(a.given == b.given for a, b in zip(judged[:4], judged[4:], strict=True))  # two sides, four folds
    for _, mine in folds_of_a_side(at, judged[:4], support):
        assert all([s for s in mine if s.step == step] for step in ("select", "p", "choose", "held out"))
    for _, mine in folds_of_a_side(at, judged[4:], support):
        assert {s.step for s in mine} <= {"guard", "choose", "held out", "temperature", "judge"}
    assert found.finetuned  # so that what follows is of a finetuned backbone
    assert found.choice.expected is not None and found.frozen.expected is not None
    assert found.choice.expected.mean > found.frozen.expected.mean


OWN = OwnSettings(recipes=("contrastive(on='support', steps=5, batch=16, lr=0.01, last=1)",), repeats=1)


@pytest.mark.parametrize("with_sources", [False, True])
def test_a_fold_is_answered_by_what_was_finetuned_without_its_labels(
    with_sources: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On own labels, and on sources and then own labels: every run inside the guard sees the training fold alone, and no learner is chosen
    on features that its labels moved."""
    at = recorded(monkeypatch)
    found = run(at, target(16), [clusters(24, 12)] if with_sources else [], tmp_path, own_labels=OWN)
    support = frozenset(found.target.support.tolist())
    assert found.finetuning.compared is not None
    sides = [*found.finetuning.compared.held][1:]
    assert sides == ([own_labels.OWN, stages.SOURCES, own_labels.BOTH] if with_sources else [own_labels.OWN])
    judged = at.of("judge", inside="guard")
    assert len(judged) == 4 * (len(sides) + 1)
    for number, name in enumerate([*sides, "frozen"]):
        for fold, mine in folds_of_a_side(at, judged[4 * number : 4 * number + 4], support):
            tuned = [s for s in mine if s.step == "tune"]
            assert [s.given["support"] for s in tuned] == ([fold["support"]] if name in (own_labels.OWN, own_labels.BOTH) else [])
            assert bool([s for s in mine if s.step == "choose"]) == (name not in (own_labels.OWN, own_labels.BOTH))
            assert bool([s for s in mine if s.step == "select"]) == (name in (stages.SOURCES, own_labels.BOTH))
    outside = at.of("tune", outside="guard")
    assert {s.given["support"] for s in outside} <= {support}  # the model that is saved
    tested = frozenset(found.target.tested.tolist())
    assert not any(tested & rows for s in at.of("tune") for rows in s.given.values())
    if with_sources:
        sources_are_used_as_they_should_be(at, found)


def test_related_tasks_judge_what_neither_trained_nor_chose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With one label a class: learners are picked on validation classes, on the frozen side on training classes too, from which nothing was
    learned there; each side is judged once, on classes that are used for nothing else."""
    at = recorded(monkeypatch)
    found = run(at, target(1), [clusters(60, 12)], tmp_path)
    parts = sources_are_used_as_they_should_be(at, found)
    assert found.sources is not None and found.sources.guard is not None and found.sources.guard.where == "held-out classes of the sources"
    judged = [s.given["classes"] for s in at.of("judge", inside="related")]
    frozen, *tuned, last = judged
    assert len(tuned) == len(METHODS) and all(classes <= parts["validation"] for classes in tuned)
    assert frozen == last == parts["judging"]
    picked = [s.given["classes"] for s in at.of("judge", outside="related")]
    assert len(picked) == 2 * len(METHODS) and not any(classes & parts["judging"] for classes in picked)
    assert all(classes <= parts["train"] or classes <= parts["validation"] for classes in picked)
    assert not at.of("select", inside="related") and not at.of("train", inside="related") and not at.of("guard")


@pytest.mark.parametrize("sampler", ["sampled", "chosen"])
def test_compare_sweeps_on_validation_classes_and_asks_test_rows_last(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Recorder(monkeypatch)
    at.wrap(Learning, "_choice", "sweep")  # asked for by every seed, made once
    at.wrap(learn, "train", "train", lambda _, phases, tasks, *__, **___: {"classes": classes_of(tasks)})  # noqa: ARG005
    at.wrap(learn, "score_each", "validate", lambda _, learner, weights, batches, **__: asked(batches))  # noqa: ARG005
    at.wrap(learn, "evidence_of", "evidence", lambda _, source, features, reserved: {"rows": reserved.rows})  # noqa: ARG005
    at.wrap(run_study, "score_each", "test", lambda _, learner, weights, batches, **__: asked(batches))  # noqa: ARG005
    at.wrap(run_study, "score_table", "test", lambda _, features, episodes, *__, **___: asked([episodes]))  # noqa: ARG005
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=8", machine=Machine(device="cpu").resolved())
    rest, reserved = reserve(clusters(5, 12, seed=9, name="target", letter="t"), 2)
    tested, source = RowSpace([rest]), RowSpace([serving(clusters(12, 12))])
    features = feature_table(backbone, RowSpace([clusters(5, 12, seed=9)]), memory=True, quiet=True).features
    name = "multitask(steps=4)" if sampler == "sampled" else "multitask(steps=4, selection=ConsistencyDiversity())"
    protocol = Protocol(sampler=Sampled(ways=3, shots=1, queries=3), episodes=8)
    study = Study(
        tested, backbone, features, (protocol,), {"it": variants(name, (("lr", (1e-3, 1e-2)),)), "centroid": variants("centroid", ())},
        source, Training(adapted=4, validation=5, seeds=(0, 1), visits=400, candidates=10), reserved,
    )  # fmt: skip
    run_study.run_study(study)
    parts = {part: frozenset(classes_of(t)) for part in ("train", "validation") if (t := tasks_of(source, part, "all")) is not None}  # type: ignore[arg-type]
    assert not parts["train"] & parts["validation"] and len(at.of("train")) == 3  # two values of the sweep; the best again, by another seed
    assert all(s.given["classes"] and s.given["classes"] <= parts["train"] for s in at.of("train"))
    assert all_of(at.of("validate"), "classes") == {parts["validation"]} and len(at.of("validate", inside="sweep")) == 2
    assert not at.of("test", inside="sweep") and not at.of("train", inside="test")
    first = at.seen.index(at.of("test")[0])
    assert first > at.seen.index(at.of("validate")[-1]) and first > at.seen.index(at.of("sweep")[-1])
    assert bool(at.of("evidence")) == (sampler == "chosen")
    for seen in at.of("evidence"):
        assert seen.given["rows"] == frozenset(reserved.rows.tolist())
        assert not any(seen.given["rows"] & (s.given["support"] | s.given["query"]) for s in at.of("test"))


def test_labels_of_the_target_decide_nothing_of_what_compare_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=8", machine=Machine(device="cpu").resolved())
    whole, source = clusters(5, 12, seed=9, name="target", letter="t"), RowSpace([serving(clusters(12, 12))])
    features = feature_table(backbone, RowSpace([whole]), memory=True, quiet=True).features
    ends, values = [], []
    for seed in (0, 1, 2):
        at = Recorder(monkeypatch)
        at.wrap(learn, "train", "train")
        column = replace(whole.column, values=np.random.default_rng(seed).permutation(whole.labels))
        shuffled = replace(whole, columns={whole.target: column})
        protocol = Protocol(sampler=Sampled(ways=3, shots=1, queries=3), episodes=8)
        methods = {"it": variants("multitask(steps=4)", (("lr", (1e-3, 1e-2)),))}
        study = Study(RowSpace([shuffled]), backbone, features, (protocol,), methods, source, Training(validation=5, visits=400))
        outcomes = run_study.run_study(study)
        ends.append([{n: t.numpy().tobytes() for n, t in one.weights.items()} for one in at.results["train"]])
        values.append((outcomes.notes, [cost.chosen for cost in outcomes.costs]))
        monkeypatch.undo()
    assert ends[0] == ends[1] == ends[2] and values[0] == values[1] == values[2]


def test_evaluate_learns_nothing_and_leaves_out_what_was_learned_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    examples = target(6)
    found = run(recorded(monkeypatch), examples, [], tmp_path)
    monkeypatch.undo()
    at = recorded(monkeypatch)
    at.wrap(evaluation, "own_features", "embed", lambda _, rows, **__: {"rows": [int(name.rpartition(":")[2]) for name in rows.row_names]})
    at.wrap(evaluation, "probabilities", "answer")
    answers = []
    for seed in (0, 1):
        column = replace(examples.column, values=np.random.default_rng(seed).permutation(examples.labels))
        made = evaluation.evaluate(found.bundle, replace(examples, columns={"label": column}), running=Running(backbone=found.backbone))
        answers.append((made.confusion.sum(0).tolist(), made.abstained, made.threshold))
        assert at.of("embed")[-1].given["rows"] == frozenset(found.target.test.tolist()) and made.count == len(found.target.test)
    assert {s.step for s in at.seen} == {"embed", "answer"} and answers[0] == answers[1]
    assert torch.equal(at.results["answer"][0], at.results["answer"][1])
