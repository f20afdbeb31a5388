"""What finetuning moved is saved and put in again: predictions by a loaded model equal those before saving to the last bit."""

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
from fewtune.backbones.edits import LoRA
from fewtune.backbones.load import load_backbone
from fewtune.backbones.places import remember
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError
from fewtune.files import sealed, sha256
from fewtune.machine import Machine
from fewtune.models.bundle import FORMAT, HEAD, SUPPORT, WEIGHTS, Support, load_bundle
from fewtune.models.card import model_card
from fewtune.models.finetuned_weights import Moved, what_moved
from fewtune.models.its_backbone import load_its_backbone
from fewtune.recipes import read_method
from fewtune.sides.job import Workplace
from tests.tiny import SENTENCES, images, save_bert

EDIT = LoRA(rank=2)
HOW = ("full", "some", "lora", "both", "nothing")
METHODS = {"ridge": read_method("ridge")}
TEXTS = (*SENTENCES, "the dog runs", "a small cat", "red mat")


def data(kind: str) -> tuple[Any, Any]:
    y = ["a", "b"] * 4
    if kind == "image":
        return images(8), y
    return (list(TEXTS), y) if kind == "text" else (np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), y)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    folder = tmp_path_factory.mktemp("bert")
    save_bert(folder)
    return {"image": "conv4,width=8", "text": f"hf:{folder}", "vector": "mlp,inputs=3"}


def trained(backbone: Backbone, how: str) -> dict[str, Tensor]:
    """All the weights there are after some training, with parameters of a head among them."""
    g = torch.Generator().manual_seed(0)

    def shifted(t: Tensor) -> Tensor:
        return t + 0.1 * torch.randn(t.shape, generator=g).to(t) if t.is_floating_point() else t

    whole = {**backbone.start(), "head.temperature": torch.tensor(3.0)}
    if how in ("full", "some", "both"):
        first = next(iter(whole))
        whole |= {n: shifted(t) for n, t in whole.items() if how == "full" or n == first}
    if how in ("lora", "both"):
        whole |= {n: shifted(t) for n, t in EDIT.declare(backbone).items()}
    return whole


def finetuned(kind: str, names: Mapping[str, str], how: str, cache: Path) -> tuple[Adapted, Backbone]:
    """A model whose head was fitted on features of moved weights."""
    backbone = load_backbone(names[kind], machine=Machine(device="cpu"))
    moved = what_moved(backbone, trained(backbone, how), (EDIT,) if how in ("lora", "both") else ())
    assert (moved is None) == (how == "nothing")
    mover = backbone if moved is None else moved.onto(backbone)
    adapted = adapt_examples(read_examples(data(kind)), mover, at=Workplace(cache=cache, quiet=True), methods=METHODS)
    remember(backbone.digest(), backbone.place)
    bundle = replace(adapted.bundle, backbone=replace(adapted.bundle.backbone, digest=backbone.digest()), moved=moved)
    return Adapted(replace(adapted, bundle=bundle)), backbone


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["image", "text", "vector"])
def test_predictions_are_the_same_to_the_last_bit(kind: str, how: str, names: Mapping[str, str], tmp_path: Path) -> None:
    adapted, backbone = finetuned(kind, names, how, tmp_path / "cache")
    adapted.save(tmp_path / "run")
    new = data(kind)[0][::-1]
    loaded = fewtune.load(tmp_path / "run", machine=Machine(device="cpu"))
    assert loaded.predict(new) == adapted.predict(new)
    assert loaded.backbone.digest() == adapted.backbone.digest()
    assert (loaded.backbone.digest() == backbone.digest()) == (how == "nothing")
    assert (tmp_path / "run" / WEIGHTS).is_file() == (how != "nothing")
    support, again = adapted.bundle.support, loaded.bundle.support
    assert support is not None and again is not None
    assert torch.equal(support.features, again.features) and (support.labels == again.labels).all() and support.digests == again.digests


