"""A model from the names of its classes: the nearest name answers, and it is said that nothing is known of its accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fewtune
from fewtune.adaptation.from_names import TEXTS
from fewtune.backbones.load import load_backbone
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from tests.tiny import SENTENCES, images, save_bert, save_clip

NAMES = ("red cat", "dog", "small blue bird")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    save_bert(folder)
    return f"hf:{folder}"


def test_each_text_gets_the_class_whose_name_is_nearest(bert: str, tmp_path: Path) -> None:
    model = fewtune.from_names(NAMES, backbone=bert)
    backbone = load_backbone(bert, machine=Machine(device="cpu"))
    unit = torch.nn.functional.normalize
    with torch.no_grad():
        names = unit(backbone.embed_labels(backbone.start(), list(NAMES)), dim=-1)
        texts = unit(backbone.embed_labels(backbone.start(), list(SENTENCES)), dim=-1)
    wanted = (100 / TEXTS * texts.double() @ names.double().T).softmax(-1).numpy()
    for made in (model, fewtune.load(model.save(tmp_path / "run"))):
        np.testing.assert_allclose(made.predict_proba(list(SENTENCES)), wanted, atol=1e-4)
        assert [one.label for one in made.predict(list(SENTENCES))] == [NAMES[k] for k in wanted.argmax(1)]
    assert [one.label for one in model.predict(list(NAMES))] == list(NAMES)


def test_nothing_is_claimed_of_it(bert: str, tmp_path: Path) -> None:
    model = fewtune.from_names(NAMES, backbone=bert, threshold=0.99)
    bundle = load_bundle(model.save(tmp_path / "run"))
    facts = bundle.facts
    assert facts["rows"] == 0 and facts["expected_accuracy"] is None and facts["verdict"]["light"] == "unknown"
    assert "the model has seen the names of the classes and no labelled example" in bundle.card and "not calibrated" in bundle.card
    assert "guessing would get 1 of 3" in bundle.card and bundle.threshold == 0.99 and bundle.support is None
    measured = model.evaluate((list(NAMES), list(NAMES)), threshold=0.0)
    assert measured.accuracy.mean == 1 and measured.accuracy.n == 3
    with pytest.raises(InputError, match="knows the names of its classes and no example"):
        model.add_class("mat", ["the cat sat on the mat"])


def test_photos_and_own_sentences(tmp_path: Path) -> None:
    save_clip(tmp_path)
    plain, own = (fewtune.from_names(["cat", "dog"], backbone=f"hf:{tmp_path}", prompts=p) for p in ((), ("a {} sleeps",)))
    assert "sleeps" in own.bundle.method and "sleeps" not in plain.bundle.method
    assert plain.predict_proba(list(images(3))).shape == (3, 2) and plain.bundle.temperature == 1.0
    assert not torch.equal(plain.bundle.state["weight"], own.bundle.state["weight"])


def test_a_backbone_that_reads_no_names_is_refused() -> None:
    with pytest.raises(InputError, match="cannot read class names, so it cannot tell classes apart without labelled examples") as found:
        fewtune.from_names(["cat", "dog"], backbone="pixels,size=8")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("cat dog", "as a list of texts"),
        (["cat"], "two or more classes, found 1"),
        (["cat", "dog", "cat "], "'cat' is named twice"),
        (["cat", " "], "a class name is empty"),
        (["cat", 3], "as a list of texts"),
    ],
)
def test_names_must_be_two_different_texts(names: list[str], said: str, bert: str) -> None:
    with pytest.raises(InputError, match=said):
        fewtune.from_names(names, backbone=bert)


def test_the_threshold_is_a_probability(bert: str) -> None:
    with pytest.raises(InputError, match=r"between 0 and 1, found 1\.5"):
        fewtune.from_names(["cat", "dog"], backbone=bert, threshold=1.5)


def test_names_that_are_read_as_the_same_are_refused() -> None:
    """Words that the model does not know leave the rest of the sentence alone."""
    with pytest.raises(InputError, match=r"embedded reads the class names '###' and '\$\$\$' as the same, so it cannot tell them apart"):
        fewtune.from_names(("cube", "###", "$$$"), backbone="embedded")
    assert fewtune.from_names(("cube", "###"), backbone="embedded").bundle.class_names == ("cube", "###")
