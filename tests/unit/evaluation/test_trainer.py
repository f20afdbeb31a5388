"""What a study trains: which classes serve what, what is chosen, and what is shared between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Texts, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.data.splits import split_classes
from fewtune.errors import Diverged, InputError
from fewtune.evaluation.answers import Scores
from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.class_roles import left_out, serving, tasks_of, without_test_rows
from fewtune.evaluation.identity import judged_by
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import UNTRAINED
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.study import DEFAULTS, Study
from fewtune.evaluation.summary import summarise
from fewtune.evaluation.task_choice import reserve
from fewtune.evaluation.trainer import Learning
from fewtune.evaluation.training_settings import Training
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.learning.world import ALONE
from fewtune.machine import Machine
from fewtune.recipes import variants
from fewtune.statistics.metrics import METRICS
from fewtune.tasks.chosen import Again, Chosen, Named
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection import Evidence
from tests.unit.data.test_near import COPIES, encoded, scenes


def collection(classes: int, seed: int, rows: int = 12) -> Examples:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rows)
    vectors = random.normal(size=(classes, 4))[labels] + random.normal(size=(len(labels), 4))
    return make_examples(Vectors(vectors.astype(np.float32)), labels, class_names=[f"c{seed}-{i}" for i in range(classes)], name=f"s{seed}")


def run(methods: list[str], source: Examples | None, partial: Partial | None = None, **training: object) -> Outcomes:
    backbone = load_backbone("mlp,inputs=4,width=8", machine=Machine(device="cpu").resolved())
    target = RowSpace([collection(5, 9)])
    features = feature_table(backbone, target, memory=True, quiet=True).features
    sweep = (("lr", (1e-3, 1e-2)),)
    study = Study(
        target,
        backbone,
        features,
        (Protocol(sampler=Sampled(ways=3, shots=1, queries=3), episodes=8),),
        {m: variants(m, sweep) for m in methods},
        None if source is None else RowSpace([serving(source)]),
        Training(adapted=4, validation=5, **training),  # type: ignore[arg-type]
    )
    return run_study(study, partial or Partial())


def test_classes_serve_what_their_split_says() -> None:
    split = split_classes(collection(10, 1), {"train": [f"c1-{i}" for i in range(5)], "validation": ["c1-5", "c1-6"], "test": ["c1-7"]})
    space = RowSpace([serving(split)])
    train, validation = (tasks_of(space, part, "all") for part in ("train", "validation"))  # type: ignore[arg-type]
    assert train is not None and validation is not None
    assert train.slot_class.tolist() == [0, 1, 2, 3, 4] and validation.slot_class.tolist() == [5, 6]
    assert not np.isin(space.labels, [7, 8, 9]).any()  # test classes and those without a split are not even there


def test_without_validation_classes_a_fifth_is_held_out_and_very_few_classes_all_train() -> None:
    ten, three = (RowSpace([serving(collection(n, 2))]) for n in (10, 3))
    held = tasks_of(ten, "validation", "all")
    assert held is not None and len(held.slot_class) == 2 and len(tasks_of(ten, "train", "all").slot_class) == 8  # type: ignore[union-attr]
    assert tasks_of(three, "validation", "all") is None and len(tasks_of(three, "train", "all").slot_class) == 3  # type: ignore[union-attr]


def test_rows_that_are_tested_on_are_left_out_of_the_source() -> None:
    whole = collection(6, 3)
    rest, leaks = without_test_rows(whole, whole.take([0, 1, 2]))
    assert len(leaks) == 3 and len(rest) == len(whole) - 3
    assert left_out(whole, leaks) == "3 rows of s3 left out of the source: tested on, as they are or nearly so (3 by content)."
    same, none = without_test_rows(whole, collection(6, 4))
    assert same is whole and none == ()
    with pytest.raises(InputError, match="72 of 72 rows of source s3 are test rows"):
        without_test_rows(whole, whole)


def test_copies_of_test_images_are_left_out_of_the_source() -> None:
    """The same bytes, a JPEG saved again, half the size; a photo of something else stays."""
    pictures = scenes(8)
    target = make_examples(encoded(pictures[:4]).items, [0, 0, 1, 1], class_names=["a", "b"], name="target")
    copies = [pictures[0], COPIES["jpeg"](pictures[1]), COPIES["half"](pictures[2]), *pictures[4:]]
    source = make_examples(encoded(copies).items, [0, 0, 0, 0, 0, 1, 1], class_names=["c", "d"], name="source")
    rest, leaks = without_test_rows(source, target)
    assert len(rest) == 4 and {leak.row: leak.target for leak in leaks} == {0: 0, 1: 1, 2: 2}
    assert left_out(source, leaks).endswith("(1 by content, 2 by their look).") and left_out(source, leaks).startswith("3 rows of source ")


def test_of_a_row_that_is_found_twice_the_strongest_evidence_is_told() -> None:
    picture, *others = scenes(4)
    target = make_examples(encoded([picture, COPIES["jpeg"](picture)]).items, [0, 1], class_names=["a", "b"], name="target")
    source = make_examples(encoded([picture, *others]).items, [0, 0, 1, 1], class_names=["c", "d"], name="source")
    rest, leaks = without_test_rows(source, target)
    assert len(leaks) == 2 and len(rest) == 3
    assert left_out(source, leaks) == "1 row of source left out of the source: tested on, as they are or nearly so (1 by content)."


def test_test_sentences_with_other_punctuation_are_left_out_of_the_source() -> None:
    target = make_examples(Texts(["Set an alarm at five!", "What is the weather like?"]), [0, 1], class_names=["a", "b"], name="target")
    asked = ["set an alarm, at five", "what is the weather like", "play some music", "stop the music", "call my brother"]
    source = make_examples(Texts(asked), [0, 1, 0, 0, 1], class_names=["c", "d"], name="source")
    rest, leaks = without_test_rows(source, target)
    assert [rest.items.fetch(row) for row in range(len(rest))] == asked[2:]
    assert left_out(source, leaks) == "2 rows of source left out of the source: tested on, as they are or nearly so (2 by their words)."


def test_the_sweep_chooses_on_validation_tasks_and_says_so() -> None:
    outcomes = run(["centroid", "multitask(ways=3,queries=3,steps=4)"], collection(10, 4), seeds=(0, 1))
    assert any("was chosen on validation episodes (lr=0.001" in note for note in outcomes.notes)
    trained = outcomes.result.where(method="multitask(ways=3,queries=3,steps=4)")
    assert trained.distinct("training") == [0, 1] and outcomes.result.where(method="centroid").distinct("training") == [UNTRAINED]
    assert [(c.steps, c.visits) for c in outcomes.costs] == [(4, 48)] * 2
    lines = summarise(outcomes.result, outcomes.drawn, "vectors").lines
    assert [line.n for line in lines] == [8, 8] and lines[1].over_seeds is not None


def test_methods_trained_once_get_no_p_and_those_trained_often_do() -> None:
    methods = ["centroid", "ridge(penalty=1.0)", "multitask(ways=3,queries=3,steps=2,lr=0.01)"]
    once, often = (
        summarise(o.result, o.drawn, "vectors") for o in (run(methods, collection(10, 4)), run(methods, collection(10, 4), seeds=(0, 1, 2)))
    )
    assert [line.runs for line in once.lines] == [0, 0, 1] and [line.runs for line in often.lines] == [0, 0, 3]
    assert any(note.startswith("Trained once: multitask") for note in once.notes) and not any(line.winner for line in once.lines)
    assert not any(note.startswith("Trained once") for note in often.notes)
    for summary, known in ((once, False), (often, True)):
        best = next(line for line in summary.lines if line.difference is None)
        rivals = [line for line in summary.lines if line is not best]
        for line in rivals:
            if best.runs or line.runs:
                assert (line.p == line.p) is known and (line.alone == line.alone) is known
                assert line.wilcoxon != line.wilcoxon  # it knows nothing of training runs
                assert line.difference is not None and (line.difference.kind == "t over runs and episodes") is known


def test_without_validation_classes_defaults_stand() -> None:
    outcomes = run(["multitask(ways=3,queries=3,steps=2)"], collection(3, 5))
    assert any("nothing was swept: its defaults stand" in note for note in outcomes.notes)
    assert outcomes.costs[0].chosen == ""


def test_learners_that_adapt_answer_fewer_episodes_and_it_is_said() -> None:
    outcomes = run(["centroid", "standard(on='support',steps=2)"], None)
    summary = summarise(outcomes.result, outcomes.drawn, "vectors")
    assert [line.n for line in summary.lines] == [8, 4]
    assert any(note.startswith("On the first 4 of 8 episodes") for note in summary.notes)


CHOOSES = "multitask(ways=3,queries=3,steps=3,lr=0.01,selection={})"


def study_of(selections: Sequence[str], *, reserved: bool = True, candidates: int = 30) -> Study:
    """A study of methods that choose their tasks by two rows of each class of the target."""
    backbone = load_backbone("mlp,inputs=4,width=8", machine=Machine(device="cpu").resolved())
    examples, kept = reserve(collection(5, 9), 2)
    target = RowSpace([examples])
    methods = {s: variants(CHOOSES.format(s), ()) for s in selections}
    protocol = Protocol(sampler=Sampled(ways=3, shots=1, queries=3), episodes=40)
    features = feature_table(backbone, target, memory=True, quiet=True).features
    training = Training(candidates=candidates, validation=5)
    source = RowSpace([serving(collection(20, 4))])
    return Study(target, backbone, features, (protocol,), methods, source, training, kept if reserved else None)


def choosing(*selections: str, reserved: bool = True) -> Outcomes:
    return run_study(study_of(selections, reserved=reserved), Partial())


def test_methods_choose_their_tasks_by_reserved_rows_that_no_episode_uses() -> None:
    outcomes = choosing("consistency_diversity()", "all()", "random(most=7)")
    said = [note for note in outcomes.notes if "candidate tasks were chosen" in note]
    assert said[1].startswith("all(): 30 of 30") and said[2].startswith("random(most=7): 7 of 30")
    _, reserved = reserve(collection(5, 9), 2)
    assert np.bincount(reserved.labels).tolist() == [2] * 5
    for episodes in outcomes.drawn.values():
        assert not np.isin(torch.cat([episodes.support, episodes.query], 1).numpy(), reserved.rows).any()
    with pytest.raises(InputError, match="none were reserved"):
        choosing("consistency_diversity()", reserved=False)


def test_a_choice_made_again_is_that_of_the_weights_at_hand() -> None:
    """Half of the steps on the tasks that frozen features choose, half on those that the weights after the first half choose, by hand."""
    method = "multitask(ways=3,queries=3,steps=8,lr=1.0,again=1,selection=Ranked(score=LogMe(),most=6))"
    base = study_of(["all()"])
    study = replace(base, methods={method: variants(method, ())})
    learning = Learning(study, Partial(), ALONE, True)
    made = learning.learn(method, study.methods[method], DEFAULTS, 0)
    (one, two), tasks = learning.planned(method, study.methods[method][DEFAULTS])
    assert isinstance(one, Phase) and isinstance(two, Phase) and one.steps == two.steps == 4
    assert isinstance(two.sampler, Chosen) and isinstance(two.sampler.selection, Again)
    assert study.source is not None and study.reserved is not None
    ground = Ground(study.backbone, study.source)
    half = ground.held(train(ground, (one,), tasks, key(0, "training")).weights)
    at = lambda space, rows: study.backbone.embed(half, space, rows)  # noqa: E731
    target, source, reserved = study.target, study.source, study.reserved
    evidence = Evidence(
        features=lambda rows: at(source, rows), target=at(target, reserved.rows), target_label=torch.from_numpy(reserved.labels)
    )
    names = two.sampler.selection.selection.select(tasks, evidence).names
    assert names != two.sampler.selection.names
    by_hand = replace(two, sampler=replace(two.sampler, selection=Named(names=names)))
    found = train(ground, (one, by_hand), tasks, key(0, "training")).weights
    assert all(torch.equal(t, made.trained.weights[n]) for n, t in found.items())
    other = Learning(replace(study, reserved=replace(reserved, labels=reserved.labels[::-1].copy())), Partial(), ALONE, True)
    assert other.learn(method, study.methods[method], DEFAULTS, 0).identity != made.identity
    with pytest.raises(InputError, match="chooses anew"):
        variants("multitask(steps=3,again=3,selection=all())", ())


def test_tasks_of_one_name_drawn_otherwise_are_another_training() -> None:
    """Of 560 sets of classes 30 are drawn one by one, 200 from a list of them all: "s4/0" is not the same task."""
    first = "ConsistencyDiversity(order='given', diversity=False, most=2)"
    made = []
    for count in (30, 200):
        study = study_of([first], candidates=count)
        made.append(Learning(study, Partial(), ALONE, True).learn(first, study.methods[first], "", 0))
    assert made[0].trained.curve != made[1].trained.curve and made[0].identity != made[1].identity


def test_reserved_rows_are_the_same_ones_in_any_order() -> None:
    whole = collection(4, 2)
    _, first = reserve(whole, 3)
    turned = np.arange(len(whole))[::-1]
    _, second = reserve(whole.take(turned), 3)
    assert sorted(turned[second.rows].tolist()) == first.rows.tolist()
    with pytest.raises(InputError, match="12 of each class are reserved"):
        reserve(whole, 12)


def test_one_training_serves_two_heads_and_another_target(tmp_path: Path) -> None:
    methods = ["multitask(ways=3,queries=3,steps=3,lr=0.01)", "multitask(ways=3,queries=3,steps=3,lr=0.01,head=ridge)"]
    first = run(methods, collection(10, 6), Partial(None, tmp_path))
    kept = [path for path in tmp_path.iterdir() if path.name != "validation"]
    assert len(kept) == 1 and [cost.method for cost in first.costs] == methods
    before = {path: path.stat().st_mtime_ns for path in kept[0].iterdir()}
    again = run(methods, collection(10, 6), Partial(None, tmp_path))
    assert {path: path.stat().st_mtime_ns for path in kept[0].iterdir()} == before
    values = [torch.from_numpy(outcomes.result.column("value").copy()) for outcomes in (first, again)]
    assert torch.equal(*values)


def test_the_sweep_keeps_the_best_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties go to the first; what diverged is never kept."""
    scores: dict[str, float] = {}

    def learned(_: Learning, name: str, variants: Mapping[str, object], label: str, seed: int) -> object:  # noqa: ARG001
        if scores[label] < 0:
            raise Diverged("training diverged")
        return SimpleNamespace(label=label, cost=None)

    monkeypatch.setattr(Learning, "learn", learned)
    monkeypatch.setattr(Learning, "_validated", lambda _, ready: scores[ready.label])
    study: Any = SimpleNamespace(training=SimpleNamespace(seeds=(0,)))
    methods = variants("multitask", (("lr", (1e-4, 1e-3, 1e-2)),))
    for given, best in (((0.2, 0.5, 0.3), 1), ((0.5, 0.2, 0.4), 0), ((0.1, 0.2, 0.3), 2), ((0.3, 0.3, 0.1), 0), ((-1.0, 0.1, -1.0), 1)):
        scores.update(zip(list(methods)[1:], given, strict=True))
        learning = Learning(study, Partial(), ALONE, True)
        learning.__dict__["_validation"] = ("episodes",), ()
        assert learning.choose("it", methods) == list(methods)[1:][best]
        assert f"was chosen on validation episodes (lr=0.0001 {'diverged' if given[0] < 0 else 100 * given[0]}" in learning.notes[0]
    scores.update(dict.fromkeys(scores, -1.0))
    learning = Learning(study, Partial(), ALONE, True)
    learning.__dict__["_validation"] = ("episodes",), ()
    with pytest.raises(InputError, match="diverged at every value of the sweep"):
        learning.choose("it", methods)


