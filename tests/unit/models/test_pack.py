"""Packed models: the folder alone is enough; what was changed in it is noticed; nothing else of the folder changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import fewtune
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones import packed as packed_module
from fewtune.backbones.load import load_backbone
from fewtune.backbones.packed import WEIGHTS, load_packed, pack
from fewtune.backbones.places import PACKED_RECORD, is_packed
from fewtune.backbones.providers.packable import licence_in, settings, with_options
from fewtune.backbones.providers.quiet import quietly, transformers_quietly
from fewtune.errors import InputError
from fewtune.files import entries, sealed, written
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from fewtune.models.pack import pack_run
from tests.tiny import drawn, images, save_bert, save_clip, save_tokenizer, save_vit
from tests.unit.models.test_finetuned_weights import data, finetuned, names  # noqa: F401  # a fixture

CPU = Machine(device="cpu")
PHOTOS, LABELS = images(12), ["a", "b", "c"] * 4
TEXTS = [f"the {colour} {animal}" for colour in ("red", "blue", "big") for animal in ("cat", "dog", "bird", "mat")]


def bert(folder: Path) -> str:
    save_bert(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": str(folder), "auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\nlicense: other\n")
    return f"hf:{folder}"


def t5(folder: Path) -> str:
    from transformers import T5Config, T5Model

    with transformers_quietly(), drawn(3):
        made = T5Model(T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0))
        made.save_pretrained(folder)
        save_tokenizer(folder)
    return f"hf:{folder},max_length=12"


def vit(folder: Path) -> str:
    save_vit(folder, pooler=False)
    return f"hf:{folder}"


def clip(folder: Path) -> str:
    save_clip(folder)
    return f"hf:{folder}"


def open_clip(folder: Path) -> str:
    made = pytest.importorskip("open_clip")
    from tests.unit.backbones.test_open_clip import CONFIG

    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with quietly(), drawn(3):
        model = made.create_model(f"local-dir:{folder}", load_weights=False).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return f"open_clip:{folder}"


def timm(folder: Path) -> str:
    made = pytest.importorskip("timm")
    with quietly(), drawn(0):
        safetensors.torch.save_file(made.create_model("resnet10t", pretrained=False).state_dict(), folder / "w.safetensors")
    return "timm:resnet10t,size=32"


def conv4(_: Path) -> str:
    return "conv4,size=16,width=4"


def embedded(_: Path) -> str:
    return "embedded"


def vectors(_: Path) -> str:
    return "mlp,inputs=3,width=5"


def made(make: Callable[[Path], str], tmp_path: Path) -> tuple[fewtune.Adapted, Any, Path]:
    """A finetuned model (where its kind allows), inputs, and the folder of its backbone."""
    folder = tmp_path / "original"
    folder.mkdir()
    name = make(folder)
    file = folder / "w.safetensors"
    backbone = load_backbone(name, weights=file if file.exists() else None, machine=CPU)
    x: Any = {"image": PHOTOS, "text": TEXTS, "vector": PHOTOS[:, 0, 0].astype(np.float32)}[backbone.preparation.modality]
    return fewtune.adapt((x, LABELS), backbone=backbone, method="ridge", settings=AdaptSettings(minutes=1.0)), x, folder


@pytest.mark.parametrize("make", [bert, t5, vit, clip, open_clip, timm, conv4, embedded, vectors])
def test_the_folder_alone_is_enough(make: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    adapted, x, folder = made(make, tmp_path)
    run = adapted.save(tmp_path / "run", pack=True)
    for name in entries(run):  # of this machine, nothing
        assert str(tmp_path).encode() not in (run / name).read_bytes(), name
        assert Path(name).suffix in (".json", ".txt", ".jinja", ".md", ".html", ".safetensors"), name
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(run, tmp_path / "elsewhere" / "bob")
    loaded = fewtune.load(tmp_path / "elsewhere" / "bob", machine=CPU)
    assert loaded.predict(x[::-1]) == adapted.predict(x[::-1])
    assert loaded.backbone.digest() == adapted.backbone.digest()
    assert set(entries(tmp_path / "elsewhere" / "bob")) - {"fewtune.json"} == (written(tmp_path / "elsewhere" / "bob") or {}).keys()


@pytest.mark.parametrize("how", ["some", "lora"])
def test_what_finetuning_moved_lies_beside_it(how: str, names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    """The packed backbone is the original; the changes of finetuning stay in their own file."""
    adapted, original = finetuned("text", names, how, tmp_path / "cache")
    model = fewtune.load(adapted.save(tmp_path / "run", pack=True), machine=CPU)
    texts = data("text")[0]
    assert model.bundle.moved is not None and model.predict(texts) == adapted.predict(texts)
    assert load_packed(tmp_path / "run" / "backbone", CPU).digest() == original.digest() != model.backbone.digest()


@pytest.mark.slow
def test_a_name_of_the_hub_needs_no_cache_afterwards(tmp_path: Path) -> None:
    """The hub's cache holds a model by its name; packed, the model is read where there is no such cache."""
    home = tmp_path / "home"
    snapshot = home / "hub" / "models--some--bert" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0123")
    save_bert(snapshot)
    (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    script = (
        "import fewtune, sys; from fewtune.adaptation.settings import AdaptSettings\n"
        f"data, settings = ({TEXTS!r}, {LABELS!r}), AdaptSettings(finetune='never')\n"
        "model = fewtune.adapt(data, backbone='hf:some/bert', method='ridge', settings=settings)\n"
        "model.save(sys.argv[1], pack=True)\n"
        f"print(*[p.probability for p in model.predict({TEXTS!r})])"
    )
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "FEWTUNE_CACHE": str(tmp_path / "cache")}
    env.pop("HF_HUB_CACHE", None)
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], env=env, capture_output=True, text=True, check=True)
    said = [float(word) for word in ran.stdout.split()]
    loaded = fewtune.load(tmp_path / "run", machine=CPU)
    np.testing.assert_allclose([p.probability for p in loaded.predict(TEXTS)], said, atol=1e-6)
    assert json.loads((tmp_path / "run" / "backbone" / PACKED_RECORD).read_text())["licence"] == "apache-2.0"
    assert loaded.bundle.backbone.name == "hf:some/bert" and not loaded.bundle.backbone.folder


