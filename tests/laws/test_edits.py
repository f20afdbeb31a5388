"""Laws of edits: pure functions weights -> weights, which a network knows nothing of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import EDITS, LoRA, declared_edits, edited
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import answering, respond, tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.machine import Machine
from fewtune.parts.heads import Centroid, Linear
from fewtune.parts.plan import only
from fewtune.spec import parse, text
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny import image_space, images, save_bert, save_clip, save_vit, text_space, vector_space

KINDS = ("bert", "vit", "clip", "timm_vit", "timm_cnn", "resnet10t", "conv4", "resnet12", "mlp")
NAMES = {
    "timm_vit": "timm:vit_tiny_patch16_224,pretrained=false,size=32,depth=2",
    "timm_cnn": "timm:mobilenetv2_035,pretrained=false,size=32",
    "resnet10t": "timm:resnet10t,pretrained=false,size=32,zero_init_last=false",
    "conv4": "conv4,size=16,width=8",
    "resnet12": "resnet12,size=16",
    "mlp": "mlp,inputs=3",
}
SPECS = (LoRA(), LoRA(patterns=("*.weight",), rank=2, alpha=16, name="other"), LoRA(patterns=("group:blocks.1",), rank=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("backbones")
    for kind, save in {"bert": save_bert, "vit": save_vit, "clip": save_clip}.items():
        save(made / kind)
    return made


def loaded(kind: str, folder: Path) -> Backbone:
    if "timm:" in NAMES.get(kind, ""):
        pytest.importorskip("timm")
    return load_backbone(NAMES.get(kind, f"hf:{folder / kind}"), machine=Machine(device="cpu"))


def embedded(backbone: Backbone, weights: dict[str, Tensor]) -> Tensor:
    space = {"text": text_space, "image": image_space, "vector": vector_space}[backbone.preparation.modality]()
    return backbone.embed(weights, space, np.arange(3))


def moved(factors: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Factors as after some training: up is no longer zero."""
    g = torch.Generator().manual_seed(seed)
    return {n: t + 0.05 * torch.randn(t.shape, generator=g).to(t) for n, t in factors.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_no_edit_and_a_merged_edit_is_the_edit(kind: str, folder: Path) -> None:
    backbone, edit = loaded(kind, folder), LoRA(rank=2)
    factors = edit.declare(backbone)
    start = backbone.start()
    assert all(torch.equal(t, start[n]) for n, t in edit.apply(start | factors).items())
    assert factors.keys() == {f"lora.{n}.{part}" for n in _changed(edit, start | factors) for part in ("down", "up")}
    whole = {n: t.requires_grad_() for n, t in (start | moved(factors)).items() if n in factors} | start
    merged = edit.merge(whole)
    assert merged.keys() == start.keys() and not any(t.requires_grad for t in merged.values())
    for n in _changed(edit, start | factors):
        change = edit.scale * whole[f"lora.{n}.up"].detach() @ whole[f"lora.{n}.down"].detach().flatten(1)
        torch.testing.assert_close(merged[n], start[n] + change.view(start[n].shape))
    assert not torch.allclose(embedded(backbone, merged), embedded(backbone, start), atol=1e-4)
    assert all(torch.equal(t, backbone.start()[n]) for n, t in start.items())


def _changed(edit: LoRA, weights: dict[str, Tensor]) -> list[str]:
    moving = {n: t + 1 if n.startswith("lora.") else t for n, t in weights.items()}
    return [n for n, t in edit.apply(moving).items() if not torch.equal(t, weights[n])]


def test_the_change_is_the_formula() -> None:
    """By hand: a matrix as a product, a convolution as the convolution by `down` followed by the 1x1 convolution by `up`."""
    edit = LoRA(rank=2, alpha=3.0)
    g = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    weights = {"a.weight": drawn(5, 4), "b.weight": drawn(6, 3, 3, 3), "a.bias": drawn(5)}
    factors = {f"lora.{n}.{p}": drawn(*s) for n, p, s in (("a.weight", "down", (2, 4)), ("a.weight", "up", (5, 2)))}
    factors |= {"lora.b.weight.down": drawn(2, 3, 3, 3), "lora.b.weight.up": drawn(6, 2)}
    found = edit.apply(weights | factors)
    assert found.keys() == weights.keys() and torch.equal(found["a.bias"], weights["a.bias"])
    x = drawn(7, 4)
    through = x @ factors["lora.a.weight.down"].T @ factors["lora.a.weight.up"].T
    torch.testing.assert_close(x @ found["a.weight"].T, x @ weights["a.weight"].T + 1.5 * through)
    images = drawn(2, 3, 8, 8)
    inner = torch.nn.functional.conv2d(images, factors["lora.b.weight.down"])
    change = torch.nn.functional.conv2d(inner, factors["lora.b.weight.up"][:, :, None, None])
    plain = torch.nn.functional.conv2d(images, weights["b.weight"])
    torch.testing.assert_close(torch.nn.functional.conv2d(images, found["b.weight"]), plain + 1.5 * change)


def test_query_key_and_value_in_one_matrix_change_as_three_matrices_do() -> None:
    g = torch.Generator().manual_seed(1)
    fused, plain = "a.attn.in_proj_weight", "a.out.weight"
    start = {fused: torch.randn(12, 4, generator=g), plain: torch.randn(4, 4, generator=g)}
    factors = {f"lora.{fused}.down": torch.randn(6, 4, generator=g), f"lora.{fused}.up": torch.randn(12, 2, generator=g)}
    factors |= {f"lora.{plain}.down": torch.randn(2, 4, generator=g), f"lora.{plain}.up": torch.randn(4, 2, generator=g)}
    found = LoRA(rank=2, alpha=1.0, split=True).apply(start | factors)
    for part in range(3):
        rows, pair = slice(4 * part, 4 * part + 4), slice(2 * part, 2 * part + 2)
        change = factors[f"lora.{fused}.up"][rows] @ factors[f"lora.{fused}.down"][pair]
        torch.testing.assert_close(found[fused][rows], start[fused][rows] + 0.5 * change)
    torch.testing.assert_close(found[plain], start[plain] + 0.5 * factors[f"lora.{plain}.up"] @ factors[f"lora.{plain}.down"])


def test_dropout_leaves_out_inputs_of_the_change_alone() -> None:
    """By hand, with masks: a matrix, a convolution, and a fused matrix whose three parts leave out inputs of their own."""
    g = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    fused, plain, conv = "a.attn.qkv.weight", "a.out.weight", "b.weight"
    start = {fused: drawn(12, 4), plain: drawn(5, 4), conv: drawn(6, 4, 3, 3)}
    factors = {f"lora.{fused}.down": drawn(6, 4), f"lora.{fused}.up": drawn(12, 2), f"lora.{plain}.down": drawn(2, 4)}
    factors |= {f"lora.{plain}.up": drawn(5, 2), f"lora.{conv}.down": drawn(2, 4, 3, 3), f"lora.{conv}.up": drawn(6, 2)}
    edit = LoRA(patterns=("*",), rank=2, alpha=1.0, split=True, dropout=0.5)
    masks = edit.drawn(key(3), factors)
    assert set(masks) == set(edit.masks(factors)) and masks[f"lora.{fused}.mask"].shape == (3, 1, 4)
    assert all(set(m.unique().tolist()) <= {0.0, 2.0} for m in masks.values())
    assert not torch.equal(*masks[f"lora.{fused}.mask"][:2])
    found, whole = edit.apply({**start, **factors, **masks}), edit.apply({**start, **factors})
    assert found.keys() == start.keys()
    x, images = drawn(7, 4), drawn(2, 4, 8, 8)
    left = x * masks[f"lora.{plain}.mask"].view(-1)
    change = left @ factors[f"lora.{plain}.down"].T @ factors[f"lora.{plain}.up"].T
    torch.testing.assert_close(x @ found[plain].T, x @ start[plain].T + 0.5 * change)
    for part in range(3):
        rows, pair = slice(4 * part, 4 * part + 4), slice(2 * part, 2 * part + 2)
        left = x * masks[f"lora.{fused}.mask"][part].view(-1)
        change = left @ factors[f"lora.{fused}.down"][pair].T @ factors[f"lora.{fused}.up"][rows].T
        torch.testing.assert_close(x @ found[fused][rows].T, x @ start[fused][rows].T + 0.5 * change)
    seen = images * masks[f"lora.{conv}.mask"].view(1, -1, 1, 1)
    inner = torch.nn.functional.conv2d(seen, factors[f"lora.{conv}.down"])
    change = torch.nn.functional.conv2d(inner, factors[f"lora.{conv}.up"][:, :, None, None])
    plainly = torch.nn.functional.conv2d(images, start[conv])
    torch.testing.assert_close(torch.nn.functional.conv2d(images, found[conv]), plainly + 0.5 * change)
    mean = torch.stack([edit.apply({**start, **factors, **edit.drawn(key(k), factors)})[plain] for k in range(4000)]).mean(0)
    torch.testing.assert_close(mean, whole[plain], atol=0.12, rtol=0.1)
    assert LoRA(patterns=("*",), rank=2).drawn(key(3), factors) == {} and not torch.equal(found[plain], whole[plain])
    with pytest.raises(InputError, match="dropout of LoRA is a share"):
        LoRA(dropout=1.0)


def test_each_step_leaves_out_other_inputs_and_answers_leave_out_none(folder: Path) -> None:
    backbone, edit = loaded("clip", folder), LoRA(rank=2, dropout=0.4)
    photos = make_examples(Pixels(images(12, height=32, width=32)), np.arange(12) % 3)
    ground = Ground(backbone, RowSpace([photos]), (edit,))
    phase = Phase(sampler=Pooled(), learner=Centroid(), plan=only("lora.*", 0.1), steps=1)
    start = {n: t + 0.1 if n.endswith(".up") else t for n, t in ground.start().items()}
    seen = []
    for step in (1, 1, 2):
        answer = answering(ground, phase, start, key(0, step))
        episodes = Sampled(ways=3, shots=2, queries=2).draw(class_rows(ground.space), key(0), 0, 1)
        seen.append(answer(episodes, (0,)).logits)
    plain = respond(ground, Centroid(), start, episodes, key(0)).logits
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], plain)
    head = Linear(start="centroid")
    own = tune(ground, Adapt(phases=(replace(phase, learner=head),), then=head), start, episodes, key(1))
    assert own and not any(n.endswith(".mask") for n in own)
    assert not set(ground.masks) & set(ground.movable({**start, **edit.drawn(key(0), ground.declared_by_edits)}))