def test_a_sweep_is_judged_by_what_the_study_is_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    learning = learning_of(["centroid"], collection(10, 4))
    asked: list[object] = []

    def scored(*_: object, metric: object, **__: object) -> list[Scores]:
        asked.append(metric)
        return [Scores(np.array([0.9]), np.array([0.1]), 0.0, np.array([[True]]), None if metric is None else np.array([-0.2]))]

    monkeypatch.setattr("fewtune.evaluation.trainer.score_each", scored)
    method = variants("centroid", ())[""]
    for metric, expected in (("accuracy", 0.9), ("mcc", -0.2)):
        learning.study = replace(learning.study, metric=metric)
        assert learning._judged(method, SimpleNamespace(metered=lambda: None), {}) == expected  # type: ignore[arg-type]
    assert asked == [None, METRICS["mcc"]] and "metric mcc" in judged_by(learning.study, method)


def learning_of(methods: list[str], *sources: Examples) -> Learning:
    backbone = load_backbone("mlp,inputs=4,width=8", machine=Machine(device="cpu").resolved())
    target = RowSpace([collection(5, 9)])
    features = feature_table(backbone, target, memory=True, quiet=True).features
    protocols = (Protocol(sampler=Sampled(ways=3, shots=1, queries=3), episodes=8),)
    study = Study(target, backbone, features, protocols, {m: variants(m, ()) for m in methods}, RowSpace(list(map(serving, sources))))
    return Learning(study, Partial(), ALONE, True)


