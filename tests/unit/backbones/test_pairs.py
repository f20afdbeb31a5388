"""Two texts in each row, and long texts in parts, against plain passes of the same encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.backbones.packed import load_packed, pack
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import make_examples
from fewtune.data.fields import joined
from fewtune.data.items import Texts
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from tests.tiny_text import tiny

PAIRS = [("cat dog", "red"), ("red blue cat dog blue", "dog"), ("blue", "cat cat cat")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("bert"), 0)


def embedded(backbone: Backbone, texts: list[str]) -> torch.Tensor:
    return backbone.embed(backbone.start(), RowSpace([make_examples(Texts(texts))]), np.arange(len(texts)))


def test_fields_apart_are_two_texts_and_how_they_differ(folder: Path) -> None:
    backbone, alone = load_backbone(f"hf:{folder},fields=a/b"), load_backbone(f"hf:{folder}")
    u, v = (embedded(alone, [pair[side] for pair in PAIRS]) for side in (0, 1))
    expected = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
    torch.testing.assert_close(embedded(backbone, [joined(pair) for pair in PAIRS]), expected, atol=1e-5, rtol=0)
    assert backbone.width == 4 * alone.width and not backbone.label_side


def test_fields_together_are_one_sequence(folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    backbone = load_backbone(f"hf:{folder},fields=a/b,pair=together,normalize=false,pooling=cls")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [model(**tokenizer(*pair, return_tensors="pt")).last_hidden_state[0, 0] for pair in PAIRS]
    torch.testing.assert_close(embedded(backbone, [joined(pair) for pair in PAIRS]), torch.stack(rows), atol=1e-5, rtol=0)


def test_gradients_cross_both_fields(folder: Path) -> None:
    backbone = load_backbone(f"hf:{folder},fields=a/b")
    weights = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in backbone.start().items()}
    space = RowSpace([make_examples(Texts([joined(pair) for pair in PAIRS]))])
    backbone.embed(weights, space, np.arange(3)).square().sum().backward()
    table = weights["model.embeddings.word_embeddings.weight"].grad
    assert table is not None and bool((table[5:].abs().sum(1) > 0).all())  # cat, dog, red and blue were all read


def test_long_texts_are_the_mean_of_their_windows(folder: Path) -> None:
    backbone, cut = (load_backbone(f"hf:{folder},max_length=6{more}") for more in (",long=mean", ""))
    raw = load_backbone(f"hf:{folder},max_length=6,normalize=false")
    words = ["cat", "dog", "red", "blue", "cat", "cat", "dog", "red", "red", "blue", "blue"]
    windows = [" ".join(words[i : i + 4]) for i in range(0, len(words), 4)]  # beside two marks, four tokens fit
    unit = torch.nn.functional.normalize(embedded(raw, windows), dim=1)
    expected = torch.nn.functional.normalize(unit.mean(0, keepdim=True), dim=1)
    found = embedded(backbone, [" ".join(words), "cat"])
    torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1:], embedded(cut, ["cat"]), atol=1e-5, rtol=0)
    assert isinstance(backbone.preparation, TextPreparation) and isinstance(cut.preparation, TextPreparation)
    assert backbone.preparation.cut([" ".join(words), "cat"]) == [False, False]
    assert cut.preparation.cut([" ".join(words), "cat"]) == [True, False]
    assert backbone.preparation.cut(["cat " * (64 * 4), "cat " * (64 * 4 + 1)]) == [False, True]  # 64 windows at most
    assert embedded(backbone, ["cat " * 1000]).shape == (1, 8)


def test_what_is_read_otherwise_has_another_digest_and_packs(folder: Path, tmp_path: Path) -> None:
    names = [f"hf:{folder}{more}" for more in ("", ",fields=a/b", ",fields=a/b,pair=together", ",long=mean")]
    assert len({load_backbone(name).digest() for name in names}) == len(names)
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        pack(load_backbone(name), tmp_path / str(number))
        assert load_packed(tmp_path / str(number)).digest() == load_backbone(name).digest()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (",fields=a", "the names of two fields"),
        (",fields=a/b/c", "found 3"),
        (",pair=together", "for texts of two fields"),
        (",fields=a/b,long=mean", "for texts of one field"),
        (",fields=a/b,pair=both", "unknown pair"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder: Path, more: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_backbone(f"hf:{folder}{more}")
