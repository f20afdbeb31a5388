"""conv4, resnet12 and mlp: their structure, and that they are pure functions that vmap and differentiate twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.dropblock import _uniform, drop_blocks
from fewtune.backbones.providers.small import Conv4, Mlp, ResNet12
from fewtune.data.views.views import Augment
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.machine import Machine
from tests.tiny import image_space, vector_space

CPU = Machine(device="cpu", workers=1)


def loaded(name: str, weights: Path | None = None) -> Backbone:
    return load_backbone(name, machine=CPU, weights=weights)


def small(kind: str) -> tuple[nn.Module, Tensor]:
    """A narrow network in float64 and inputs for 3 episodes of 2 rows."""
    g = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = {
            "conv4": lambda: Conv4(1, 4, 2),
            "conv4 signed": lambda: Conv4(1, 4, 2, signed=True),
            "resnet12": lambda: ResNet12(1, 2, "mean", 0.0, (4, 6, 8, 16)),
            "mlp": lambda: Mlp(2, 5, 2),
        }[kind]().double()
    shape = (3, 2, 2) if kind == "mlp" else (3, 2, 1, 16, 16)
    return network, torch.randn(shape, generator=g, dtype=torch.float64)


def own_weights(network: nn.Module, E: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    return {n: p.detach() + 0.1 * torch.randn(E, *p.shape, generator=g, dtype=p.dtype) for n, p in network.named_parameters()}


each_kind = pytest.mark.parametrize("kind", ["conv4", "conv4 signed", "resnet12", "mlp"])


@pytest.mark.parametrize(
    ("name", "width", "groups", "parameters"),
    [
        ("conv4,size=28,grey=true", 64, 4, 9 * 64 + 3 * 9 * 64 * 64 + 8 * 64),
        ("conv4", 64, 4, 3 * 9 * 64 + 3 * 9 * 64 * 64 + 8 * 64),
        ("conv4,signed=true", 64, 4, 3 * 9 * 64 + 3 * 9 * 64 * 64 + 8 * 64),
        ("conv4,size=84,width=32", 32 * 25, 4, 3 * 9 * 32 + 3 * 9 * 32 * 32 + 8 * 32),
        ("resnet12", 640, 4, 12_424_320),  # 12.4 million, as MetaOptNet's
        ("resnet12,size=32,pooling=flat,grey=true", 640 * 4, 4, 12_424_320 - 2 * 64 * 10),
        ("mlp", 40, 2, 80 + 1640),
        ("mlp,inputs=3,width=8,depth=3", 8, 3, 32 + 72 + 72),
    ],
)
def test_a_name_makes_a_network(name: str, width: int, groups: int, parameters: int) -> None:
    backbone = loaded(name)
    assert backbone.width == width and not backbone.label_side and backbone.source == {"weights": "random"}
    assert sum(t.numel() for t in backbone.start().values()) == parameters
    assert len(backbone.groups) == groups
    assert [n for _, part in backbone.groups for n in part] == list(backbone.start())  # every weight once, no buffers
    assert [g for g, _ in backbone.groups] == [f"{'layers' if name[0] == 'm' else 'blocks'}.{i}" for i in range(groups)]


def test_images_and_vectors_are_embedded() -> None:
    for name in ("conv4,size=28,grey=true", "conv4,size=20", "resnet12,size=16", "resnet12,size=37,pooling=flat"):
        backbone, space = loaded(name), image_space(3)
        features = backbone.embed(backbone.start(), space, np.array([[0, 2], [1, -1]]))
        assert features.shape == (2, 2, backbone.width) and bool(features.isfinite().all())
        assert bool((features[1, 1] == 0).all()) and features[0, 0].std() > 0.01
        torch.testing.assert_close(features[0, 1], backbone.embed(backbone.start(), space, np.array([2]))[0], rtol=1e-4, atol=1e-5)
    backbone = loaded("mlp,inputs=3")
    assert backbone.embed(backbone.start(), vector_space(5, 3), np.arange(5)).shape == (5, 40)


def test_images_are_prepared_as_pixels_are() -> None:
    assert loaded("conv4,size=20,grey=true").preparation == loaded("pixels,size=20,grey=true").preparation
    assert loaded("resnet12").preparation == loaded("pixels,size=84").preparation


def test_the_start_is_a_function_of_structure_and_seed() -> None:
    before = torch.random.get_rng_state()
    assert loaded("conv4").digest() == loaded("conv4,seed=0,size=28").digest()
    assert torch.equal(loaded("conv4").start()["blocks.0.conv.weight"], loaded("conv4,size=84").start()["blocks.0.conv.weight"])
    different = {
        loaded(n).digest()
        for n in (
            "conv4",
            "conv4,seed=1",
            "conv4,size=84",
            "conv4,grey=true",
            "conv4,width=63",
            "conv4,groups=8",
            "conv4,signed=true",
            "resnet12",
            "resnet12,pooling=flat",
        )
    }
    assert len(different) == 9
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    trained = loaded("conv4,width=8,seed=5")
    safetensors.torch.save_file({n: t.contiguous() for n, t in trained.start().items()}, tmp_path / "w.safetensors")
    found = loaded("conv4,width=8", weights=tmp_path / "w.safetensors")
    assert all(torch.equal(t, found.start()[n]) for n, t in trained.start().items())
    assert found.digest() == trained.digest() and found.source["weights"] == "w.safetensors"
    with pytest.raises(InputError, match=r"of another shape \(blocks.0.conv.weight is \(8, 3, 3, 3\), expected \(16, 3, 3, 3\)"):
        loaded("conv4,width=16", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conv4:big", "expected conv4, with options"),
        ("conv4,depth=3", "unknown option of conv4: 'depth'"),
        ("conv4,size=15", "a size of at least 16 pixels, found 15"),
        ("conv4,width=0", "a whole number of at least 1 for width"),
        ("conv4,groups=3", "groups that divides 64 channels, found 3"),
        ("resnet12,groups=64", "groups that divides 32 channels, found 64"),
        ("resnet12,dropblock=1", "at least 0 and below 1 for dropblock, found 1"),
        ("resnet12,pooling=max", "unknown pooling 'max'"),
        ("mlp,seed=x", "a whole number for seed, found 'x'"),
        ("mpl", "unknown backbone .*mlp"),  # named among all, but not offered: it is untrained
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        loaded(name)


def test_vectors_of_another_width_are_refused() -> None:
    backbone = loaded("mlp")
    with pytest.raises(InputError, match="takes vectors of 1 numbers, found 3: say mlp,inputs=3"):
        backbone.embed(backbone.start(), vector_space(2, 3), np.arange(2))


@pytest.mark.parametrize("kind", ["conv4", "conv4 signed"])
def test_conv4_is_its_definition(kind: str) -> None:
    """Against torch.nn layers one after another."""
    network, inputs = small(kind)
    layers: list[nn.Module] = []
    for block in network.blocks:  # type: ignore[union-attr]
        layers += [block.conv, nn.GroupNorm(2, 4).double(), nn.ReLU(), nn.MaxPool2d(2)]  # type: ignore[list-item, union-attr]
    if kind == "conv4 signed":
        del layers[-2]  # the last ReLU
    torch.testing.assert_close(network(inputs[0]), nn.Sequential(*layers, nn.Flatten())(inputs[0]))


@each_kind
def test_a_row_is_the_same_in_any_batch_and_in_training_mode(kind: str) -> None:
    network, inputs = small(kind)
    rows = inputs.flatten(0, 1)
    together = network(rows)
    torch.testing.assert_close(together, torch.cat([network(r[None]) for r in rows]), rtol=1e-10, atol=1e-12)
    assert torch.equal(network.train()(rows), together)
    assert not list(network.buffers())


@each_kind
def test_weights_of_their_own_run_under_vmap_as_in_a_loop(kind: str) -> None:
    """Features and gradients, for every episode."""
    network, inputs = small(kind)
    own = {n: w.requires_grad_() for n, w in own_weights(network, 3).items()}
    mapped = vmap(lambda w, x: functional_call(network, w, (x,)))(own, inputs)
    looped = torch.stack([functional_call(network, {n: w[e] for n, w in own.items()}, (inputs[e],)) for e in range(3)])
    torch.testing.assert_close(mapped, looped, rtol=1e-9, atol=1e-10)
    first, second = (torch.autograd.grad(f.square().sum(), list(own.values())) for f in (mapped, looped))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def meta_loss(network: nn.Module, start: dict[str, Tensor], inputs: Tensor, *, mapped: bool) -> Tensor:
    """The loss of MAML: on each episode's second row, after one inner step on its first one."""
    E = inputs.shape[0]
    own = {n: w.expand(E, *w.shape) for n, w in start.items()}

    def features(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        if mapped:
            return vmap(lambda w, x: functional_call(network, w, (x,)))(weights, x)
        return torch.stack([functional_call(network, {n: w[e] for n, w in weights.items()}, (x[e],)) for e in range(E)])

    inner = torch.autograd.grad((features(own, inputs[:, :1]) - 0.5).square().mean(dim=(1, 2)).sum(), list(own.values()), create_graph=True)
    moved = {n: w - 0.1 * g for (n, w), g in zip(own.items(), inner, strict=True)}
    return (features(moved, inputs[:, 1:]) - 0.2).square().mean()


@each_kind
def test_the_gradient_of_an_inner_step_is_that_of_central_differences(kind: str) -> None:
    network, inputs = small(kind)
    start = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    found = torch.autograd.grad(meta_loss(network, start, inputs, mapped=True), list(start.values()))
    looped = torch.autograd.grad(meta_loss(network, start, inputs, mapped=False), list(start.values()))
    for a, b in zip(found, looped, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    g = torch.Generator().manual_seed(2)
    way = {n: torch.randn(w.shape, generator=g, dtype=w.dtype) for n, w in start.items()}
    step = 1e-6 / sum(float(v.square().sum()) for v in way.values()) ** 0.5
    ends = [
        meta_loss(network, {n: (w + s * step * way[n]).detach().requires_grad_() for n, w in start.items()}, inputs, mapped=True)
        for s in (1, -1)
    ]
    slope = sum(float((f * v).sum()) for f, v in zip(found, way.values(), strict=True))
    assert slope == pytest.approx(float((ends[0] - ends[1]).detach()) / (2 * step), rel=2e-4)


def test_dropblock_is_off_without_noise_and_a_function_of_the_row() -> None:
    backbone = loaded("resnet12,size=48,dropblock=0.2,grey=true")
    g = torch.Generator().manual_seed(0)
    images, noise = torch.randn(3, 1, 48, 48, generator=g), torch.tensor([5, -(2**62), 5])
    plain = backbone.forward(backbone.start(), images)
    assert torch.equal(plain, loaded("resnet12,size=48,grey=true").forward(backbone.start(), images))
    dropped = backbone.forward(backbone.start(), images, noise=noise)
    assert not torch.allclose(dropped, plain, rtol=0.05)
    alone = backbone.forward(backbone.start(), images[1:2], noise=noise[1:2])
    torch.testing.assert_close(dropped[1:2], alone, rtol=1e-4, atol=1e-5)
    other = backbone.forward(backbone.start(), images[1:2], noise=noise[:1])
    assert not torch.allclose(alone, other, rtol=0.05)


def test_dropblock_drops_blocks_at_its_rate_and_keeps_the_mean() -> None:
    features = torch.ones(200, 8, 10, 10)
    found = drop_blocks(features, torch.arange(200), 0.1, layer=2)
    zero = found == 0
    assert 0.06 < float(zero.float().mean()) < 0.10  # blocks overlap and keep off the border: the paper's rate is nominal
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), torch.ones(200))
    squares = nn.functional.max_pool2d(-zero.float(), 5, stride=1)  # -1 where a whole 5 x 5 square is zero
    covered = nn.functional.max_pool2d(nn.functional.pad((squares == -1).float(), [4] * 4), 5, stride=1)
    assert torch.equal(covered.bool(), zero)  # nothing but whole squares
    assert torch.equal(drop_blocks(features[:2], torch.arange(2), 0.0, layer=2), features[:2])
    small_map = drop_blocks(torch.ones(400, 4, 2, 2), torch.arange(400), 0.25, layer=3)
    assert 0.2 < float((small_map == 0).float().mean()) < 0.3  # a block as wide as the map drops whole channels


