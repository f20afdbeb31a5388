"""The words before a class name as learned vectors, against a change of the table of tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.context import Context, Learned
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.machine import Machine
from fewtune.models.finetuned_weights import what_moved
from fewtune.recipes import coop
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny import images, save_bert, save_clip, save_vit
from tests.tiny_text import tiny_masked

WORDS, NAMES = "big red photo of", ("cat", "dog", "bird", "mat")
TEXTS = [f"{WORDS} {name}." for name in NAMES]
TABLES = {"pair": "text.model.embeddings.word_embeddings", "bert": "model.embeddings.word_embeddings", "embedded": "text.embedding"}
TABLES["clip"] = "model.text_model.embeddings.token_embedding"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("towers")
    for name, save in {"vit": save_vit, "bert": save_bert, "clip": save_clip}.items():
        save(made / name)
    return made


def loaded(kind: str, folder: Path) -> Backbone:
    named = {"pair": f"pair:hf:{folder}/vit+hf:{folder}/bert", "embedded": "embedded"}
    return load_backbone(named.get(kind, f"hf:{folder}/{kind}"), machine=Machine(device="cpu").resolved())


def table_with(backbone: Backbone, kind: str, vectors: Tensor) -> dict[str, Tensor]:
    """The weights in which the rows of the tokens of WORDS are these vectors; none of the words is in a class name."""
    assert backbone.texts is not None
    read = [backbone.texts([word]) for word in WORDS.split()]
    ids = [t["input_ids"] if isinstance(t, dict) or hasattr(t, "keys") else t for t in read]
    places = [int(t[0, 0 if t.shape[1] == 1 else 1]) for t in ids]
    assert len(set(places)) == len(places)
    name = next(n for n in backbone.start() if n.startswith(TABLES[kind]))
    table = backbone.start()[name].clone()
    return {name: table.index_put((torch.tensor(places),), vectors)}


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_the_start_changes_nothing_and_other_vectors_are_another_table(kind: str, folder: Path) -> None:
    backbone = loaded(kind, folder)
    start = backbone.start()
    edit = Context(words=WORDS)
    vectors = edit.read(edit.declare(backbone)).vectors
    assert len(vectors) == len(WORDS.split())
    plain = backbone.embed_labels(start, TEXTS)
    torch.testing.assert_close(backbone.embed_labels(start, TEXTS, Learned(WORDS, vectors)), plain, atol=1e-6, rtol=1e-6)
    other = (vectors + torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    found = backbone.embed_labels(start, TEXTS, Learned(WORDS, other))
    leaf = other.detach().clone().requires_grad_()
    expected = backbone.embed_labels({**start, **table_with(backbone, kind, leaf)}, TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - plain).abs().max() > 1e-3
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(other.grad, leaf.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "embedded"])
def test_only_texts_that_begin_with_the_words_are_read_so(kind: str, folder: Path) -> None:
    backbone = loaded(kind, folder)
    edit = Context(words=WORDS)
    vectors = edit.read(edit.declare(backbone)).vectors
    vectors = vectors + torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    texts = ["cat", "the red cat of the mat", f"{WORDS} cat", "red big photo of cat"]
    plain, found = (backbone.embed_labels(backbone.start(), texts, learned) for learned in (None, Learned(WORDS, vectors)))
    same = [bool(torch.allclose(plain[i], found[i], atol=1e-6)) for i in range(len(texts))]
    assert same == [True, True, False, True]


def test_a_random_start_is_as_large_as_the_words_and_a_function_of_the_name(folder: Path) -> None:
    backbone = loaded("bert", folder)
    one, two = (Context(words=WORDS, start="random", name=n) for n in ("context", "other"))
    drawn = [edit.read(edit.declare(backbone)).vectors for edit in (one, two)]
    words = Context(words=WORDS)
    own = words.read(words.declare(backbone)).vectors
    assert drawn[0].shape == drawn[1].shape == (4, 16) and not torch.equal(*drawn)
    assert 0.6 < float(drawn[0].square().mean().sqrt() / own.square().mean().sqrt()) < 1.6
    torch.testing.assert_close(words.declare(backbone)["context.unit"], own.square().mean().sqrt())


@pytest.mark.parametrize("kind", ["pair", "clip"])
def test_coop_is_a_loop_by_hand_and_leaves_both_encoders(kind: str, folder: Path) -> None:
    space = RowSpace([make_examples(Pixels(images(40, height=32, width=32)), np.arange(40) % 4, class_names=NAMES)])
    method = coop((f"{WORDS} {{}}",), steps=3, batch=0, lr=0.1, temperature=20.0)
    ground = Ground(loaded(kind, folder), space, method.edits)
    episode = Sampled(ways=3, shots=2, queries=2).draw(class_rows(space), key(0), 0, 1)
    start = ground.start()
    own = tune(ground, method.learner, start, episode, key(1))  # type: ignore[arg-type]
    assert list(own) == ["context.vectors"]
    size, leaf = start["context.unit"], start["context.vectors"].clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    features = normalize(ground.backbone.embed(ground.backbone.start(), space, episode.support[0]), dim=-1)
    texts = [f"{WORDS} {space.class_names[c]}" for c in episode.classes[0].tolist()]
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.5 * (1 + np.cos(np.pi * step / 3))
        vectors = normalize(ground.backbone.embed_labels(ground.backbone.start(), texts, Learned(WORDS, size * leaf)), dim=-1)
        optimizer.zero_grad()
        cross_entropy(20 * features @ vectors.T, episode.support_label[0]).backward()
        optimizer.step()
    torch.testing.assert_close(own["context.vectors"], leaf.detach(), atol=1e-4, rtol=1e-3)
    (scores,) = score_each(ground, method.learner, start, [episode])
    moved = what_moved(ground.backbone, {**start, **own}, method.edits)
    assert moved is not None and scores.loss[0] > 0
    again = moved.onto(ground.backbone)
    assert again.digest() != ground.backbone.digest()
    learned = Learned(WORDS, size * own["context.vectors"])
    plain = ground.backbone.start()
    torch.testing.assert_close(again.embed_labels(plain, texts), ground.backbone.embed_labels(plain, texts, learned))


def test_what_cannot_be_learned_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match="has no label side"):
        Context().declare(loaded("vit", folder))
    with pytest.raises(InputError, match="as single words of its own"):
        name = f"hf:{tiny_masked(folder / 'masked')},template={{text}} it was [MASK]"
        Context().declare(load_backbone(name, machine=Machine(device="cpu").resolved()))
    with pytest.raises(InputError, match="stand before the class name"):
        Context(words=" ")
    with pytest.raises(InputError, match="starts at 'words' or 'random'"):
        Context(start="zeros")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one template, found 2"):
        coop(("a {}", "the {}"))
    with pytest.raises(InputError, match="stand before the class name"):
        coop(("{} here",))
