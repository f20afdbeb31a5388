"""ONNX: the exported file answers as the model does, by onnxruntime alone and for any number of rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fewtune
from fewtune.api.functions import Model
from fewtune.backbones.edits import LoRA
from fewtune.backbones.load import load_backbone
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models import export as module
from fewtune.models.bundle import Bundle
from fewtune.models.finetuned_weights import what_moved
from fewtune.models.fitting import fit_head
from fewtune.models.predict import probabilities
from fewtune.parts.heads import Centroid, Logistic, Matching, Ridge, Shrink, Svm, Text, TextPrior
from fewtune.parts.heads.head import Head
from fewtune.spec import text
from tests.tiny import SENTENCES, images, save_bert, save_clip, save_vit

pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")

HEADS = (
    Centroid(),
    Centroid(metric="euclidean"),
    Matching(),
    Matching(neighbours=3),
    Ridge(intercept=True),
    Logistic(),
    Logistic(C="loo"),
    Shrink(),
    Svm(),
    Text(),
    TextPrior(),
    TextPrior(penalty="loo"),
    TextPrior(form="cache"),
)
CPU = Machine(device="cpu")


def asked(path: Path, given: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The file's own answer."""
    found: np.ndarray[Any, Any] = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, dict(given))[0]
    return found


def metadata(path: Path) -> Mapping[str, str]:
    found: Mapping[str, str] = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    return found


def expected(model: Model, rows: Any) -> np.ndarray[Any, Any]:
    return np.array([[p.scores[name] for name in model.class_names] for p in model.predict(rows)])


def vectors(count: int = 12, seed: int = 0) -> tuple[np.ndarray[Any, Any], list[str]]:
    x = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    return x, ["a", "b", "c"] * (count // 3)


def with_head(head: Head) -> Bundle:
    """A model with this head, fitted on random rows (and random class vectors)."""
    x, y = vectors()
    made = fewtune.adapt((x, y), method="centroid").bundle
    labels = np.array(["abc".index(label) for label in y])
    method = Method(learner=head)
    state, parameters = fit_head(method, torch.from_numpy(x), np.arange(12), labels, 3, torch.from_numpy(vectors(3, seed=1)[0]))
    return replace(made, method=text(method), state=state, parameters=parameters, temperature=0.7)


@pytest.mark.parametrize("head", [pytest.param(h, marks=() if h == Matching() else pytest.mark.slow, id=text(h)) for h in HEADS])
def test_every_head_answers_the_same(head: Head, tmp_path: Path) -> None:
    model = Model(with_head(head), machine=CPU)
    made = model.export(tmp_path / "model.onnx")
    assert made.difference <= 1e-4 and made.size == (tmp_path / "model.onnx").stat().st_size and made.rows == 12
    for count in (1, 2, 5):
        new = vectors(30, seed=count)[0][:count]
        np.testing.assert_allclose(asked(tmp_path / "model.onnx", {"features": new}), expected(model, new), atol=1e-5)


@pytest.mark.slow
def test_an_image_model_with_what_moved_in_it(tmp_path: Path) -> None:
    """Pixels as they are after resizing: the constants of the preprocessing are in the graph."""
    backbone, edit = load_backbone("conv4,width=8", machine=CPU), LoRA(rank=2)
    g = torch.Generator().manual_seed(0)
    factors = {n: t + 0.2 * torch.randn(t.shape, generator=g) for n, t in edit.declare(backbone).items()}
    moved = what_moved(backbone, factors, (edit,))
    assert moved is not None
    made = fewtune.adapt(
        (images(9), ["a", "b", "c"] * 3), backbone=fewtune.load_backbone("conv4,width=8", machine=CPU), method="ridge", cache=tmp_path
    )
    sharp = replace(made.bundle, temperature=0.2)
    model, plain = Model(replace(sharp, moved=moved), machine=CPU), Model(sharp, machine=CPU)
    model.export(tmp_path / "model.onnx", inputs=images(4, seed=1))
    new = images(5, seed=2)
    assert np.abs(expected(model, new) - expected(plain, new)).max() > 1e-3  # it matters what moved
    np.testing.assert_allclose(asked(tmp_path / "model.onnx", {"pixels_0_255": new}), expected(model, new), atol=1e-5)
    for picture in (images(1, seed=3, height=301, width=97), images(1, seed=4, height=20, width=333)):  # any size
        np.testing.assert_allclose(asked(tmp_path / "model.onnx", {"pixels_0_255": picture}), expected(model, picture), atol=1e-5)
    said = metadata(tmp_path / "model.onnx")
    assert json.loads(said["class_names"]) == ["a", "b", "c"] and "28 x 28" in said["how_to_prepare"]
    assert json.loads(said["inputs"]) == [{"name": "pixels_0_255", "kind": "uint8", "shape": ["batch", "height", "width", 3]}]
    for scaled in (new / np.float32(255), (new > 127).astype(np.float32), new.transpose(0, 3, 1, 2)):
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):  # 0 to 1, or channels first
            asked(tmp_path / "model.onnx", {"pixels_0_255": scaled})
    mixed = np.concatenate([(new[:1] > 127).astype(np.uint8), new[1:]])
    found = asked(tmp_path / "model.onnx", {"pixels_0_255": mixed})  # whole numbers from 0 to 1: no answer instead of a wrong one
    assert np.isnan(found[0]).all() and np.isfinite(found[1:]).all()
    made_of = {p.name for p in tmp_path.iterdir() if p.name.startswith("model")}
    assert made_of == {"model.onnx", "model.md", "model_predict.py", "model_predict.mjs"}


