"""A backbone at other weights: the same model in everything else, and the original untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import LoRA, edited
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.backbones.moved import moved_network
from fewtune.backbones.weights import digest_weights
from fewtune.errors import InputError
from fewtune.machine import Machine
from tests.tiny import image_space, save_bert, save_clip, save_vit, text_space, vector_space

SPACES = {"text": text_space, "image": image_space, "vector": vector_space}
KINDS = ["conv4,width=8", "mlp,inputs=3", "timm:test_vit.r160_in1k,pretrained=false", "bert", "vit", "clip"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    for kind, save in (("bert", save_bert), ("vit", save_vit), ("clip", save_clip)):
        save(made / kind)
    return made


def loaded(kind: str, folder: Path) -> Backbone:
    if "timm:" in kind:
        pytest.importorskip("timm")
    return load_backbone(f"hf:{folder / kind}" if (folder / kind).is_dir() else kind, machine=Machine(device="cpu"))


def changed(backbone: Backbone, every: int = 2) -> dict[str, Tensor]:
    """Every second weight, as after some training."""
    g = torch.Generator().manual_seed(0)
    start = {n: t for n, t in backbone.start().items() if t.is_floating_point()}
    return {n: t + 0.05 * torch.randn(t.shape, generator=g) for i, (n, t) in enumerate(start.items()) if i % every == 0}


@pytest.mark.parametrize("kind", KINDS)
def test_it_embeds_as_the_original_does_at_those_weights(kind: str, folder: Path, tmp_path: Path) -> None:
    backbone = loaded(kind, folder)
    before, digest = {n: t.clone() for n, t in backbone.start().items()}, backbone.digest()
    space, rows, weights = SPACES[backbone.preparation.modality](), np.arange(3), changed(backbone)
    moved = backbone.with_weights(weights)
    expected = backbone.embed({**backbone.start(), **weights}, space, rows)
    assert torch.equal(moved.embed(moved.start(), space, rows), expected)
    assert not torch.allclose(backbone.embed(backbone.start(), space, rows), expected, atol=1e-5)
    for one, features in ((moved, expected), (backbone, backbone.embed(before, space, rows))):  # each has a table of its own
        table = feature_table(one, space, folder=tmp_path, quiet=True).features[:3]
        torch.testing.assert_close(table, features, rtol=1e-5, atol=1e-6)
    assert moved.digest() != digest == backbone.digest() and digest_weights(backbone.start()) == digest_weights(before)
    assert list(moved.start()) == list(before) and moved.groups == backbone.groups
    assert not any(p.requires_grad for p in moved.network.parameters()) and not moved.network.training


@pytest.mark.parametrize("kind", ["conv4,width=8", "bert"])
def test_the_digest_follows_the_weights(kind: str, folder: Path) -> None:
    backbone = loaded(kind, folder)
    start, weights = backbone.start(), changed(backbone)
    moved = backbone.with_weights(weights)
    assert backbone.with_weights({}).digest() == backbone.with_weights(start).digest() == backbone.digest()
    assert moved.with_weights(start).digest() == backbone.digest()  # back again
    first, rest = dict(list(weights.items())[:1]), dict(list(weights.items())[1:])
    assert backbone.with_weights(first).with_weights(rest).digest() == moved.digest()


def test_edits_are_folded_in_before(folder: Path) -> None:
    backbone, edit = loaded("vit", folder), LoRA(rank=2)
    g = torch.Generator().manual_seed(1)
    factors = {n: t + 0.1 * torch.randn(t.shape, generator=g) for n, t in edit.declare(backbone).items()}
    whole = {**backbone.start(), **factors}
    space, rows = image_space(), np.arange(3)
    moved = backbone.with_weights(edited((edit,), whole))
    assert torch.equal(moved.embed(moved.start(), space, rows), backbone.embed(edit.apply(whole), space, rows))
    with pytest.raises(InputError, match=r"no weights called lora\..* expected names from its"):
        backbone.with_weights(whole)


def test_a_tied_weight_moves_wherever_it_is_used() -> None:
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)).eval()
    network[1].weight = network[0].weight
    made = moved_network(network, "tied", {"0.weight": network[0].weight.detach()}, {"0.weight": torch.eye(3)})
    assert made[1].weight is made[0].weight and torch.equal(made[0].weight, torch.eye(3))
    assert network[1].weight is network[0].weight and not torch.equal(network[0].weight, torch.eye(3))
    assert made[2].running_mean is network[2].running_mean  # what does not move is shared: no second copy of a large model


def test_other_names_and_shapes_are_refused(folder: Path) -> None:
    backbone = loaded("conv4,width=8", folder)
    with pytest.raises(InputError, match=r"no weights called a, b, c and 1 more"):
        backbone.with_weights(dict.fromkeys("abcd", torch.zeros(1)))
    name = next(iter(backbone.start()))
    with pytest.raises(InputError, match=r"has the shape \[8, 3, 3, 3\], found \[2\]"):
        backbone.with_weights({name: torch.zeros(2)})