def test_noise_is_that_of_keys() -> None:
    keys = [Key(12345), Key(2**64 - 7)]
    as_signed = torch.tensor([k.value - (1 << 64) if k.value >> 63 else k.value for k in keys])
    theirs = np.stack([k.uniform(np.arange(50, dtype=np.uint64)) for k in keys])
    np.testing.assert_allclose(_uniform(as_signed, 50).numpy(), theirs, atol=2.0**-24)


def test_dropblock_acts_in_augmented_views_alone() -> None:
    backbone = loaded("resnet12,size=16,dropblock=0.5")
    plain = Augment(crop=None, flip=False)
    space, rows = image_space(), np.array([[0, 3, 5]])
    start = backbone.start()
    seen = backbone.embed(start, space, rows, plain, Key(1))
    assert not torch.allclose(seen, backbone.embed(start, space, rows))
    torch.testing.assert_close(seen[:, 1:], backbone.embed(start, space, rows[:, 1:], plain, Key(1)))  # a row's noise is its own
    assert not torch.allclose(seen, backbone.embed(start, space, rows, plain, Key(2)))
    without = loaded("resnet12,size=16")
    torch.testing.assert_close(without.embed(start, space, rows, plain, Key(1)), backbone.embed(start, space, rows))


class Tied(nn.Module):
    """Two names for one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, vectors: Tensor) -> Tensor:
        return self.second(self.first(vectors))  # type: ignore[no-any-return]


def test_tied_weights_move_once_and_together() -> None:
    mlp = loaded("mlp,inputs=3,width=3")
    network = Tied().eval()
    names = tuple(name for name, _ in network.named_parameters())
    backbone = replace(mlp, network=network, groups=(("all", names),))
    assert set(backbone.start()) == set(names)
    doubled = {name: 2 * tensor for name, tensor in backbone.start().items()}
    x = torch.randn(2, 3)
    hidden = x @ doubled["first.weight"].T + doubled["first.bias"]
    torch.testing.assert_close(backbone.forward(doubled, x), hidden @ doubled["first.weight"].T + doubled["second.bias"])