def test_split_factors_are_declared_and_averaged_as_the_changed_weights() -> None:
    pytest.importorskip("timm")
    backbone = load_backbone("timm:vit_tiny_patch16_224,pretrained=false,size=32,depth=1", machine=Machine(device="cpu"))
    edit = LoRA(patterns=("*attn.qkv.weight",), rank=2, split=True)
    start = backbone.start() | edit.declare(backbone)
    name = "blocks.0.attn.qkv.weight"
    assert start[f"lora.{name}.down"].shape == (6, 192) and start[f"lora.{name}.up"].shape == (576, 2)
    ends = [start | {f"lora.{name}.up": torch.full((576, 2), float(k))} for k in (1, 3)]
    mean = (edit.apply(ends[0])[name] + edit.apply(ends[1])[name]) / 2
    one, other = edit.aligned(ends, start)
    mixed = {n: (one[n] + other[n]) / 2 for n in one}
    torch.testing.assert_close(edit.apply(mixed)[name], mean, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_factors_equal_differences() -> None:
    backbone = load_backbone("mlp,inputs=3", machine=Machine(device="cpu"))
    edit = LoRA(rank=2)
    doubled = {n: t.double() for n, t in backbone.start().items()}
    factors = {n: t.double().requires_grad_() for n, t in moved(edit.declare(backbone)).items()}
    inputs = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)

    def features(*given: Tensor) -> Tensor:
        return backbone.forward(edit.apply(doubled | dict(zip(factors, given, strict=True))), inputs)

    assert torch.autograd.gradcheck(features, tuple(factors.values()))


