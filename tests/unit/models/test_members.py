"""A saved ensemble: its members side by side, each with its own head; the same after loading, and whole or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import fewtune
from fewtune.adaptation.adapt import adapt_examples
from fewtune.api.adapted import Adapted
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.beside import beside
from fewtune.backbones.edits import LoRA
from fewtune.backbones.load import load_backbone
from fewtune.backbones.packed import load_packed
from fewtune.backbones.places import remember
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.files import sealed, sha256
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models.bundle import WEIGHTS, load_bundle
from fewtune.models.card import model_card
from fewtune.models.finetuned_weights import Members, Moved, what_moved
from fewtune.models.fitting import fit_head
from fewtune.models.its_backbone import load_its_backbone
from fewtune.parts.heads import Ensemble, Logistic, Ridge
from fewtune.sides.job import Workplace
from tests.tiny import images

CPU = Machine(device="cpu")
LABELS = ["a", "b", "c"] * 4
METHOD = Method(learner=Ensemble(heads=(Logistic(), Ridge(penalty=2.0), Logistic()), temperatures=(0.5, 2.0, 1.0)))


def changes(backbone: Backbone) -> tuple[Moved | None, ...]:
    """The model as it came, some weights moved, low-rank factors."""
    g, edit = torch.Generator().manual_seed(0), LoRA(rank=2)
    start = backbone.start()
    first = next(iter(start))
    full = what_moved(backbone, {first: start[first] + 0.3 * torch.randn(start[first].shape, generator=g)})
    lora = what_moved(backbone, {n: t + 0.2 * torch.randn(t.shape, generator=g) for n, t in edit.declare(backbone).items()}, (edit,))
    assert full is not None and lora is not None
    return None, full, lora


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("conv4,size=16,width=4", machine=CPU)


@pytest.fixture(scope="module")
def model(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    members = Members(parts=changes(backbone))
    found = adapt_examples(
        read_examples((images(12), LABELS)),
        members.onto(backbone),
        at=Workplace(cache=tmp_path_factory.mktemp("cache"), quiet=True),
        methods={"both": METHOD},
    )
    remember(backbone.digest(), backbone.place)
    bundle = replace(found.bundle, backbone=replace(found.bundle.backbone, digest=backbone.digest()), moved=members)
    return Adapted(replace(found, bundle=bundle))


@pytest.fixture(scope="module")
def saved(model: Adapted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run"
    model.save(path)
    return path


def test_what_it_says_is_the_mean_of_its_members(model: Adapted, backbone: Backbone, saved: Path) -> None:
    """Each member by itself: its features, its head fitted on them, its temperature."""
    space = RowSpace([read_examples((images(12), LABELS))])
    new = images(7, seed=3)
    asked, logits = RowSpace([read_examples((new, list("abcabca")))]), torch.zeros(7, 3, dtype=torch.float64)
    for part, head, temperature in zip(changes(backbone), METHOD.head.heads, (0.5, 2.0, 1.0), strict=True):  # type: ignore[attr-defined]
        member = backbone if part is None else part.onto(backbone)
        train, test = (member.embed(member.start(), s, np.arange(len(s))) for s in (space, asked))
        labels = np.arange(12) % 3
        state, parameters = fit_head(Method(learner=head), train, np.arange(12), labels, 3, None)
        logits += head.score(state, test[None], parameters)[0].double() / temperature / 3
    expected = torch.softmax(logits / model.bundle.temperature, -1)
    answered = fewtune.load(saved, machine=CPU).predict(new)
    found = np.array([[p.scores[name] for name in "abc"] for p in answered])
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_it_is_the_same_after_loading(model: Adapted, saved: Path, backbone: Backbone) -> None:
    new = images(6, seed=5)
    loaded = fewtune.load(saved, machine=CPU)
    assert loaded.predict(new) == model.predict(new)
    assert loaded.backbone.digest() == model.backbone.digest() != backbone.digest()
    members = loaded.bundle.moved
    assert isinstance(members, Members) and isinstance(model.bundle.moved, Members)
    assert [part is None for part in members.parts] == [True, False, False]
    assert members.digest == model.bundle.moved.digest
    assert [p.edits for p in members.parts if p is not None] == [p.edits for p in model.bundle.moved.parts if p is not None]
    kept = safetensors.torch.load_file(saved / WEIGHTS)
    assert {n.partition("/")[0] for n in kept} == {"1", "2"} and kept.keys() == members.weights.keys()
    right = [p.label == label for p, label in zip(model.predict(new), LABELS[:6], strict=True)]
    measured = loaded.evaluate((new, LABELS[:6])).accuracy
    assert measured.mean == pytest.approx(np.mean(right)) and measured.n == 6


def test_a_member_s_place_counts(backbone: Backbone) -> None:
    none, full, lora = changes(backbone)
    digests = {Members(parts=parts).digest for parts in ((none, full, lora), (none, lora, full), (full, lora), (none, full))}
    assert len(digests) == 4
    assert full is not None
    assert Members(parts=(none, full)).onto(backbone).digest() == beside([backbone, full.onto(backbone)]).digest()


def test_a_new_class_is_fitted_by_every_member(saved: Path, backbone: Backbone, tmp_path: Path) -> None:
    """As if it had been there from the start."""
    more = images(4, seed=9)
    larger = fewtune.load(saved, machine=CPU).add_class("d", more)
    assert larger.class_names == ("a", "b", "c", "d")
    members = Members(parts=changes(backbone)).onto(backbone)
    space = RowSpace([read_examples((np.concatenate([images(12), more]), [*LABELS, *"dddd"]))])
    features = members.embed(members.start(), space, np.arange(16))
    labels = np.concatenate([np.arange(12) % 3, np.full(4, 3)])
    state, _ = fit_head(METHOD, features, np.arange(16), labels, 4, None)
    assert state.keys() == larger.bundle.state.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(larger.bundle.state[name], tensor, rtol=1e-4, atol=1e-5)
    larger.save(tmp_path / "run")
    assert fewtune.load(tmp_path / "run", machine=CPU).predict(more) == larger.predict(more)


def test_the_card_says_that_there_are_several(saved: Path) -> None:
    bundle = load_bundle(saved)
    assert bundle.moved is not None
    numbers = sum(t.numel() for t in bundle.moved.weights.values())
    assert f"3 versions side by side, 1 of them unchanged: {numbers:,} numbers of the others moved" in model_card(bundle, {}, ())


def resealed(saved: Path, to: Path, tensors: Mapping[str, Tensor] | None = None, **fields: Any) -> Path:
    """Another record, or other tensors, under a manifest that vouches for them."""
    copy = Path(shutil.copytree(saved, to))
    record = json.loads((copy / "fewtune.json").read_bytes()) | fields
    if tensors is not None:
        (copy / WEIGHTS).write_bytes(safetensors.torch.save(dict(tensors)))
        record["files"][WEIGHTS] = sha256(copy / WEIGHTS)
    (copy / "fewtune.json").write_bytes(sealed(record))
    return copy


def test_an_absurd_record_is_refused_in_one_sentence(saved: Path, tmp_path: Path) -> None:
    part = json.loads((saved / "fewtune.json").read_bytes())["moved"]["members"][1]
    for i, moved in enumerate(
        (
            {"members": []},
            {"members": [part]},
            {"members": [None, None]},
            {"members": [None, part]},  # weights of a third member
            {"members": [None, part, None]},
            {"members": [None, part, {"edits": "(evil(),)", "digest": "x"}]},
            {"members": [None, part, {"edits": "()"}]},
            {"members": [None, part, 3]},
            {"members": [None, part, {"members": [None, part]}]},
            {"members": part},
            {"members": 7},
        )
    ):
        with pytest.raises(InputError) as refused:
            load_bundle(resealed(saved, tmp_path / str(i), moved=moved))
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_tensors_of_another_model_are_refused_in_one_sentence(saved: Path, tmp_path: Path) -> None:
    whole = safetensors.torch.load_file(saved / WEIGHTS)
    name = next(n for n in whole if n.startswith("1/"))
    wrong: tuple[dict[str, Tensor], ...] = (
        {n: t for n, t in whole.items() if n != name},
        whole | {name: whole[name] + 1},
        whole | {name: whole[name][:1]},
        whole | {"1/other": whole[name].clone()},
        {n.replace("1/", "0/"): t for n, t in whole.items()},
        {n.replace("1/", "3/"): t for n, t in whole.items()},
        whole | {"plain": torch.zeros(2)},
        {},
    )
    for i, tensors in enumerate(wrong):
        with pytest.raises(InputError) as refused:
            load_its_backbone(load_bundle(resealed(saved, tmp_path / str(i), tensors)), machine=CPU)
        assert "\n" not in str(refused.value) and str(refused.value).endswith((".", "again."))


def test_a_changed_file_is_refused(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match=r"make the model again\.$"):
        load_bundle(copy)


def test_a_model_of_the_format_before_is_still_read(saved: Path, tmp_path: Path) -> None:
    """Ensembles were new in format 4, what predict needs of the labelled examples in format 5, label columns that finetune in 6."""
    x, y = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), ["a", "b"] * 4
    fewtune.adapt((x, y), method="ridge").save(tmp_path / "run")
    older = resealed(tmp_path / "run", tmp_path / "older", format=3)
    assert json.loads((saved / "fewtune.json").read_bytes())["format"] == 6
    assert fewtune.load(older).predict(x) == fewtune.load(tmp_path / "run").predict(x)


def test_onnx_holds_all_members(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    model = fewtune.load(saved, machine=CPU)
    made = model.export(tmp_path / "model.onnx", inputs=images(5, seed=1))
    assert made.difference <= 1e-5 and made.rows == 5


@pytest.mark.slow
def test_ridge_on_the_features_of_two_members_is_exported_too(backbone: Backbone, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    members = Members(parts=changes(backbone)[:2])
    at = Workplace(cache=tmp_path / "cache", quiet=True)
    methods = {"beside": Method(learner=Ridge(penalty="loo"))}
    found = adapt_examples(read_examples((images(12), LABELS)), members.onto(backbone), at=at, methods=methods)
    remember(backbone.digest(), backbone.place)
    bundle = replace(found.bundle, backbone=replace(found.bundle.backbone, digest=backbone.digest()), moved=members)
    Adapted(replace(found, bundle=bundle)).save(tmp_path / "run")
    model = fewtune.load(tmp_path / "run", machine=CPU)
    made = model.export(tmp_path / "model.onnx", inputs=images(5, seed=1))
    assert made.difference <= 1e-5 and made.rows == 5


def test_an_ensemble_is_packed_once(model: Adapted, backbone: Backbone, tmp_path: Path) -> None:
    """The packed backbone is the one that all members start from."""
    run = model.save(tmp_path / "run", pack=True)
    loaded = fewtune.load(run, machine=CPU)
    assert isinstance(loaded.bundle.moved, Members) and loaded.bundle.packed == run / "backbone"
    assert loaded.predict(images(6, seed=5)) == model.predict(images(6, seed=5))
    assert load_packed(run / "backbone", CPU).digest() == backbone.digest()