def test_weights_of_one_s_own_have_no_licence_of_the_library(tmp_path: Path) -> None:
    name = timm(tmp_path)
    backbone = load_backbone(name, weights=tmp_path / "w.safetensors", machine=CPU)
    licensed = load_backbone("timm:resnet10t.c3_in1k,pretrained=false,size=32", machine=CPU)
    assert pack(licensed, tmp_path / "theirs").licence == "apache-2.0"
    mine = replace(licensed, place=backbone.place)
    assert pack(mine, tmp_path / "mine").licence is None
    made = pack(mine, tmp_path / "said", "my own terms")
    assert made.licence == json.loads((tmp_path / "said" / PACKED_RECORD).read_text())["licence"] == "my own terms"
    copied = pack(load_packed(tmp_path / "mine", CPU), tmp_path / "copy", "later terms")
    assert copied.licence == json.loads((tmp_path / "copy" / PACKED_RECORD).read_text())["licence"] == "later terms"
    assert backbone.place.weights is not None
    (backbone.place.weights.parent / "LICENSE").write_text("MIT License\n")
    assert pack(mine, tmp_path / "beside").licence == "MIT License (the file LICENSE beside them)"


@pytest.mark.parametrize("wrong", ["weights", "features"])
def test_a_copy_that_is_another_model_is_refused(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read back before anything is said of it."""
    original, read = load_backbone("conv4,size=16,width=4", machine=CPU), packed_module._read
    pack(original, tmp_path / "right")

    def other(*given: Any, **how: Any) -> Any:
        found = read(*given, **how)
        with torch.no_grad():
            next(found.network.parameters()).add_(1e-3)
        return found

    if wrong == "weights":
        monkeypatch.setattr(packed_module, "_read", other)
    else:
        monkeypatch.setattr(packed_module, "_alike", lambda *_: False)
    with pytest.raises(InputError, match="cannot be packed"):
        pack(original, tmp_path / "wrong")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, fewtune.Adapted]:
    """A text model, packed in place, whose backbone is gone."""
    place = tmp_path_factory.mktemp("packed")
    adapted, _, folder = made(bert, place)
    run = adapted.save(place / "run")
    (run / "mine.txt").write_text("mine")
    before = {name: (run / name).read_bytes() for name in entries(run) if name != "fewtune.json"}
    done = pack_run(run)
    assert "hf:original" in done.sentences[0] and f"{done.size / 1e6:.1f} MB" in done.sentences[0] and done.licence == "mit"
    assert done.sentences[1] == "The licence of these weights is mit."
    assert done.size == sum(file.stat().st_size for file in (run / "backbone").iterdir())
    assert {name: (run / name).read_bytes() for name in before} == before and "mine.txt" not in (written(run) or ())
    shutil.rmtree(folder)
    return run, adapted


@pytest.fixture
def run(packed: tuple[Path, fewtune.Adapted], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed[0], tmp_path / "run"))


def test_packed_in_place(packed: tuple[Path, fewtune.Adapted], run: Path) -> None:
    assert fewtune.load(run, machine=CPU).predict(TEXTS) == packed[1].predict(TEXTS)
    config = json.loads((run / "backbone" / "config.json").read_text())
    assert "auto_map" not in config and "_name_or_path" not in config
    with pytest.raises(InputError, match="is packed already"):
        pack_run(run)


def test_it_stays_packed(packed: tuple[Path, fewtune.Adapted], run: Path, tmp_path: Path) -> None:
    """What is made of a packed model needs nothing else either: a copy, a larger model, its encoder in a new model."""
    model = fewtune.load(run, machine=CPU)
    model.save(tmp_path / "copy")
    model.add_class("d", ["a photo of a mat", "a mat"]).save(tmp_path / "larger")
    encoder = fewtune.load_backbone(f"run:{run}", machine=CPU)
    again = fewtune.adapt((TEXTS, LABELS), backbone=encoder, method="ridge", settings=AdaptSettings(finetune="never"))
    again.save(tmp_path / "again", pack=True)
    shutil.rmtree(run)
    assert fewtune.load(tmp_path / "copy", machine=CPU).predict(TEXTS) == packed[1].predict(TEXTS)
    assert fewtune.load(tmp_path / "larger", machine=CPU).predict(["a mat"])[0].scores.keys() == {"a", "b", "c", "d"}
    assert fewtune.load(tmp_path / "again", machine=CPU).predict(TEXTS) == again.predict(TEXTS)


def test_a_packed_folder_can_be_named(packed: tuple[Path, fewtune.Adapted], run: Path, tmp_path: Path) -> None:
    """A model that was not packed takes the packed backbone of another by --weights."""
    bare = packed[1].save(tmp_path / "bare")
    assert fewtune.load(bare, weights=run / "backbone", machine=CPU).predict(TEXTS) == packed[1].predict(TEXTS)


def test_what_was_changed_is_noticed(run: Path) -> None:
    file = run / "backbone" / WEIGHTS
    weights = safetensors.torch.load_file(file)
    name = max(weights, key=lambda n: weights[n].numel())
    weights[name].view(-1)[0] += 1e-3
    whole = file.read_bytes()
    safetensors.torch.save_file(weights, file)
    with pytest.raises(InputError, match="not the one that was packed"):
        fewtune.load(run, machine=CPU).predict(TEXTS)
    file.write_bytes(whole[:-10])
    with pytest.raises(InputError):
        fewtune.load(run, machine=CPU).predict(TEXTS)
    file.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        fewtune.load(run, machine=CPU).predict(TEXTS)
    file.write_bytes(whole)
    assert fewtune.load(run, machine=CPU).predict(TEXTS)
    for kept in ("config.json", "tokenizer.json", PACKED_RECORD):
        file, whole = run / "backbone" / kept, (run / "backbone" / kept).read_bytes()
        file.write_bytes(whole.replace(b"1", b"2", 1) + b" ")
        with pytest.raises(InputError, match="was changed or damaged"):
            fewtune.load(run)
        file.write_bytes(whole)


@pytest.mark.parametrize("edit", [{"name": 3}, {"digest": None}, {"source": []}, {"structure": "other"}, {"structure_here": "x"}])
def test_a_hostile_record_is_refused(run: Path, edit: dict[str, Any]) -> None:
    """Even where its writer sealed the folder again."""
    from fewtune.files import sha256

    file = run / "backbone" / PACKED_RECORD
    file.write_text(json.dumps({**json.loads(file.read_text()), **edit}))
    record = json.loads((run / "fewtune.json").read_text())
    record["files"][f"backbone/{PACKED_RECORD}"] = sha256(file)
    (run / "fewtune.json").write_bytes(sealed(record))
    with pytest.raises(InputError):
        fewtune.load(run, machine=CPU).predict(TEXTS)


def test_a_folder_in_the_way_is_not_touched(packed: tuple[Path, fewtune.Adapted], tmp_path: Path) -> None:
    run = packed[1].save(tmp_path / "run")
    (run / "backbone").mkdir()
    (run / "backbone" / "mine.txt").write_text("mine")
    before = {name: (run / name).read_bytes() for name in entries(run)}
    with pytest.raises(InputError, match="was edited or not written by fewtune"):
        pack_run(run)
    assert {name: (run / name).read_bytes() for name in entries(run)} == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_without_the_folder_it_is_an_ordinary_model(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.rmtree(run / "backbone")
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "empty"))
    assert load_bundle(run).packed is None
    with pytest.raises(InputError, match="local folder that is not known"):
        fewtune.load(run).predict(TEXTS)


def test_nothing_to_pack_and_what_cannot_be_packed(tmp_path: Path) -> None:
    plain = fewtune.adapt((PHOTOS, LABELS), backbone="pixels,size=8", method="centroid").save(tmp_path / "plain", pack=True)
    assert not (plain / "backbone").exists()
    assert "has no weights" in pack_run(plain).sentences[0]
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    own = fewtune.adapt(
        (PHOTOS, LABELS), backbone=fewtune.Backbone.of(network, size=16), method="centroid", settings=AdaptSettings(finetune="never")
    )
    with pytest.raises(InputError, match="own network"):
        own.save(tmp_path / "own", pack=True)
    assert not (tmp_path / "own").exists()


def test_names_and_settings() -> None:
    assert (
        with_options("hf:x,pooling=cls,pretrained=false", ("pretrained",), pooling="mean", normalize=True)
        == "hf:x,pooling=mean,normalize=true"
    )
    assert json.loads(settings(b'{"_name_or_path": "/home/bob", "auto_map": {}, "a": [1]}')) == {"a": [1]}
    assert licence_in("---\nlicense: cc-by-4.0\n---\n") == "cc-by-4.0" and licence_in("no head\nlicense: mit\n") is None
    assert licence_in("---\nlanguage: en\n---\nlicense: mit\n") is None and licence_in("") is None
    assert not is_packed(None)