def test_only_what_moved_is_kept(names: Mapping[str, str]) -> None:
    backbone = load_backbone(names["image"], machine=Machine(device="cpu"))
    start = backbone.start()
    first = next(iter(start))
    some = what_moved(backbone, trained(backbone, "some"))
    assert some is not None and set(some.weights) == {first} and some.edits == "()"
    assert some.digest == backbone.with_weights(some.weights).digest()
    lora = what_moved(backbone, trained(backbone, "lora"), (EDIT,))
    assert lora is not None and set(lora.weights) == set(EDIT.declare(backbone)) and lora.edits.startswith("(LoRA(")
    untrained = {**start, **EDIT.declare(backbone)}  # up is zero: nothing changes
    assert what_moved(backbone, untrained, (EDIT,)) is None and what_moved(backbone, {}) is None
    one = {n: t + (n == f"lora.{first}.up") for n, t in untrained.items()}
    found = what_moved(backbone, one, (EDIT,))
    assert found is not None and set(found.weights) == {f"lora.{first}.down", f"lora.{first}.up"}
    kept = found.weights[f"lora.{first}.up"]
    one[f"lora.{first}.up"].zero_()
    assert kept.all()  # a copy


@pytest.fixture(scope="module")
def saved(names: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved")
    adapted, _ = finetuned("image", names, "lora", root / "cache")
    adapted.save(root / "run")
    return root / "run"


def changed(saved: Path, to: Path, **fields: Any) -> Path:
    copy = Path(shutil.copytree(saved, to))
    record = json.loads((copy / "fewtune.json").read_bytes()) | fields
    (copy / "fewtune.json").write_bytes(sealed(record))
    return copy


def resaved(copy: Path, name: str, tensors: Mapping[str, Tensor]) -> Path:
    """Other tensors under a manifest that vouches for them."""
    (copy / name).write_bytes(safetensors.torch.save(dict(tensors)))
    record = json.loads((copy / "fewtune.json").read_bytes())
    record["files"][name] = sha256(copy / name)
    (copy / "fewtune.json").write_bytes(sealed(record))
    return copy


@pytest.mark.parametrize("name", [HEAD, WEIGHTS, SUPPORT])
def test_a_file_that_was_changed_cut_or_lost_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    for i, other in enumerate((content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b"", None)):
        copy = Path(shutil.copytree(saved, tmp_path / f"copy{i}"))
        if other is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(other)
        with pytest.raises(InputError, match=r"make the model again\.$") as refused:
            load_bundle(copy)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"moved": None},  # the manifest names weights that the record does not know
        {"moved": {"edits": "()"}},
        {"moved": {"edits": "(evil(),)", "digest": "x"}},
        {"moved": {"edits": "LoRA()", "digest": "x"}},
        {"moved": {"edits": "__import__('os').system('true')", "digest": "x"}},
        {"moved": [1]},
        {"class_names": "ab"},
        {"class_names": ["a"]},
        {"class_names": ["a", "a"]},
        {"class_names": ["a", 3]},
        {"class_names": ["a", "b", "c"]},  # more names than logits
        {"facts": ["none"]},
        {"facts": {"recall": ["all"]}},
        {"facts": {"recall": {"a": "good"}}},
        {"facts": {"shots": 3}},
        {"facts": {"added": {"class": "c"}}},
        {"facts": {"expected_accuracy": "good"}},
        {"facts": {"expected_accuracy": {"mean": 0.5}}},
        {"facts": {"expected_accuracy": {"mean": "x", "low": 0, "high": 1}}},
        {"facts": {"sources": "photos"}},
        {"temperature": int("9" * 400)},
        {"method": "zero_shot"},
        {"method": "matching"},  # reads another state than was saved
        {"method": 3},
        {"backbone": {"name": "conv4", "weights": 5, "digest": "", "preparation": "", "width": 8, "modality": "image"}},
        {"backbone": {"name": "conv4", "weights": None, "digest": "", "preparation": "", "width": 9, "modality": "image"}},
        {"backbone": {"name": "conv4", "weights": None, "digest": "", "preparation": "", "width": 8, "modality": "smell"}},
        {"format": 0},
        {"format": True},
        {"format": FORMAT + 1},
    ],
)
def test_a_record_that_is_absurd_is_refused_in_one_sentence(saved: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        load_bundle(changed(saved, tmp_path / "copy", **fields))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_json_that_no_one_would_write_is_refused(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    for content in (b"[" * 200_000, b'{"kind": "bundle", "format": ' + b"9" * 5_000 + b"}", b"\xff\xfe", b"", b"null", b'"bundle"'):
        (copy / "fewtune.json").write_bytes(content)
        with pytest.raises(InputError) as refused:
            load_bundle(copy)
        assert "\n" not in str(refused.value)


def test_a_support_or_weights_of_another_model_are_refused(saved: Path, tmp_path: Path) -> None:
    support = safetensors.torch.load_file(saved / SUPPORT)
    bad = (
        {},
        support | {"labels": support["labels"] + 1},
        support | {"labels": support["labels"][:-1]},
        support | {"features": support["features"][:, :-1].contiguous()},
        support | {"features": support["features"].double()},
        support | {"digests": support["digests"][:, :-1].contiguous()},
    )
    for i, tensors in enumerate(bad):
        with pytest.raises(InputError, match="not a whole fewtune model"):
            load_bundle(resaved(Path(shutil.copytree(saved, tmp_path / f"support{i}")), SUPPORT, tensors))
    weights = safetensors.torch.load_file(saved / WEIGHTS)
    name, tensor = next(iter(weights.items()))
    for i, tensors in enumerate(
        ({name: tensor}, weights | {name: tensor + 1}, weights | {"other": tensor.clone()}, weights | {name: tensor[:1]})
    ):
        bundle = load_bundle(resaved(Path(shutil.copytree(saved, tmp_path / f"weights{i}")), WEIGHTS, tensors))
        with pytest.raises(InputError, match=r"make the model again\.$"):
            load_its_backbone(bundle, machine=Machine(device="cpu"))


def test_models_of_earlier_formats_are_asked_for_again(saved: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        with pytest.raises(InputError, match=f"has format {number}, .* make the model again with `fewtune adapt`"):
            load_bundle(changed(saved, tmp_path / str(number), format=number))


def test_the_card_says_what_moved_and_where_the_sources_came_from(saved: Path) -> None:
    bundle = load_bundle(saved)
    assert "finetuned by `(LoRA(" in model_card(bundle, {}, ()) and "Other labelled data" not in model_card(bundle, {}, ())
    two = model_card(bundle, {}, ("One.", "Two."), ("Three.", "Four."))
    assert "\n\nOne. Two.\n\n|" in two and "\n## In detail\n- Three.\n- Four.\n\n## How it was made" in two
    assert "In detail" not in model_card(bundle, {}, ("One.",))
    said = model_card(bundle, {"sources": {"data": {"a|b": "3 rows"}, "chosen": ["t1", "t2"], "none": [], "budget": "10 minutes"}}, ())
    assert "- data: a\\|b (3 rows)\n- chosen: t1, t2\n- budget: 10 minutes\n" in said and "none" not in said
    assert ", unchanged (digest" in model_card(replace(bundle, moved=None), {}, ())
    moved = Moved(weights={"w": torch.zeros(1200)}, edits="()", digest="")
    assert "1 tensor of 1,200 numbers moved" in model_card(replace(bundle, moved=moved), {}, ())


def test_the_types_say_what_they_are(saved: Path) -> None:
    bundle = load_bundle(saved)
    assert isinstance(bundle.moved, Moved) and isinstance(bundle.support, Support)
    assert bundle.support.labels.dtype == np.int64 and all(len(d) == 16 for d in bundle.support.digests)