def program(path: Path, *given: object) -> list[list[str]]:
    """The lines that the Python program beside a model prints, in a process that sees no code of ours."""
    block = (
        "import sys, runpy; sys.modules.update(dict.fromkeys(['fewtune', 'torch', 'transformers']))\n"
        "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", block, str(path), *map(str, given)], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in ran.stdout.splitlines()]


def script_is_right(path: Path) -> None:
    """The JavaScript beside a model is JavaScript (where Node.js is installed)."""
    node = shutil.which("node")
    if node is not None:
        subprocess.run([node, "--check", str(path)], check=True, capture_output=True)


def test_the_program_beside_a_model_answers_as_fewtune_does(tmp_path: Path) -> None:
    """By onnxruntime and Pillow alone: turned, transparent, grey and black photos too."""
    from PIL import Image

    bundle = fewtune.adapt((images(8), ["a|b", "</script>"] * 4), backbone="pixels,size=12", method="ridge", cache=tmp_path / "c").bundle
    model = Model(replace(bundle, threshold=0.6), machine=CPU)
    model.export(tmp_path / "my pets.onnx")
    photos = [Image.fromarray(x) for x in images(4, seed=1, height=50, width=90)]
    photos[0].save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photos[1].save(tmp_path / "turned.png", exif=exif)
    photos[2].putalpha(Image.linear_gradient("L").resize((90, 50)))
    photos[2].save(tmp_path / "clear.png")
    photos[3].convert("L").save(tmp_path / "grey.jpg", quality=95)
    files = [tmp_path / name for name in ("plain.png", "turned.png", "clear.png", "grey.jpg")]
    said = program(tmp_path / "my pets_predict.py", *files)
    own = model.predict(files, threshold=0.0)
    assert [(line[0], line[1], float(line[2])) for line in said] == [
        (str(f), p.label, pytest.approx(p.probability, abs=6e-5)) for f, p in zip(files, own, strict=True)
    ]
    Image.new("RGB", (9, 9)).save(tmp_path / "black.png")
    assert program(tmp_path / "my pets_predict.py", tmp_path / "black.png")[0][1:] == ["(black)", "nan"]
    note = (tmp_path / "my pets.md").read_text()
    assert "`pixels_0_255`: uint8, [N, height, width, 3]" in note and "| 1 | a\\|b |" in note and "Below 0.6 the model abstains" in note
    script_is_right(tmp_path / "my pets_predict.mjs")


def test_the_program_of_embeddings(tmp_path: Path) -> None:
    model = Model(with_head(Ridge()), machine=CPU)
    model.export(tmp_path / "model.onnx")
    np.save(tmp_path / "new.npy", vectors(3, seed=4)[0])
    assert [line[1] for line in program(tmp_path / "model_predict.py", tmp_path / "new.npy")] == [
        p.label for p in model.predict(vectors(3, seed=4)[0])
    ]
    script_is_right(tmp_path / "model_predict.mjs")


