"""The model inside the package: its weights, its words, and what it can do with the names of classes alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.backbones.offered import offered
from fewtune.backbones.packed import load_packed, pack
from fewtune.backbones.providers.embedded_provider import FEATURES, WEIGHTS, tokens
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.data.scenes.attributes import ATTRIBUTES
from fewtune.errors import InputError
from fewtune.learning.classes import class_vectors
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone as load_named

DIGEST = "72fa11dc100f1976f3c8888e97ab9153"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("embedded", machine=Machine(device="cpu", workers=1))


def right(backbone: Backbone, name: str, rows: int = 40) -> float:
    """The share of scenes of seed 3 whose class is the nearest of five by name, the true one and four others drawn by row."""
    made = read_examples(f"scenes:{name},rows={rows},seed=3")
    with torch.no_grad():
        features = backbone.embed(backbone.start(), RowSpace([made]), np.arange(rows))
        scores = (features @ class_vectors(backbone, backbone.start(), made.class_names, made.column.templates).T).numpy()
    correct = []
    for row, label in enumerate(made.labels.tolist()):
        others = np.random.default_rng(row).permutation([c for c in range(len(made.class_names)) if c != label])[:4]
        correct.append(scores[row, label] > scores[row, others].max())
    return float(np.mean(correct))


def test_it_is_the_model_that_was_released(backbone: Backbone) -> None:
    assert backbone.digest() == DIGEST
    assert WEIGHTS.stat().st_size <= 10e6
    assert backbone.name == "embedded" and backbone.width == FEATURES and backbone.source == {"weights": "embedded in fewtune"}
    assert backbone.logit_scale == pytest.approx(float(safetensors.torch.load_file(WEIGHTS)["logit_scale"].exp()))
    grouped = [name for _, names in backbone.groups for name in names]
    assert sorted(grouped) == sorted(name for name, _ in backbone.network.named_parameters())
    assert [title.split()[0] for title, _ in backbone.groups] == ["image"] * 5 + ["text"] * 2


def test_colours_and_shapes_are_easy_by_name_and_counts_are_not(backbone: Backbone) -> None:
    assert right(backbone, "colour") >= 0.85
    assert right(backbone, "shape") >= 0.7
    assert right(backbone, "counting", rows=200) <= 0.5


def test_words_are_numbers_that_differ() -> None:
    said = {word for a in ATTRIBUTES for template in a.templates for c in a.classes for word in template.replace("{}", c).split()}
    stems = {word.removesuffix("s") if len(word) > 3 else word for word in map(str.casefold, said)}
    assert len({int(tokens([word])[0, 0]) for word in stems}) == len(stems)
    assert tokens(["Red cubes"]).tolist() == tokens(["red, CUBE!"]).tolist()
    assert tokens(["3 red"])[0, 1] == tokens(["red"])[0, 0] and tokens(["a3b"]).shape == (1, 3)
    assert tokens(["as"]).tolist() != tokens(["a"]).tolist()  # short words keep their end


def test_what_is_not_read_of_a_long_text_is_counted(backbone: Backbone) -> None:
    """A run of `pretrain` says how many captions were cut."""
    from fewtune.pretraining.objectives import _cut

    texts = ["cube " * 32, "cube " * 33, "a cube"]
    assert _cut(backbone, texts) == 1
    assert torch.equal(tokens(texts)[0], tokens(texts)[1])


def test_texts_of_any_kind_are_read(backbone: Backbone) -> None:
    odd = ["", "   ", "!?", "word " * 1000, "\ud800 lone", "naïve 北京 №1"]
    assert tokens(odd).shape == (6, 32) and tokens([]).shape == (0, 1)
    found = backbone.embed_labels(backbone.start(), odd)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found[0], found[2])  # nothing to read
    torch.testing.assert_close(
        backbone.embed_labels(backbone.start(), [odd[3]])[0], backbone.embed_labels(backbone.start(), ["word " * 32])[0]
    )
    alone = torch.cat([backbone.embed_labels(backbone.start(), [text]) for text in odd])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)  # padding does not change a text


def test_random_weights_depend_on_the_seed_and_a_file_replaces_them(backbone: Backbone, tmp_path: Path) -> None:
    first, again, other = (load_backbone(f"embedded,pretrained=false{option}") for option in ("", ",seed=0", ",seed=1"))
    assert first.digest() == again.digest() != other.digest() and first.source == {"weights": "random"}
    safetensors.torch.save_file({n: t.contiguous() for n, t in other.start().items()}, tmp_path / "w.safetensors")
    assert load_backbone("embedded", weights=tmp_path / "w.safetensors").digest() == other.digest()
    assert first.structure == backbone.structure


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("embedded,size=32", "unknown option of embedded: 'size'"),
        ("embedded,pretrained=no", "unknown pretrained 'no'"),
        ("embedded,seed=x", "expected a whole number for seed, found 'x'"),
        ("embedded:small", "expected embedded, with options after commas"),
        ("embeded", "did you mean embedded"),
    ],
)
def test_bad_names_are_one_sentence(name: str, said: str) -> None:
    with pytest.raises(InputError) as problem:
        load_named(name)
    assert said in str(problem.value)


def test_it_is_packed_and_read_back(backbone: Backbone, tmp_path: Path) -> None:
    moved = replace(backbone.with_weights({"image.projection.bias": torch.ones(FEATURES)}), origin=None)
    for number, one in enumerate((backbone, moved)):
        folder = tmp_path / str(number)
        folder.mkdir()
        pack(one, folder, moved=True)
        assert load_packed(folder).digest() == one.digest()


def test_it_is_listed_and_always_here() -> None:
    found = [one for one in offered("embedded") if one.model.name == "embedded"]
    assert [(one.installed, one.here, one.model.labels, one.model.features) for one in found] == [(True, True, True, FEATURES)]