def test_the_start_depends_on_names_alone_and_has_the_stated_variance() -> None:
    backbone = load_backbone("resnet12,size=16", machine=Machine(device="cpu"))
    first, again = (LoRA().declare(backbone) for _ in range(2))
    assert all(torch.equal(t, again[n]) for n, t in first.items())
    assert all(not t.any() for n, t in first.items() if n.endswith(".up"))
    name = "blocks.3.convs.1.conv.weight"
    down = first[f"lora.{name}.down"]
    assert down.shape == (8, 640, 3, 3) and down.var().item() * 5760 == pytest.approx(1, rel=0.03)
    assert not torch.equal(down, LoRA(name="second").declare(backbone)[f"second.{name}.down"])
    assert not torch.equal(down, first["lora.blocks.3.convs.2.conv.weight.down"])


def test_edits_fold_in_order() -> None:
    backbone = load_backbone("resnet12,size=16", machine=Machine(device="cpu"))
    edits = (LoRA(patterns=("group:blocks.[23]",), rank=2), LoRA(patterns=("*shortcut*",), rank=1, name="second"))
    factors = moved(declared_edits(edits, backbone))
    assert {n.split(".")[2] for n in factors if n.startswith("lora")} == {"2", "3"}
    weights = backbone.start() | factors
    found = edited(edits, weights)
    assert found.keys() == backbone.start().keys()
    by_hand = edits[1].apply(edits[0].apply(weights))
    assert all(torch.equal(t, by_hand[n]) for n, t in found.items())
    both = "blocks.3.shortcut.conv.weight"
    change = sum(e.scale * factors[f"{e.name}.{both}.up"] @ factors[f"{e.name}.{both}.down"].flatten(1) for e in edits)
    torch.testing.assert_close(found[both].flatten(1), weights[both].flatten(1) + change)
    assert edited((), weights) == weights and declared_edits((), backbone) == {}


