"""Laws of every kind of backbone: embed is a pure function of named weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone, Prepared
from fewtune.backbones.features.feature_table import feature_table, features_key
from fewtune.backbones.load import load_backbone
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import Augment
from fewtune.errors import InputError
from fewtune.machine import Machine
from tests.tiny import image_space, save_bert, save_clip, save_vit, text_space, vector_space

KINDS = ("bert", "vit", "clip", "pair", "timm_cnn", "timm_vit", "conv4", "resnet12", "embedded", "mlp", "pixels", "precomputed")
TRAINABLE = KINDS[:-2]
SPACES: dict[str, Callable[[], RowSpace]] = {"text": text_space, "image": lambda: image_space(5), "vector": vector_space}
COUNT = 5
NEAR = {"atol": 1e-5, "rtol": 1e-5}  # float32 sums in another order; features are of the order of 1


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The name of a small backbone of each kind."""
    folder = tmp_path_factory.mktemp("backbones")
    for kind, save in {"bert": save_bert, "vit": save_vit, "clip": save_clip}.items():
        save(folder / kind)
    return {kind: f"hf:{folder / kind}" for kind in ("bert", "vit", "clip")} | {
        "pair": f"pair:hf:{folder / 'vit'}+hf:{folder / 'bert'}+width=10",
        "timm_cnn": "timm:mobilenetv2_035,pretrained=false,size=32",
        "timm_vit": "timm:vit_tiny_patch16_224,pretrained=false,size=32,depth=2",
        "conv4": "conv4,size=16,width=8",
        "resnet12": "resnet12,size=16",
        "embedded": "embedded,pretrained=false",
        "mlp": "mlp,inputs=3",
        "pixels": "pixels,size=6",
        "precomputed": "precomputed",
    }


@pytest.fixture(scope="module")
def load(names: dict[str, str]) -> Callable[..., Backbone]:
    made: dict[object, Backbone] = {}

    def loaded(kind: str, **machine: object) -> Backbone:
        if kind.startswith("timm"):
            pytest.importorskip("timm")
        place = (kind, *sorted(machine.items()))
        if place not in made:
            made[place] = load_backbone(names[kind], machine=Machine(device="cpu", **machine))  # type: ignore[arg-type]
        return made[place]

    return loaded


def space_of(backbone: Backbone) -> RowSpace:
    return SPACES[backbone.preparation.modality]()