def test_every_source_is_learned_from_and_what_is_smaller_is_noted() -> None:
    """8 ways from sources of 8 and of 3 train classes: of the class table the rows of both move, those of validation classes stay."""
    methods = ["shared_heads(ways=8,steps=60)", "mamf(ways=8,steps=60)"]
    learning = learning_of(methods, collection(10, 1), collection(5, 2))
    space = learning.study.source
    assert space is not None
    for name in methods:
        method = learning.study.methods[name][""]
        (table,) = [head for head in method.heads if head.name == "source"]
        start = table.declare(8, space.class_names)["source.weight"]
        moved = (learning.learn(name, {"": method}, "", 0).trained.weights["source.weight"] != start).any(dim=1)
        np.testing.assert_array_equal(np.flatnonzero(moved.numpy()), np.sort(learning.tasks.slot_class))
    notes = [note for note in learning.notes if "1 of 2 tasks (s2) has fewer than 8 classes (the smallest 3)" in note]
    assert [note.split(":")[0] for note in notes] == methods


def test_aggregators_act_on_the_episodes_of_one_source() -> None:
    """Mean, WorstCase and PcGrad on one source end at different weights."""
    text = (
        "Method(phases=(Phase(sampler=Sampled(ways=3,shots=1,queries=3),learner=Centroid(),plan=everything(0.05),steps=4,batch=4,"
        "aggregator={}()),),learner=Centroid())"
    )
    methods = [text.format(name) for name in ("Mean", "WorstCase", "PcGrad")]
    learning = learning_of(methods, collection(8, 3))
    ends = [learning.learn(m, learning.study.methods[m], "", 0).trained.weights for m in methods]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert any(not torch.equal(ends[a][n], ends[b][n]) for n in ends[0])


def test_kept_models_are_trained_anew_on_request(tmp_path: Path) -> None:
    """A kept model that was changed is used; with `reset` it is not, and the right one is kept again."""
    method = ["multitask(ways=3,queries=3,steps=3)"]
    first = run(method, collection(10, 6), Partial(None, tmp_path), seeds=(0, 1)).result.column("value")
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ends = [path for path in kept if path.name == "phase-0-end.safetensors"]
    for path, other in zip(ends, reversed(ends), strict=True):
        path.write_bytes(kept[other])  # the model of another rate or seed, whole
    assert not np.array_equal(run(method, collection(10, 6), Partial(None, tmp_path), seeds=(0, 1)).result.column("value"), first)
    for path in tmp_path.glob("validation/*"):
        path.write_text("0.0")
    again = run(method, collection(10, 6), Partial(None, tmp_path, reset=True), seeds=(0, 1)).result.column("value")
    assert np.array_equal(again, first)
    names = [path for path in kept if path.suffix == ".json"]
    assert len(names) == 2 and all(path.read_bytes() == kept[path] for path in names)
