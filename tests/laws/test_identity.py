"""What results are filed under changes with all that they depend on, and with nothing else: every field of every value says which.

Three identities: of a study (its results), of trained weights (shared by studies, whatever the target), of a feature table. A field that is
added without a decision here fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from fewtune import version
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.context import Learned
from fewtune.backbones.edits import LoRA
from fewtune.backbones.features import feature_table as feature_table_module
from fewtune.backbones.features.feature_table import table_key
from fewtune.backbones.load import load_backbone
from fewtune.backbones.places import Place
from fewtune.data.examples import Column, Examples, Skipped, class_splits, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.evaluation import identity as identity_module
from fewtune.evaluation import study as study_module
from fewtune.evaluation.identity import trained_identity
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.study import Study
from fewtune.evaluation.task_choice import Reserved
from fewtune.evaluation.training_settings import Training
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.machine import Machine
from fewtune.parts.heads.ridge import Ridge
from fewtune.parts.keep import Best
from fewtune.recipes import variants
from fewtune.spec import digest
from fewtune.tasks.samplers import Sampled

Change: TypeAlias = tuple[Callable[[Any], Any], frozenset[str]]

ALL = frozenset({"study", "trained", "table"})
RUNS = frozenset({"study", "trained"})
STUDY = frozenset({"study"})
NONE: frozenset[str] = frozenset()


def to(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def collection(seed: int) -> Examples:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(6), 4)
    made = make_examples(
        Vectors(random.normal(size=(24, 4)).astype(np.float32)),
        labels,
        class_names=[f"c{seed}-{i}" for i in range(6)],
        name=f"s{seed}",
        groups=["north", "south"] * 12,
        row_split=np.arange(24) % 2,
    ).with_columns({"other": Column("class", labels[::-1].copy(), tuple("uvwxyz"))})
    return replace(made, class_split=class_splits(made.class_names, {"c1-5": 1}), caption=[f"row {i}" for i in range(24)])


def machine() -> Machine:
    return Machine(device="cpu", dtype="float32", workers=1)


def backbone() -> Backbone:
    return load_backbone("mlp,inputs=4,width=8", machine=machine())


def method() -> Method:
    made = variants("multitask(ways=3,queries=1,steps=2,selection=consistency_diversity())", ())[""]
    return replace(made, phases=tuple(replace(p, keep=Best(every=1)) for p in phases_of(made.phases)))


def study() -> Study:
    model = backbone()
    protocol = Protocol(sampler=Sampled(ways=3, shots=1, queries=1), episodes=8)
    reserved = Reserved(np.array([0, 4]), np.array([0, 1]))
    methods = {"m": {"": method()}}
    return Study(
        RowSpace([collection(0)]), model, torch.zeros(24, 8), (protocol,), methods, RowSpace([collection(1)]), Training(), reserved
    )


def identities(of: Study) -> dict[str, str]:
    asked = next(m for made in of.methods.values() for m in made.values())
    tables = [table_key(of.backbone, source) for space in (of.target, of.source) if space is not None for source in space.sources]
    return {"study": digest(of.text()), "trained": trained_identity(of, asked.phases, asked, 0), "table": " ".join(tables)}


def moved(of: Examples) -> Examples:
    """One number of one row is another."""
    vectors = np.array([of.items.fetch(row) for row in range(len(of))])
    vectors[3, 2] += 1
    return replace(of, items=Vectors(vectors.astype(np.float32)))


def relabelled(of: Examples) -> dict[str, Column]:
    labels = of.labels.copy()
    labels[0] = 1
    return {**of.columns, of.target: replace(of.column, values=labels)}


def renamed(of: Examples) -> dict[str, Column]:
    return {**of.columns, of.target: replace(of.column, names=("new", *of.column.names[1:]))}


EXAMPLES: Mapping[str, list[Change]] = {
    "name": [(lambda e: replace(e, name="another"), RUNS)],
    "items": [(moved, ALL)],
    "columns": [
        (lambda e: replace(e, columns=relabelled(e)), RUNS),
        (lambda e: replace(e, columns=renamed(e)), RUNS),
        (lambda e: replace(e, columns={e.target: e.column}), NONE),  # another label column
    ],
    "target": [(lambda e: replace(e, target="other"), RUNS)],
    "row_names": [(lambda e: replace(e, row_names=[f"{i}.jpg" for i in range(24)]), NONE)],
    "class_split": [(lambda e: replace(e, class_split=np.array([0, 0, 0, 0, 1, 2])), RUNS)],
    "row_split": [(lambda e: replace(e, row_split=1 - e.row_split), RUNS)],
    "group": [(lambda e: replace(e, group=1 - e.group), RUNS)],
    "group_names": [(lambda e: replace(e, group_names=("east", "west")), RUNS)],
    "caption": [(lambda e: replace(e, caption=["a photo"] * 24), RUNS), (lambda e: replace(e, caption=None), RUNS)],
    "remarks": [(lambda e: replace(e, remarks=("Two classes read the same.",)), NONE)],
    "skipped": [(lambda e: replace(e, skipped=(Skipped("x.jpg", "is empty"),)), NONE)],
}
MACHINE: Mapping[str, list[Change]] = {
    "device": [(to("meta"), NONE)],
    "dtype": [(to("bfloat16"), ALL)],  # its features are others, beyond rounding
    "chunk": [(to(7), NONE)],
    "workers": [(to(3), NONE)],
    "channels_last": [(to(False), NONE)],
    "compile": [(to(True), NONE)],
    "accumulate": [(to(2), NONE)],
    "recompute": [(to(True), NONE)],
    "together": [(to(5), NONE)],
    "table": [(to("bfloat16"), NONE)],  # the type of a study's features counts, whatever the machine says (see "features")
    "fast": [(to(True), NONE)],
}
OTHER = "multitask(ways=3,queries=1,steps=3,selection=consistency_diversity())"
METHOD: Mapping[str, list[Change]] = {
    "edits": [(to((LoRA(rank=2),)), RUNS)],
    "phases": [(to(variants(OTHER, ())[""].phases), RUNS)],
    "learner": [(to(Ridge(penalty=3.0)), RUNS)],  # it judges which weights are kept
}
PROTOCOL: Mapping[str, list[Change]] = {
    "sampler": [(to(Sampled(ways=3, shots=2, queries=1)), RUNS)],  # validation episodes are like these
    "episodes": [(to(9), RUNS)],
    "seeds": [(to((1,)), RUNS)],
    "classes": [(to("train"), RUNS)],
    "within": [(to("group"), RUNS)],
    "least_rows": [(to(9), RUNS)],
}
TRAINING: Mapping[str, list[Change]] = {
    "seeds": [(to((1,)), STUDY)],
    "visits": [(to(60), STUDY)],  # of trained weights, by the steps of the phases
    "sweep": [(to((("lr", (0.1, 0.2)),)), STUDY)],
    "adapted": [(to(9), RUNS)],
    "validation": [(to(9), RUNS)],
    "watch": [(to(9), STUDY)],
    "candidates": [(to(9), RUNS)],
    "within": [(to("group"), RUNS)],
}
RESERVED: Mapping[str, list[Change]] = {
    "rows": [(to(np.array([1, 5])), STUDY)],  # of trained weights, by the names of the chosen tasks
    "labels": [(to(np.array([1, 0])), STUDY)],
}


def stronger(of: Backbone) -> Backbone:
    name, tensor = next(iter(of.start().items()))
    return of.with_weights({name: tensor + 1})


BACKBONE: Mapping[str, list[Change]] = {
    "name": [(lambda b: replace(b, name="another"), RUNS)],
    "network": [(stronger, ALL)],
    "preparation": [(lambda b: replace(b, preparation=load_backbone("pixels,size=4", machine=machine()).preparation), ALL)],
    "width": [(lambda b: replace(b, width=9), ALL)],
    "groups": [(lambda b: replace(b, groups=b.groups[::-1]), RUNS)],
    "machine": [(lambda b: replace(b, machine=replace(b.machine, dtype="float16")), ALL)],
    "source": [(lambda b: replace(b, source={"weights": "elsewhere.safetensors"}), NONE)],
    "structure": [(lambda b: replace(b, structure="another"), ALL)],
    "texts": [(lambda b: replace(b, texts=list), NONE)],  # the tokenizer of a label side is part of `structure`
    "logit_scale": [(lambda b: replace(b, logit_scale=2.0), NONE)],  # it is among the weights
    "place": [(lambda b: replace(b, place=Place(folder=Path("/elsewhere"))), NONE)],  # the weights are the same wherever they lie
    "noisy": [(lambda b: replace(b, noisy=True), NONE)],  # so is DropBlock
    "origin": [(lambda b: replace(b, origin=b), NONE)],  # the weights are what counts, not what they replaced
    "label_metric": [(lambda b: replace(b, label_metric="dot"), NONE)],  # it follows from the template, which is part of `structure`
    "towers": [(lambda b: replace(b, towers=(b,)), NONE)],  # their weights are among those of the pair
    "context": [(lambda b: replace(b, context=Learned("a photo of a", torch.ones(4, 2))), ALL)],
}
FIELDS: list[tuple[type, Mapping[str, list[Change]]]] = [
    (Examples, EXAMPLES),
    (Machine, MACHINE),
    (Method, METHOD),
    (Protocol, PROTOCOL),
    (Training, TRAINING),
    (Reserved, RESERVED),
    (Backbone, BACKBONE),
]


@pytest.mark.parametrize(("kind", "changes"), FIELDS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_is_decided(kind: type, changes: Mapping[str, list[Change]]) -> None:
    assert set(changes) == {f.name for f in dataclasses.fields(kind)}


def each(changes: Mapping[str, list[Change]]) -> list[Any]:
    return [
        pytest.param(name, change, counts, id=f"{name}{i}") for name, listed in changes.items() for i, (change, counts) in enumerate(listed)
    ]


def check(before: Study, after: Study, counts: frozenset[str]) -> None:
    first, second = identities(before), identities(after)
    assert {name for name in first if first[name] != second[name]} == counts


@pytest.mark.parametrize(("change", "counts"), [p.values[1:] for p in each(EXAMPLES)])
def test_examples(change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    """The target counts for the study and its table, the source for trained weights too."""
    base = study()
    assert base.source is not None
    check(base, replace(base, target=RowSpace([change(base.target.sources[0])])), counts - {"trained"})
    check(base, replace(base, source=RowSpace([change(base.source.sources[0])])), counts)


@pytest.mark.parametrize(("name", "change", "counts"), each(MACHINE))
def test_machine(name: str, change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    base = study()
    other = replace(base.backbone.machine, **{name: change(None)})
    assert other != base.backbone.machine
    check(base, replace(base, backbone=replace(base.backbone, machine=other)), counts)


@pytest.mark.parametrize(("name", "change", "counts"), each(METHOD))
def test_method(name: str, change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    base = study()
    other = replace(base.methods["m"][""], **{name: change(None)})
    check(base, replace(base, methods={"m": {"": other}}), counts)


@pytest.mark.parametrize(("name", "change", "counts"), each(PROTOCOL))
def test_protocol(name: str, change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    base = study()
    check(base, replace(base, protocols=(replace(base.protocols[0], **{name: change(None)}),)), counts)


@pytest.mark.parametrize(("name", "change", "counts"), each(TRAINING))
def test_training(name: str, change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    base = study()
    check(base, replace(base, training=replace(base.training, **{name: change(None)})), counts)


@pytest.mark.parametrize(("name", "change", "counts"), each(RESERVED))
def test_reserved(name: str, change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    base = study()
    assert base.reserved is not None
    check(base, replace(base, reserved=replace(base.reserved, **{name: change(None)})), counts)


@pytest.mark.parametrize(("change", "counts"), [p.values[1:] for p in each(BACKBONE)])
def test_backbone(change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    base = study()
    check(base, replace(base, backbone=change(base.backbone)), counts)


STUDIES: Mapping[str, list[Change]] = {
    "target": [(to(RowSpace([collection(3)])), frozenset({"study", "table"})), (to(RowSpace([collection(0).take(range(23))])), STUDY)],
    "backbone": [(to(load_backbone("mlp,inputs=4,width=9", machine=machine())), ALL)],
    "features": [
        (lambda s: s.features.double(), STUDY),
        (lambda s: s.features[:, :7], STUDY),
        (lambda s: s.features + 1e-7, NONE),  # rounding: they follow from the target and the backbone
    ],
    "protocols": [
        (
            lambda s: (
                *s.protocols,
                Protocol(sampler=Sampled(ways=2)),
            ),
            RUNS,
        )
    ],
    "methods": [
        (lambda s: {"another name": s.methods["m"]}, STUDY),  # rows are kept under it
        (lambda s: {"m": {"": s.methods["m"][""], "lr=0.1": s.methods["m"][""]}}, STUDY),
        (lambda s: {**s.methods, "second": s.methods["m"]}, STUDY),
    ],
    "source": [(to(RowSpace([collection(1), collection(2)])), ALL), (to(None), ALL)],
    "training": [(to(Training(seeds=(0, 1))), STUDY)],
    "reserved": [(to(None), STUDY)],
    "beside": [(to({"m, all tasks": "m"}), STUDY)],
    "given": [(lambda s: {(0, 0): s.draw()[0, 0][:1]}, STUDY)],
    "metric": [(to("auc"), RUNS)],  # it chooses the value of a sweep
}


@pytest.mark.parametrize(("name", "change", "counts"), each(STUDIES))
def test_study(name: str, change: Callable[[Any], Any], counts: frozenset[str]) -> None:
    assert set(STUDIES) == {f.name for f in dataclasses.fields(Study)}
    base = study()
    counts |= {"table"} if name == "target" else frozenset()
    check(base, replace(base, **{name: change(base)}), counts)


def test_another_version_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identities(study())
    assert version.__version__ in study().text().splitlines()[0]
    for module in (study_module, identity_module, feature_table_module):
        monkeypatch.setattr(module, "__version__", "9.9")
    after = identities(study())
    assert all(before[name] != after[name] for name in ALL)


def test_a_model_that_is_not_judged_is_shared_by_learners_and_settings() -> None:
    """Without a say of validation episodes, training is the same whatever is tested, and however."""
    base = study()
    plain = variants("multitask(ways=3,queries=1,steps=2)", ())[""]
    before = trained_identity(base, plain.phases, plain, 0)
    for other in (
        replace(base, protocols=(Protocol(sampler=Sampled(ways=2)),)),
        replace(base, training=replace(base.training, adapted=9, validation=9, candidates=9)),
        replace(base, target=RowSpace([collection(5)])),
    ):
        assert trained_identity(other, plain.phases, plain, 0) == before
    assert trained_identity(base, plain.phases, replace(plain, learner=Ridge(penalty=3.0)), 0) == before
    assert trained_identity(base, plain.phases, plain, 1) != before
    assert trained_identity(replace(base, training=replace(base.training, within="group")), plain.phases, plain, 0) != before


def test_a_study_that_trains_nothing_depends_on_no_training() -> None:
    base = study()
    frozen = replace(base, methods={"m": variants("centroid", ())}, reserved=None)
    assert replace(frozen, source=None, training=Training(seeds=(3,))).text() == frozen.text()
    assert replace(frozen, target=RowSpace([replace(collection(0), group=np.zeros(24, dtype=np.int64))])).text() != frozen.text()


def test_collections_in_another_order_and_names_of_several_lines() -> None:
    base = study()
    one, two = collection(1), collection(2)
    check(replace(base, source=RowSpace([one, two])), replace(base, source=RowSpace([two, one])), ALL)
    odd = replace(base, target=RowSpace([replace(collection(0), name="a\nsource b")]))
    assert len(odd.text().splitlines()) == len(base.text().splitlines())