@pytest.mark.slow
def test_a_text_model_and_its_tokenizer(tmp_path: Path) -> None:
    save_bert(tmp_path / "bert")
    texts, y = [*SENTENCES, "red dog runs"], ["a", "b"] * 3
    bundle = fewtune.adapt(
        (texts, y), backbone=fewtune.load_backbone(f"hf:{tmp_path / 'bert'}", machine=CPU), method="ridge", cache=tmp_path / "cache"
    ).bundle
    model = Model(replace(bundle, temperature=0.2), machine=CPU)
    made = model.export(tmp_path / "run" / "model.onnx", inputs=texts)
    assert str(tmp_path / "run" / "tokenizer") in made.sentences[1] and made.rows == 6
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "tokenizer")
    for batch in (["the cat"], ["bird", "a big red dog sleeps under the mat near the bird", "a photo of a small cat"]):
        tokens = tokenizer(batch, padding=True, return_tensors="np")
        given = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        np.testing.assert_allclose(asked(tmp_path / "run" / "model.onnx", given), expected(model, batch), atol=1e-5)
    longer = ["the cat", "a big red dog sleeps under the mat near the bird " * 9]  # cut as fewtune cuts it
    said = program(tmp_path / "run" / "model_predict.py", *longer)
    with pytest.warns(UserWarning, match="is cut there"):
        own = model.predict(longer)
    assert [(line[1], float(line[2])) for line in said] == [(p.label, pytest.approx(p.probability, abs=6e-5)) for p in own]
    script_is_right(tmp_path / "run" / "model_predict.mjs")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["vit", "clip", "timm:test_vit.r160_in1k,pretrained=false", "resnet12,size=32", "embedded", "pixels,size=8,grey=true"]
)
def test_image_backbones(kind: str, tmp_path: Path) -> None:
    if kind in ("vit", "clip"):
        {"vit": save_vit, "clip": save_clip}[kind](tmp_path / kind)
    name = f"hf:{tmp_path / kind}" if (tmp_path / kind).is_dir() else kind
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    method = "text_prior" if kind in ("clip", "embedded") else "ridge"
    bundle = fewtune.adapt(
        (images(8), ["a", "b"] * 4), backbone=fewtune.load_backbone(name, machine=CPU), method=method, cache=tmp_path / "cache"
    ).bundle
    assert Model(replace(bundle, temperature=0.2), machine=CPU).export(tmp_path / "model.onnx", inputs=images(5, seed=1)).difference <= 1e-5


def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = with_head(Centroid())
    monkeypatch.setattr(module, "as_onnx", lambda *_: b"a graph")
    (tmp_path / "model.onnx").write_bytes(b"the one before")
    for wrong, said in ((2e-3, "by up to 0.002"), (float("nan"), "by up to inf"), (0.0, "")):

        def answers(_: bytes, batches: Any, wrong: float = wrong) -> list[np.ndarray[Any, Any]]:
            return [(probabilities(bundle, torch.from_numpy(b["features"])) + wrong).numpy() for b in batches]

        monkeypatch.setattr(module, "run_onnx", answers)
        if not said:
            Model(bundle, machine=CPU).export(tmp_path / "model.onnx")
            assert (tmp_path / "model.onnx").read_bytes() == b"a graph"
            continue
        with pytest.raises(InputError, match=rf"{said} .* nothing was written"):
            Model(bundle, machine=CPU).export(tmp_path / "model.onnx")
        assert (tmp_path / "model.onnx").read_bytes() == b"the one before" and len(list(tmp_path.iterdir())) == 1


def test_missing_packages_are_named_with_the_line_that_installs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'fewtune\[onnx\]'"):
        Model(with_head(Centroid())).export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_what_has_no_onnx_form_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(InputError, match=r"cannot be written as ONNX: no such operator\.$"):
        Model(with_head(Centroid())).export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="labels vectors, but data holds images"):
        Model(with_head(Centroid())).export(tmp_path / "model.onnx", inputs=images(2))


@pytest.mark.slow
def test_names_that_are_not_utf8_are_written_as_json(tmp_path: Path) -> None:
    bundle = replace(with_head(Centroid()), class_names=("kr\udce9is", "日本", "c"))
    Model(bundle, machine=CPU).export(tmp_path / "model.onnx")
    assert json.loads(metadata(tmp_path / "model.onnx")["class_names"]) == ["kr\udce9is", "日本", "c"]
