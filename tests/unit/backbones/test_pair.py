"""Two towers as one backbone: names, features against the towers' own, packing, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.backbones.packed import load_packed, pack
from fewtune.backbones.places import Place, remember, remembered
from fewtune.backbones.providers.check import check_name
from fewtune.backbones.providers.names import read_name
from fewtune.backbones.providers.pair_names import read_pair
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.pack import pack_run
from tests.tiny import SENTENCES, image_space, images, save_bert, save_clip, save_vit

CPU = Machine(device="cpu", dtype="float32", workers=1)
ROWS = np.arange(4)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder + hf")
    for name, save in {"vit": save_vit, "bert": save_bert, "clip": save_clip}.items():
        save(folder / name)
    return folder


@pytest.fixture(scope="module")
def pair(towers: Path) -> Backbone:
    return load_backbone(f"pair:hf:{towers}/vit+hf:{towers}/bert,max_length=16+width=10", machine=CPU)


def test_it_is_both_towers_and_a_projection_of_each(pair: Backbone, towers: Path) -> None:
    image, text = (load_backbone(f"hf:{towers}/{name}", machine=CPU) for name in ("vit", "bert,max_length=16"))
    start, space = pair.start(), image_space(4)
    for side, found, own in (
        ("image", pair.embed(start, space, ROWS), image.embed(image.start(), space, ROWS)),
        ("text", pair.embed_labels(start, SENTENCES), text.embed_labels(text.start(), SENTENCES)),
    ):
        unit = own.double() / own.double().norm(dim=-1, keepdim=True)
        expected = unit @ start[f"{side}_projection.weight"].double().T + start[f"{side}_projection.bias"].double()
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert pair.width == 10 and pair.preparation.text == image.preparation.text and pair.logit_scale == 10.0
    assert pair.groups[-1][0] == "projection" and len(pair.groups[-1][1]) == 4
    assert {title.split()[0] for title, _ in pair.groups} == {"text", "image", "projection"}


def test_the_text_space_is_the_start_where_no_width_is_given(towers: Path) -> None:
    pair = load_backbone(f"pair:hf:{towers}/clip+hf:{towers}/bert", machine=CPU)
    assert pair.width == 16
    torch.testing.assert_close(pair.start()["text_projection.weight"], torch.eye(16))
    again = load_backbone(f"pair:hf:{towers}/clip+hf:{towers}/bert", machine=CPU)
    assert again.digest() == pair.digest() != load_backbone(f"pair:hf:{towers}/clip+hf:{towers}/bert,max_length=9", machine=CPU).digest()


def test_names(towers: Path) -> None:
    image, text, whole = read_pair(f"pair:timm:mobilenetv2_100,pad_type=same+hf:{towers}/bert,max_length=9+width=64")
    assert (image.name.provider, image.name.options) == ("timm", {"pad_type": "same"})
    assert (text.name.model, text.name.options) == (f"{towers}/bert", {"max_length": "9"})
    assert whole.full == "pair:timm:mobilenetv2_100,pad_type=same+hf:bert,max_length=9+width=64"  # no path
    assert read_name(whole.full).full == whole.full and str(towers) not in whole.full
    weights = towers / "vit" / "model.safetensors"
    image, _, whole = read_pair(f"pair:hf:{towers}/vit,weights={weights}+small")
    assert image.weights == weights and whole.full == "pair:hf:vit+hf:sentence-transformers/all-MiniLM-L6-v2"
    assert read_pair("pair:conv4,size=16+hf:some/model+v2")[1].name.model == "some/model+v2"  # a plus in a name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pair:", "expected two towers"),
        ("pair:conv4", "expected two towers"),
        ("pair:pair:conv4+hf:a+hf:b", "found another pair"),
        ("pair:conv4+hf:x+hf:y", "expected two towers and perhaps"),
        ("pair:conv4+timn:x", "expected two towers"),
        ("pair:conv4,weights=/nowhere+hf:x", "the weights /nowhere do not exist"),
        ("pare:conv4+hf:x", "unknown backbone"),
    ],
)
def test_names_that_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_name(name)


def test_a_tower_of_the_wrong_modality_is_refused(towers: Path) -> None:
    with pytest.raises(InputError, match="the first tower reads images, but hf:bert reads texts"):
        load_backbone(f"pair:hf:{towers}/bert+hf:{towers}/vit", machine=CPU)
    with pytest.raises(InputError, match="the second tower reads texts, but hf:vit reads images alone"):
        load_backbone(f"pair:hf:{towers}/vit+hf:{towers}/vit", machine=CPU)


def moved(pair: Backbone) -> Backbone:
    """Another pair, as after training of all weights."""
    return replace(pair.with_weights({n: t + 0.01 for n, t in pair.start().items() if t.is_floating_point()}), origin=None)


def test_packed_and_read_back(pair: Backbone, tmp_path: Path) -> None:
    for name, one in (("start", pair), ("trained", moved(pair))):
        pack(one, tmp_path / name, "mit")
        again = load_packed(tmp_path / name, CPU)
        assert again.digest() == one.digest() and again.name == pair.name
        assert again.logit_scale == pytest.approx(float(one.start()["logit_scale"].exp()))
        torch.testing.assert_close(again.embed_labels(again.start(), SENTENCES), one.embed_labels(one.start(), SENTENCES))
        pack(again, tmp_path / f"{name}-2")  # a copy of the folder
        assert load_packed(tmp_path / f"{name}-2", CPU).digest() == one.digest()
        pack(moved(again), tmp_path / f"{name}-3", moved=True)  # its towers have other weights than the folder that they came from
        assert load_packed(tmp_path / f"{name}-3", CPU).digest() == moved(again).digest()
    assert json.loads((tmp_path / "start" / "backbone.json").read_text())["licence"] == "mit"


@pytest.mark.parametrize("lost", ["image", "text", "model.safetensors"])
def test_a_packed_pair_without_a_part_is_refused(pair: Backbone, tmp_path: Path, lost: str) -> None:
    pack(pair, tmp_path / "pair")
    gone = tmp_path / "pair" / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(InputError, match=f"{lost}.* is missing: copy the whole folder"):
        load_packed(tmp_path / "pair", CPU)


def test_a_changed_tower_is_refused(pair: Backbone, tmp_path: Path) -> None:
    pack(pair, tmp_path / "pair")
    file = tmp_path / "pair" / "text" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(InputError, match="is not the one that was packed"):
        load_packed(tmp_path / "pair", CPU)


def test_weights_of_the_whole_pair(pair: Backbone, tmp_path: Path, towers: Path) -> None:
    import safetensors.torch

    other = moved(pair)
    safetensors.torch.save_file({n: t.contiguous() for n, t in other.start().items()}, tmp_path / "all.safetensors")
    name = f"pair:hf:{towers}/vit+hf:{towers}/bert,max_length=16+width=10"
    assert load_backbone(name, weights=tmp_path / "all.safetensors", machine=CPU).digest() == other.digest()


def test_the_places_of_towers_are_remembered(pair: Backbone, towers: Path) -> None:
    assert pair.place == Place(towers=(Place(towers / "vit"), Place(towers / "bert")))
    remember("ab12", pair.place)
    assert remembered("ab12") == pair.place


@pytest.mark.parametrize("method", ["shrink", "flyp(on='support', steps=2, batch=6, lr=1e-2)"])
def test_a_saved_model_of_a_pair(towers: Path, tmp_path: Path, method: str) -> None:
    """Adapted, finetuned, saved and loaded; its towers gone, it says so; packed, it needs none of them."""
    import fewtune

    for name in ("vit", "bert"):
        shutil.copytree(towers / name, tmp_path / name)
    name = f"pair:hf:{tmp_path}/vit+hf:{tmp_path}/bert"
    photos, labels = images(12), ["cat", "dog", "bird"] * 4
    settings = AdaptSettings(finetune="never" if method == "shrink" else "own")
    fewtune.adapt((photos, labels), backbone=load_backbone(name, machine=CPU), method=method, settings=settings).save(tmp_path / "run")
    before = fewtune.load(tmp_path / "run").predict_proba(photos)
    (tmp_path / "vit").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"vit, from which a tower of pair:hf:vit\+hf:bert was read, is gone"):
        fewtune.load(tmp_path / "run").predict(photos)
    (tmp_path / "away").rename(tmp_path / "vit")
    pack_run(tmp_path / "run")
    for folder in ("vit", "bert"):
        shutil.rmtree(tmp_path / folder)
    after = fewtune.load(tmp_path / "run").predict_proba(photos)
    np.testing.assert_allclose(after, before, atol=1e-5)
    size = fewtune.load(tmp_path / "run").export(tmp_path / "model.onnx").size
    assert size < (tmp_path / "run" / "backbone" / "image" / "model.safetensors").stat().st_size + 60_000  # no text tower in it
