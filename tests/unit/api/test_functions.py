"""The main job from Python: adapt, save, load, predict, on folders, arrays, Examples and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fewtune
from fewtune.api import functions as api
from fewtune.errors import InputError
from fewtune.models.predict import Prediction
from tests.journeys.conftest import SHAPES, draw

PIXELS = "pixels,size=12"


@pytest.fixture(autouse=True)
def tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path_factory.mktemp("tables")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k, shape in enumerate(SHAPES):
        (tmp_path / "photos" / shape).mkdir(parents=True)
        for i in range(6):
            draw(shape, 100 * k + i).save(tmp_path / "photos" / shape / f"{i}.png")
    return tmp_path / "photos"


def vectors(seed: int = 0, each: int = 8) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), each)
    return (np.eye(3, 6)[y] + 0.2 * random.normal(size=(len(y), 6))).astype(np.float32), y


def test_a_folder_from_beginning_to_end(photos: Path, tmp_path: Path) -> None:
    adapted = fewtune.adapt(photos, backbone=PIXELS)
    assert isinstance(adapted, fewtune.Adapted) and adapted.class_names == SHAPES
    assert adapted.choice.expected is not None and adapted.sentences[0] == adapted.verdict.sentence
    files = [photos / "square" / "3.png", photos / "circle" / "0.png"]
    before = adapted.predict(files)
    assert [p.input for p in before] == [str(f) for f in files] and [p.label for p in before] == ["square", "circle"]
    assert all(isinstance(p, Prediction) and abs(sum(p.scores.values()) - 1) < 1e-9 for p in before)
    adapted.save(tmp_path / "run")
    with pytest.raises(ValueError, match="exists already"):
        adapted.save(tmp_path / "run")
    adapted.save(tmp_path / "run", overwrite=True)
    model = fewtune.load(str(tmp_path / "run"))
    assert isinstance(model, fewtune.Model) and model.class_names == SHAPES
    assert model.predict([str(f) for f in files]) == before == model.predict(files)
    alone = model.predict(files[0])
    assert alone == model.predict(str(files[0])) and alone[0].scores == pytest.approx(before[0].scores, abs=1e-6)
    assert len(model.predict(photos)) == 18 == len(model.predict([photos]))


def test_every_spelling_of_the_same_inputs_has_the_same_answer(photos: Path) -> None:
    adapted = fewtune.adapt(photos, backbone=PIXELS, method="ridge(penalty=1)")
    assert [c.name for c in adapted.choice.candidates] == ["ridge(penalty=1)"]
    paths = sorted(photos.rglob("*.png"))
    from PIL import Image

    arrays = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])
    expected = [p.scores for p in adapted.predict(paths)]
    examples = fewtune.read_examples(photos)
    for inputs in (arrays, list(arrays), examples, pd.DataFrame({"path": [str(p) for p in paths]})):
        assert [p.scores for p in adapted.predict(inputs)] == expected, type(inputs)
    assert [p.input for p in adapted.predict(examples)] == list(examples.row_names)


def test_arrays_pairs_mappings_and_frames() -> None:
    x, y = vectors()
    names = np.array(["ant", "bee", "cat"])[y]
    new = vectors(1)[0]
    expected = [p.scores for p in fewtune.adapt((x, names)).predict(new)]
    assert list(expected[0]) == ["ant", "bee", "cat"]
    for target in ({"x": x, "y": names}, [x, list(names)], fewtune.read_examples((x, names))):
        assert [p.scores for p in fewtune.adapt(target).predict(new)] == expected
    frame = pd.DataFrame({"embedding": list(x), "label": names})
    assert [p.scores for p in fewtune.adapt(frame).predict(new)] == expected
    integers = fewtune.adapt((x, y))
    assert integers.class_names == ("0", "1", "2") and [p.label for p in integers.predict(x)] == [str(v) for v in y]
    images = (np.random.default_rng(0).random((12, 5, 5)) * 255).astype(np.uint8)
    images[::2] //= 4
    made = fewtune.adapt((images, np.arange(12) % 2), backbone="pixels,size=5,grey=true")
    assert [p.label for p in made.predict(images)] == ["0", "1"] * 6


def test_what_is_asked_for_is_done(tmp_path: Path) -> None:
    x, y = vectors()
    adapted = fewtune.adapt((x, y), method="centroid", settings=fewtune.AdaptSettings(seed=3, threshold=1.0, folds=2))
    assert adapted.choice.splits.folds == 2 and adapted.bundle.facts["seed"] == 3 and adapted.measured is None
    assert all(p.label is None for p in adapted.predict(x)) and all(p.label for p in adapted.predict(x, threshold=0.0))
    adapted.save(tmp_path / "run")
    model = fewtune.load(tmp_path / "run", machine=fewtune.Machine(device="cpu", chunk=3))
    assert model.backbone.machine.chunk == 3 and all(p.label is None for p in model.predict(x))


def test_the_backbone_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    original = api.load_its_backbone
    monkeypatch.setattr(api, "load_its_backbone", lambda *a, **k: loaded.append(a) or original(*a, **k))
    x, y = vectors()
    fewtune.adapt((x, y)).save(tmp_path / "run")
    model = fewtune.load(tmp_path / "run")
    assert not loaded
    for _ in range(3):
        model.predict(x)
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"settings": {"folds": 1}}, "at least 2 folds, found 1"),
        ({"settings": {"threshold": 1.5}}, "between 0 and 1, found 1.5"),
        ({"settings": {"threshold": float("nan")}}, "between 0 and 1"),
        ({"method": "ridgge"}, "did you mean ridge"),
        ({"method": "zero_shot"}, "class names"),
        ({"backbone": "pixels"}, "takes images"),
        ({"backbone": torch.nn.Linear(6, 2)}, r"Linear alone .* write backbone=fewtune.Backbone.of\(module, size=...\)"),
        ({"backbone": 3}, "a backbone's name or a fewtune.Backbone, found a int"),
        ({"sources": "more/"}, r"write sources=\[...\]"),
    ],
)
def test_a_wrong_flag_is_refused_in_one_sentence(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        settings = fewtune.AdaptSettings(**flags.pop("settings", {}))
        fewtune.adapt(vectors(), settings=settings, **flags)
    assert "\n" not in str(refused.value)


def test_wrong_inputs_are_refused(photos: Path, tmp_path: Path) -> None:
    adapted = fewtune.adapt(photos, backbone=PIXELS, method="centroid")
    for inputs, message in (
        (vectors()[0], "labels images, but data holds vectors"),
        ([], "expected something to label"),
        ("gone.png", "gone.png does not exist"),
        (["a sentence"], "does not exist"),
        (7, "expected an array"),
        (None, "expected an array"),
    ):
        with pytest.raises(InputError, match=message):
            adapted.predict(inputs)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png"):
        adapted.predict([tmp_path / "bad.png"])
    unreadable, fine = adapted.predict([tmp_path / "bad.png", photos / "circle" / "0.png"], skip_bad=True)
    assert unreadable.label is None and unreadable.scores == {} and fine.label == "circle"
    with pytest.raises(ValueError, match="no saved model"):
        fewtune.load(photos)


def test_few_vectors_of_no_examples_are_no_answers() -> None:
    assert fewtune.adapt(vectors()).predict(np.zeros((0, 6), dtype=np.float32)) == []


@pytest.mark.kit
def test_texts_through_a_real_encoder(kit: Path, tmp_path: Path) -> None:
    texts = ["the cat sat", "a dog barked", "kittens purr", "puppies run", "cats sleep", "hounds hunt", "feline", "canine loyalty"]
    weights = kit / "weights" / "all-minilm-l6-v2"
    adapted = fewtune.adapt((texts, ["cat", "dog"] * 4), backbone=f"hf:{weights}")
    adapted.save(tmp_path / "run")
    (tmp_path / "new.txt").write_text("my cat meows")
    (tmp_path / "new.jsonl").write_text('{"text": "my cat meows"}\n{"text": "my dog wags its tail"}\n')
    model = fewtune.load(tmp_path / "run")
    assert [p.label for p in model.predict(["my cat meows", "my dog wags its tail"])] == ["cat", "dog"]
    assert [p.label for p in model.predict("my dog wags its tail")] == ["dog"]
    assert model.predict("my cat meows")[0].input == "my cat meows"
    assert [p.label for p in model.predict([tmp_path / "new.txt", tmp_path / "new.jsonl"])] == ["cat", "cat", "dog"]
    with pytest.raises(InputError, match="texts and paths are mixed"):
        model.predict(["my cat", tmp_path / "new.txt"])


def test_explain_names_the_nearest_labelled_examples(photos: Path, tmp_path: Path) -> None:
    model = fewtune.load(fewtune.adapt(photos, backbone=PIXELS, method="ridge").save(tmp_path / "run"))
    known = photos / "square" / "3.png"
    (near,) = model.explain([known], count=4)
    assert len(near) == 4 and near[0].name.endswith("3.png") and near[0].label == "square"
    assert near[0].similarity == pytest.approx(1, abs=1e-6) and [n.similarity for n in near] == sorted(
        (n.similarity for n in near), reverse=True
    )
    with pytest.raises(InputError, match="count of 1 or more"):
        model.explain([known], count=0)


def test_unknown_names_of_the_package() -> None:
    assert set(fewtune.__all__) <= set(dir(fewtune)) | set(fewtune._WHERE)
    for name in fewtune.__all__:
        assert getattr(fewtune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'adept'"):
        _ = fewtune.adept
