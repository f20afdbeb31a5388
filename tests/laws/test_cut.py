"""Laws of the cut table: features and gradients through a cut are those of the whole network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.cutting.cut import Cut, find_cut
from fewtune.backbones.cutting.cut_store import CutStore
from fewtune.backbones.edits import LoRA
from fewtune.backbones.load import load_backbone
from fewtune.backbones.preparation import VectorPreparation
from fewtune.data.row_space import RowSpace
from fewtune.machine import Machine
from tests.tiny import WORDS, image_space, save_bert, save_clip, save_vit, text_space, vector_space

KINDS = ("bert", "vit", "clip", "pair", "mobilenet", "resnet10t", "timm_vit", "swin", "conv4", "resnet12", "embedded", "mlp")
NAMES = {
    "mobilenet": "timm:mobilenetv2_050,pretrained=false,size=32",
    "resnet10t": "timm:resnet10t,pretrained=false,size=32",
    "timm_vit": "timm:vit_tiny_patch16_224,pretrained=false,size=32,depth=3",
    "swin": "timm:swin_tiny_patch4_window7_224,pretrained=false,size=56,embed_dim=24",
    "conv4": "conv4,size=16,width=8",
    "resnet12": "resnet12,size=16",
    "embedded": "embedded,pretrained=false",
    "mlp": "mlp,inputs=3,depth=3",
}
CUTS = {  # the last group moves: what is stored, by hand
    "bert": "model.encoder.layer.0",
    "vit": "model.layers.1",
    "clip": "model.vision_model.post_layernorm",
    "pair": "image",
    "mobilenet": "blocks",
    "resnet10t": "layer3",
    "timm_vit": "blocks",
    "swin": "layers",
    "conv4": "blocks.2",
    "resnet12": "blocks.2",
    "embedded": "image.blocks.2",
    "mlp": "layers.1",
}
SPACES: dict[str, Callable[[], RowSpace]] = {"text": text_space, "image": lambda: image_space(5), "vector": vector_space}
ROWS = np.array([3, 0, 4, 1])
NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Backbone]:
    folder = tmp_path_factory.mktemp("backbones")
    made: dict[str, Backbone] = {}

    def loaded(kind: str, **machine: Any) -> Backbone:
        if NAMES.get(kind, "").startswith("timm:"):
            pytest.importorskip("timm")
        if kind not in made:
            if kind in ("bert", "vit", "clip", "pair"):
                save = {"bert": (save_bert,), "vit": (save_vit,), "clip": (save_clip,), "pair": (save_vit, save_bert)}[kind]
                for place, one in enumerate(save):
                    one(folder / (kind + "+" * place))
            names = {"pair": f"pair:hf:{folder}/pair+hf:{folder}/pair+"} | NAMES
            made[kind] = load_backbone(names.get(kind, f"hf:{folder / kind}"), machine=Machine(device="cpu", workers=1))
        return replace(made[kind], machine=replace(made[kind].machine, **machine))

    return loaded


def space_of(backbone: Backbone) -> RowSpace:
    return SPACES[backbone.preparation.modality]()


def groups_of(backbone: Backbone) -> list[tuple[str, ...]]:
    """The groups on the way to the features."""
    item = [(title, [n for n in names if "text_projection" not in n]) for title, names in backbone.groups]
    return [tuple(names) for title, names in item if not title.startswith(("text ", "shared"))]


def cut_of(backbone: Backbone, moving: list[str]) -> Cut | None:
    return find_cut(backbone, backbone.start(), space_of(backbone).gather([0, 1], backbone.preparation), moving)


def elsewhere(backbone: Backbone, moving: list[str]) -> dict[str, Tensor]:
    """The weights when those that move have moved; they require gradients."""
    g = torch.Generator().manual_seed(0)
    start = backbone.start()
    return start | {n: (start[n] + 0.02 * torch.randn(start[n].shape, generator=g)).requires_grad_() for n in moving}


def gradients(features: Tensor, weights: dict[str, Tensor], moving: list[str]) -> dict[str, Tensor]:
    probe = torch.linspace(-1, 1, features.numel()).view(features.shape).to(features)
    return dict(zip(moving, torch.autograd.grad((features * probe).sum(), [weights[n] for n in moving]), strict=True))


def alike(found: Tensor, expected: Tensor) -> None:
    """Equal, measured by the largest entry: float32 sums come in another order where passes have other sizes."""
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.detach().abs().max()) + 1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_features_and_gradients_through_the_cut_are_those_of_the_whole(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    space, groups = space_of(backbone), groups_of(backbone)
    for first in range(1, len(groups), max(1, (len(groups) - 1) // 2)):
        moving = [name for group in groups[first:] for name in group]
        cut = cut_of(backbone, moving)
        assert cut is not None and cut.place
        store = CutStore(cut, 10**9)
        for weights in (elsewhere(backbone, moving), backbone.start() | {n: backbone.start()[n].clone().requires_grad_() for n in moving}):
            found, live = store.features(weights, space, ROWS), backbone.embed(weights, space, ROWS)
            assert found.dtype == torch.float32 and found.shape == live.shape
            alike(found, live)
            one, other = gradients(found, weights, moving), gradients(live, weights, moving)
            for name in moving:
                alike(one[name], other[name])


@pytest.mark.parametrize("kind", KINDS)
def test_the_latest_cut_is_found(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    cut = cut_of(backbone, list(groups_of(backbone)[-1]))
    assert cut is not None and cut.place == CUTS[kind]
    assert cut.above < backbone.start().keys() and set(groups_of(backbone)[-1]) <= cut.above


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_first_weight_moves_there_is_no_cut(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    network = dict(backbone.network.named_modules())
    first = next(n for n in groups_of(backbone)[0] if isinstance(network.get(n.rpartition(".")[0]), nn.Conv2d | nn.Linear | nn.Embedding))
    assert cut_of(backbone, [first]) is None


@pytest.mark.parametrize("kind", [*KINDS, "pixels"])
def test_where_nothing_moves_the_features_are_stored(load: Callable[..., Backbone], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMES, "pixels", "pixels,size=6")
    backbone = load(kind)
    cut = cut_of(backbone, [])
    assert cut is not None and cut.place == ""
    store = CutStore(cut, 10**9)
    live = backbone.embed(backbone.start(), space_of(backbone), ROWS)
    space = space_of(backbone)
    for _ in range(2):
        found = store.features(backbone.start(), space, ROWS)
        torch.testing.assert_close(found, live, **NEAR)
        assert not found.requires_grad


def test_weights_that_have_no_part_in_the_features_may_move(load: Callable[..., Backbone]) -> None:
    """The text tower of a CLIP, where images are embedded."""
    backbone = load("clip")
    text = [n for title, names in backbone.groups if title.startswith("text ") for n in names]
    cut, both = cut_of(backbone, text), cut_of(backbone, [*text, *groups_of(backbone)[-1]])
    assert cut is not None and cut.place == "" and both is not None and both.place == CUTS["clip"]


@pytest.mark.parametrize("kind", ["bert", "mobilenet", "timm_vit", "mlp"])
def test_rows_in_any_order_are_computed_once(load: Callable[..., Backbone], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load(kind, chunk=2)
    moving = list(groups_of(backbone)[-1])
    cut = cut_of(backbone, moving)
    assert cut is not None
    computed: list[int] = []
    lower = Cut.lower
    monkeypatch.setattr(Cut, "lower", lambda self, w, x: (computed.append(1), lower(self, w, x))[1])
    store, space, start = CutStore(cut, 10**9), space_of(backbone), backbone.start()
    whole = backbone.embed(start, space, np.arange(5))
    for rows in ([4, 1], [1, 4], [2, 1, 0, 4, 3], [3, 3, 1, 3], [], [0, 2]):
        index = np.asarray(rows, dtype=np.int64)
        torch.testing.assert_close(store.features(start, space, index), whole[index], **NEAR)
    assert len(store) == 5 and len(computed) <= 3
    many = len(computed)
    store.features(start, space, np.arange(5))
    assert len(computed) == many


@pytest.mark.parametrize("kind", ["bert", "mobilenet", "timm_vit", "mlp"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_rows_beyond_the_memory_run_through_the_whole_network(load: Callable[..., Backbone], kind: str, share: float) -> None:
    backbone = load(kind, chunk=2)
    moving = list(groups_of(backbone)[-1])
    cut = cut_of(backbone, moving)
    assert cut is not None
    space, weights = space_of(backbone), elsewhere(backbone, moving)
    roomy = CutStore(cut, 10**9)
    roomy.features(weights, space, np.arange(5))
    held = sum(count for _, count in roomy._held.places.values()) * cut.entry_bytes
    store = CutStore(cut, int(share * held))
    for rows in (ROWS, np.arange(5)):
        found, live = store.features(weights, space, rows), backbone.embed(weights, space, rows)
        alike(found, live)
        one, other = gradients(found, weights, moving), gradients(live, weights, moving)
        for name in moving:
            alike(one[name], other[name])
    assert len(store) < 5 and (len(store) > 0) == (share > 0)
    entries = store._held._entries
    assert entries is None or entries.numel() * entries.element_size() <= share * held


def test_long_and_short_texts_in_any_company(load: Callable[..., Backbone]) -> None:
    """Texts are kept as long as the batch they came in, and are cut or filled up for another."""
    backbone = load("bert", chunk=3)
    g = np.random.default_rng(0)
    texts = tuple(" ".join(g.choice(WORDS, n)) for n in (1, 20, 3, 12, 2, 7, 25, 1, 4))
    space, moving = text_space(texts), list(groups_of(backbone)[-1])
    cut = cut_of(backbone, moving)
    assert cut is not None and cut.by_token
    store, weights = CutStore(cut, 10**9), elsewhere(backbone, moving)
    for rows in ([1], [0, 1], [7, 3, 0], [6, 4, 2, 8, 5, 1, 0], [0], [6]):
        index = np.asarray(rows)
        torch.testing.assert_close(store.features(weights, space, index), backbone.embed(weights, space, index), **NEAR)


@pytest.mark.parametrize("kind", ["bert", "mobilenet", "timm_vit"])
def test_half_precision(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind, dtype="bfloat16")
    moving = list(groups_of(backbone)[-1])
    cut = cut_of(backbone, moving)
    assert cut is not None and cut.place == CUTS[kind]
    weights, space = elsewhere(backbone, moving), space_of(backbone)
    found, live = CutStore(cut, 10**9).features(weights, space, ROWS), backbone.embed(weights, space, ROWS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, live, atol=0.03 * float(live.detach().abs().max()), rtol=0)


@pytest.mark.parametrize("kind", ["mobilenet", "timm_vit"])
def test_recomputed_activations_do_not_lose_the_cut(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind, recompute=True)
    moving = list(groups_of(backbone)[-1])
    cut, weights, space = cut_of(backbone, moving), elsewhere(backbone, moving), space_of(backbone)
    assert cut is not None
    one, other = (e(weights, space, ROWS) for e in (CutStore(cut, 10**9).features, backbone.embed))
    for a, b in zip(gradients(one, weights, moving).values(), gradients(other, weights, moving).values(), strict=True):
        alike(a, b)


def test_the_network_is_left_as_it_was(load: Callable[..., Backbone]) -> None:
    backbone = load("mobilenet")
    before = backbone.embed(backbone.start(), space_of(backbone), ROWS)
    moving = list(groups_of(backbone)[-2])
    cut = cut_of(backbone, moving)
    assert cut is not None
    x = space_of(backbone).gather([0, 1], backbone.preparation)
    activation = cut.lower(backbone.start(), x)
    kept = activation.clone()
    first, second = (cut.upper(backbone.start(), activation) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(activation, kept) and torch.equal(first, backbone.forward(backbone.start(), x))
    with pytest.raises(RuntimeError):
        cut.upper(backbone.start(), activation[:, :3])
    assert torch.equal(backbone.embed(backbone.start(), space_of(backbone), ROWS), before)
    assert not any("forward" in vars(m) or m._forward_hooks for m in backbone.network.modules())


def test_what_is_frozen_may_not_change(load: Callable[..., Backbone]) -> None:
    backbone = load("mlp")
    cut = cut_of(backbone, ["layers.2.weight"])
    assert cut is not None
    store, space = CutStore(cut, 10**9), space_of(backbone)
    weights = {n: t.clone() for n, t in backbone.start().items()}
    store.features(weights, space, ROWS)
    with pytest.raises(AssertionError, match="another row space"):
        store.features(weights, space_of(backbone), ROWS)
    moved = weights | {"layers.2.weight": torch.ones(40, 40), "layers.0.bias": weights["layers.0.bias"].detach()}
    torch.testing.assert_close(store.features(moved, space, ROWS), backbone.embed(moved, space, ROWS), **NEAR)
    with pytest.raises(AssertionError, match=r"layers.0.bias is frozen"):
        store.features(weights | {"layers.0.bias": weights["layers.0.bias"].clone()}, space, ROWS)
    weights["layers.0.bias"].add_(1)
    with pytest.raises(AssertionError, match=r"layers.0.bias is frozen"):
        store.features(weights, space, ROWS)


def test_weights_that_an_edit_changes_move(load: Callable[..., Backbone]) -> None:
    backbone = load("timm_vit")
    edit = LoRA(patterns=("blocks.2.*",), rank=2)
    g = torch.Generator().manual_seed(0)
    factors = {n: (t + 0.02 * torch.randn(t.shape, generator=g)).requires_grad_() for n, t in edit.declare(backbone).items()}
    cut = cut_of(backbone, [n.removeprefix("lora.").removesuffix(".up") for n in factors if n.endswith(".up")])
    assert cut is not None and cut.place == "blocks.1"
    space, store = space_of(backbone), CutStore(cut, 10**9)
    live = backbone.embed(edit.apply(backbone.start() | factors), space, ROWS)
    other = gradients(live, factors, list(factors))
    for _ in range(2):  # the edit makes new tensors each time: those that stay frozen are the same
        found = store.features(edit.apply(backbone.start() | factors), space, ROWS)
    one = gradients(found, factors, list(factors))
    for name in factors:
        alike(one[name], other[name])


@pytest.mark.slow
def test_a_compiled_network_is_cut_too(load: Callable[..., Backbone]) -> None:
    if not any(shutil.which(c) for c in ("c++", "g++", "clang++")):
        pytest.skip("there is no C++ compiler here")
    load("timm_vit")
    backbone = load_backbone(NAMES["timm_vit"], machine=Machine(device="cpu", workers=1, compile=True))
    moving, space = list(groups_of(backbone)[-2]), space_of(backbone)
    weights = elsewhere(backbone, moving)
    live = backbone.embed(weights, space, ROWS)
    cut = cut_of(backbone, moving)
    assert cut is not None and cut.place == "blocks.1"
    alike(CutStore(cut, 10**9).features(weights, space, ROWS), live)
    alike(backbone.embed(weights, space, ROWS), live)


class Skipping(nn.Module):
    """A network whose first layer is read again at the end, through a gate that is shut at first."""

    def __init__(self, gate: float | None) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(3, 3) for _ in range(3))
        self.gate = None if gate is None else nn.Parameter(torch.tensor(gate))

    def forward(self, x: Tensor) -> Tensor:
        low = self.first(x)
        high = self.third(self.second(low).relu_())
        return high if self.gate is None else high + self.gate * low


@pytest.mark.parametrize(("gate", "place"), [(None, "second"), (0.0, "first"), (1.0, "first")])
def test_a_shut_gate_hides_nothing(load: Callable[..., Backbone], gate: float | None, place: str) -> None:
    """What is read beside the cut shows even where it is multiplied with zero, and activations that are written to stay as they were."""
    torch.manual_seed(0)
    backbone = replace(load("mlp"), network=Skipping(gate).eval().requires_grad_(False), preparation=VectorPreparation(), width=3)
    for moving in (["third.weight"], ["third.weight", "gate"] if gate is not None else ["third.bias"]):
        cut = cut_of(backbone, moving)
        assert cut is not None and cut.place == ("first" if "gate" in moving or gate is not None else place)
        double = {n: t.double() for n, t in elsewhere(backbone, moving).items()}
        x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
        for _ in range(2):
            activation = cut.lower(double, x)
            found, live = cut.upper(double, activation), backbone.forward(double, x)
            torch.testing.assert_close(found, live, rtol=1e-12, atol=1e-12)
        given = tuple(double[n].detach().requires_grad_() for n in moving)
        assert torch.autograd.gradcheck(lambda *w: cut.upper(double | dict(zip(moving, w, strict=True)), activation), given)  # noqa: B023


@pytest.mark.slow
def test_open_clip_has_cuts() -> None:
    pytest.importorskip("open_clip")
    backbone = load_backbone("open_clip:ViT-B-32,pretrained=false", machine=Machine(device="cpu"))
    moving = [n for title, names in backbone.groups if title in ("image final", "text final") for n in names]
    cut = cut_of(backbone, moving)
    assert cut is not None and cut.place == "model.visual.transformer"
