"""Texts longer than the encoder takes: counted, and said once by every surface, without tokenising everything twice."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewtune
from fewtune.backbones.features.readable import readable_features, remarks_on_length
from fewtune.backbones.load import load_backbone
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_examples
from fewtune.models.predict import predict_examples, wanted_by
from tests.tiny_text import tiny

LONG = "cat red " * 20
TEXTS = [LONG + "dog", "cat blue", LONG + "blue", "dog red", "dog blue", "cat red"]
LABELS = ["dog", "cat", "cat", "dog", "dog", "cat"]
SAID = "2 of 6 texts are longer than the encoder's 12 tokens and are cut there."


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{tiny(tmp_path_factory.mktemp('bert'), 0)},max_length=12"


def preparation(name: str) -> TextPreparation:
    made = load_backbone(name).preparation
    assert isinstance(made, TextPreparation)
    return made


def test_the_count_is_exact_at_the_limit(name: str) -> None:
    texts = [" ".join(["cat"] * n) for n in (1, 9, 10, 11, 40)]  # two marks more each: 12 tokens fit
    for seen in (False, True):
        made = preparation(name)
        if seen:
            made.batch(texts)
        assert made.cut(texts) == [False, False, False, True, True]
        assert made.cut([]) == [] and made.cut(["x\ud800" * 30]) == [True]


def test_what_was_embedded_is_not_tokenised_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(name)
    examples = read_examples((TEXTS, LABELS))
    readable_features(examples, backbone, memory=True, quiet=True)
    monkeypatch.setattr(type(backbone.preparation.tokenizer), "__call__", lambda *_, **__: pytest.fail("tokenised again"))  # type: ignore[attr-defined]
    assert remarks_on_length(examples, backbone) == (SAID,)


def test_every_surface_says_it_once(name: str, tmp_path: Path) -> None:
    adapted = fewtune.adapt((TEXTS, LABELS), backbone=name, method="centroid", cache=tmp_path / "c")
    assert adapted.sentences.count(SAID) == 1 and SAID in adapted.bundle.card
    again = fewtune.adapt((TEXTS, LABELS), backbone=name, method="centroid", cache=tmp_path / "c")  # its features are read from disk
    assert again.sentences.count(SAID) == 1
    adapted.save(tmp_path / "run")
    model = fewtune.load(tmp_path / "run")
    assert model.evaluate((TEXTS, LABELS), include_learned=True).sentences.count(SAID) == 1
    with pytest.warns(UserWarning, match="1 of 2 texts is longer than the encoder's 12 tokens and is cut there"):
        model.predict(["cat", LONG])
    said: list[str] = []
    predict_examples(model.bundle, read_inputs([], ["cat", LONG], wanted_by(model.bundle)), tell=said.append)
    assert said == ["1 of 2 texts is longer than the encoder's 12 tokens and is cut there."]
    assert not any("tokens" in s for s in fewtune.adapt((["cat", "dog"] * 2, ["a", "b"] * 2), backbone=name, method="centroid").sentences)