def embedded(backbone: Backbone, rows: object = range(COUNT)) -> Tensor:
    return backbone.embed(backbone.start(), space_of(backbone), np.asarray(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_kind(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    found = embedded(backbone)
    assert isinstance(backbone.preparation, Prepared)
    assert found.shape == (COUNT, backbone.width or 3) and found.dtype == torch.float32 and not found.requires_grad
    assert bool(torch.isfinite(found).all()) and not found.is_inference()


@pytest.mark.parametrize("kind", KINDS)
def test_batch_equals_singles_in_any_order(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    whole = embedded(backbone)
    singles = torch.cat([embedded(backbone, [row]) for row in range(COUNT)])
    torch.testing.assert_close(singles, whole, **NEAR)
    torch.testing.assert_close(embedded(backbone, [3, 0, 4]), whole[[3, 0, 4]], **NEAR)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_any_shape_repeats_and_padding(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    whole = embedded(backbone)
    rows = torch.tensor([[[0, 4, -1], [4, 4, 1]], [[-1, -1, -1], [2, 3, 0]]])
    found = backbone.embed(backbone.start(), space_of(backbone), rows)
    expected = torch.where((rows >= 0)[..., None], whole[rows.clamp_min(0)], 0.0)
    assert found.shape == (2, 2, 3, whole.shape[1])
    torch.testing.assert_close(found, expected, **NEAR)
    assert torch.equal(found[0, 0, 1], found[0, 1, 0]) and bool((found[1, 0] == 0).all())
    assert embedded(backbone, np.zeros((0, 3), dtype=np.int64)).shape[:2] == (0, 3)
    assert bool((embedded(backbone, [-1, -1]) == 0).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("machine", [{"chunk": 1}, {"chunk": 2, "workers": 3}, {"channels_last": False, "workers": 1}])
def test_the_machine_changes_nothing(load: Callable[..., Backbone], kind: str, machine: dict[str, object]) -> None:
    other = load(kind, **machine)
    torch.testing.assert_close(embedded(other), embedded(load(kind)), **NEAR)
    assert other.digest() == load(kind).digest() and features_key(other) == features_key(load(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_stays_near_and_has_its_own_key(load: Callable[..., Backbone], kind: str) -> None:
    half, whole = load(kind, dtype="bfloat16"), load(kind)
    a, b = embedded(half), embedded(whole)
    assert a.dtype == torch.float32
    assert bool((torch.nn.functional.cosine_similarity(a, b) > 0.99).all())
    assert half.digest() == whole.digest() and features_key(half) != features_key(whole)
    assert all(t.dtype == torch.float32 for t in half.start().values() if t.is_floating_point())


@pytest.mark.parametrize("kind", KINDS)
def test_table_equals_live(load: Callable[..., Backbone], kind: str, tmp_path: Path) -> None:
    backbone = load(kind)
    space = RowSpace([*space_of(backbone).sources, space_of(backbone).sources[0].take([4, 1])])
    for _ in range(2):
        found = feature_table(backbone, space, folder=tmp_path, quiet=True)
        assert found.bad == {}
        torch.testing.assert_close(found.features, embedded(backbone, [*range(COUNT), 4, 1]), **NEAR)


@pytest.mark.parametrize("kind", KINDS)
def test_digest_is_of_this_model_alone(load: Callable[..., Backbone], names: dict[str, str], kind: str) -> None:
    assert load_backbone(names[kind]).digest() == load(kind).digest()
    assert len({load(k).digest() for k in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_hold_every_parameter_once(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    grouped = [name for _, members in backbone.groups for name in members]
    assert sorted(grouped) == sorted(name for name, _ in backbone.network.named_parameters())
    titles = [title for title, _ in backbone.groups]
    assert len(set(titles)) == len(titles) and set(grouped) <= backbone.start().keys()


@pytest.mark.parametrize("kind", TRAINABLE)
def test_weights_given_are_the_ones_used_and_nothing_else_changes(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    before, digest = embedded(backbone), backbone.digest()
    moved = {n: t + 0.1 * torch.sign(t) if t.is_floating_point() else t.clone() for n, t in backbone.start().items()}
    assert not torch.allclose(backbone.embed(moved, space_of(backbone), np.arange(COUNT)), before, atol=1e-3)
    one = [names[0] for title, names in backbone.groups if not title.startswith("text ")][1]
    partly = backbone.embed({one: moved[one]}, space_of(backbone), np.arange(COUNT))
    assert not torch.equal(partly, before)
    assert torch.equal(partly, backbone.embed(backbone.start() | {one: moved[one]}, space_of(backbone), np.arange(COUNT)))
    assert torch.equal(embedded(backbone), before) and load(kind).digest() == digest


@pytest.mark.parametrize("kind", TRAINABLE)
def test_gradients_flow_to_every_weight_on_the_way_and_equal_differences(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind, chunk=2)
    parameters = {n for _, members in backbone.groups for n in members}
    start = {n: t.clone().requires_grad_(n in parameters) for n, t in backbone.start().items()}
    rows = np.array([[0, 3], [3, -1]])
    probe = torch.linspace(-1, 1, backbone.width)

    def value(weights: dict[str, Tensor]) -> Tensor:
        return (backbone.embed(weights, space_of(backbone), rows) * probe).sum()

    names = sorted(parameters)
    gradients = dict(zip(names, torch.autograd.grad(value(start), [start[n] for n in names], allow_unused=True), strict=True))
    on_the_way = [n for n in names if not (kind in ("clip", "pair", "embedded") and ("text" in n or "logit_scale" in n))]
    assert all(gradients[n] is not None for n in on_the_way)
    assert all(gradients[n] is None for n in set(names) - set(on_the_way))
    # along the gradient itself, the value changes by its squared norm
    with torch.no_grad():
        squared = sum(float(g.double().square().sum()) for g in gradients.values() if g is not None)
        step = 1e-3 / squared**0.5
        ends = [value({n: t + s * step * gradients[n] if gradients.get(n) is not None else t for n, t in start.items()}) for s in (1, -1)]
    assert float((ends[0] - ends[1]).double()) / (2 * step) == pytest.approx(squared, rel=2e-2)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_no_graph_is_kept_where_nothing_moves(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    moving = {n: t.clone().requires_grad_(t.is_floating_point() and "running" not in n) for n, t in backbone.start().items()}
    assert backbone.embed(moving, space_of(backbone), np.arange(2)).requires_grad
    with torch.no_grad():
        assert not backbone.embed(moving, space_of(backbone), np.arange(2)).requires_grad
    assert not embedded(backbone).requires_grad and not any(p.requires_grad for p in backbone.network.parameters())


@pytest.mark.parametrize("kind", TRAINABLE)
def test_running_statistics_never_move(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    backbone.network.train()  # whatever someone does to the network
    try:
        moving = {n: t.clone().requires_grad_(t.is_floating_point() and "running" not in n) for n, t in backbone.start().items()}
        before = {n: t.detach().clone() for n, t in moving.items()}
        first, second = (backbone.embed(moving, space_of(backbone), np.arange(3)) for _ in range(2))
    finally:
        backbone.network.eval()
    assert torch.equal(first, second)
    assert all(torch.equal(before[n], t) for n, t in moving.items())


@pytest.mark.parametrize("kind", KINDS)
def test_label_side(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    texts = ["a photo of a cat", "dog", "a big red bird", "dog"]
    if kind not in ("bert", "clip", "pair", "embedded"):
        assert not backbone.label_side
        with pytest.raises(InputError, match="no label side"):
            backbone.embed_labels(backbone.start(), texts)
        return
    found = backbone.embed_labels(backbone.start(), texts)
    assert found.shape == (4, backbone.width) and torch.allclose(found[1], found[3], atol=1e-6)
    singles = torch.cat([backbone.embed_labels(backbone.start(), [t]) for t in texts])
    torch.testing.assert_close(found, singles, **NEAR)
    moving = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in backbone.start().items()}
    assert backbone.embed_labels(moving, texts).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_another_modality_and_another_view_are_refused(load: Callable[..., Backbone], kind: str) -> None:
    backbone = load(kind)
    wrong = text_space() if backbone.preparation.modality != "text" else image_space(2)
    with pytest.raises(InputError, match=r"takes \w+s, but \w+ holds"):
        backbone.embed(backbone.start(), wrong, np.arange(2))
    refused = "expected a key" if backbone.preparation.modality == "image" else "identity view"
    with pytest.raises(InputError, match=refused):
        backbone.embed(backbone.start(), space_of(backbone), np.arange(2), Augment())


@pytest.mark.parametrize("kind", TRAINABLE)
def test_weights_of_each_episode_by_vmap_equal_a_loop(load: Callable[..., Backbone], kind: str) -> None:
    """`forward` is a function of weights that torch.func can map over a leading E."""
    backbone = load(kind)
    preparation, space = backbone.preparation, space_of(backbone)
    inputs = preparation.batch([preparation.prepare(space.fetch(row)) for row in range(3)])
    scales = torch.tensor([1.0, 0.9, 1.1])
    name = backbone.groups[1][1][0]
    own = torch.stack([backbone.start()[name] * s for s in scales])
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        mapped = torch.func.vmap(lambda w: backbone.forward({name: w}, inputs))(own)
        loop = torch.stack([backbone.forward({name: w}, inputs) for w in own])
    torch.testing.assert_close(mapped, loop, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["timm_vit", "bert"])
def test_compiled_equals_eager(load: Callable[..., Backbone], kind: str) -> None:
    import shutil

    if not any(shutil.which(c) for c in ("c++", "g++", "clang++")):
        pytest.skip("there is no C++ compiler here")
    torch.testing.assert_close(embedded(load(kind, compile=True)), embedded(load(kind)), atol=1e-5, rtol=1e-4)