def test_what_cannot_be_is_refused() -> None:
    backbone = load_backbone("mlp,inputs=3", machine=Machine(device="cpu"))
    with pytest.raises(InputError, match=r"rank 8 does not fit 'layers.0.weight', a weight of 40 x 3: give a rank of at most 3"):
        LoRA().declare(backbone)
    with pytest.raises(InputError, match=r"'\*attn\*' match no matrix .* its weights are 'layers.0.weight', 'layers.1.weight'"):
        LoRA(patterns=("*attn*",)).declare(backbone)
    with pytest.raises(InputError, match="match no matrix"):
        LoRA(patterns=("*.bias",)).declare(backbone)
    with pytest.raises(InputError, match="it has no such weights"):
        LoRA().declare(load_backbone("pixels", machine=Machine(device="cpu")))
    with pytest.raises(InputError, match="'lora' is already used"):
        declared_edits((LoRA(rank=1), LoRA(rank=2)), backbone)
    with pytest.raises(InputError, match="'layers' is already used"):
        declared_edits((LoRA(rank=1, name="layers"),), backbone)
    for wrong in ({"rank": 0}, {"alpha": 0.0}, {"patterns": ()}, {"patterns": "*"}, {"name": ""}):
        with pytest.raises(InputError):
            LoRA(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", SPECS)
def test_the_text_is_the_spec(spec: LoRA) -> None:
    assert parse(text(spec), {edit.__name__: edit for edit in EDITS}) == spec
