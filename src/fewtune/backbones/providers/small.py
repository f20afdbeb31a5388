"""Small networks for the classic few-shot settings, trained from scratch: `conv4`, `resnet12`, and `mlp` for vectors.

Every network is a pure function of named weights: GroupNorm instead of BatchNorm (no statistics to keep or to mix between rows), nothing
in place, nothing random inside. So a row has the same features in any batch, each episode can have its own weights under vmap, and
gradients can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, final

from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d, relu

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import group_names
from fewtune.backbones.preparation import ImagePreparation, VectorPreparation, squashed
from fewtune.backbones.providers.dropblock import drop_blocks
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.seeded import seeded
from fewtune.backbones.weights import fit_weights
from fewtune.errors import InputError
from fewtune.machine import Machine

Made: TypeAlias = tuple[Callable[[], nn.Module], ImagePreparation | VectorPreparation, int, str]

_SMALLEST = 16  # pixels: one is left after four poolings
_WIDTHS = (64, 160, 320, 640)


def load_small(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """`conv4[,size=28][,width=64][,groups=1][,grey=false][,signed=false]`,
    `resnet12[,size=84][,groups=8][,grey=false][,pooling=mean][,dropblock=0]`, `mlp[,inputs=1][,width=40][,depth=2]`.

    Images are prepared as for `pixels`: squashed to size x size, values in [-0.5, 0.5]. Weights are random (a function of the structure and
    of `seed=0`) or come from a file. Features: for conv4, the flattened output of the last block (width channels x floor(size / 16)^2
    places; 64 at 28 pixels, 1,600 at 84); for resnet12, its mean over places (640; `pooling=flat` keeps the places, 16,000 at 84 pixels);
    for mlp, the last hidden layer. Raises InputError for options or weights that do not fit.
    """
    make, preparation, width, structure = _MAKERS[name.provider](name)
    seed = name.options.get("seed", "0")
    if not seed.isdecimal():
        raise InputError(f"{name.full}: expected a whole number for seed, found {seed!r}.")
    with seeded(f"{structure} seed={int(seed)}"):
        network = make().eval()
    source: Mapping[str, str] = {"weights": "random"} if weights is None else fit_weights(network, weights)
    groups = group_names(parameter for parameter, _ in network.named_parameters())
    noisy = isinstance(network, ResNet12) and network.dropblock > 0
    return Backbone(name.full, network, preparation, width, groups, machine, source, structure, noisy=noisy)


@final
class Conv4(nn.Module):
    """Four times: 3x3 convolution, GroupNorm, ReLU, 2x2 max pooling. Images [B, C, H, W] to features [B, width x places].

    Reference: Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016. Departs: GroupNorm instead of BatchNorm, of one
    group by default: on Omniglot (ProtoNet, 40 s) one group is about a point better than 8, and 11 to 23 points better than one for each
    channel. `signed` leaves out the last ReLU, so that features can be negative.
    """

    def __init__(self, channels: int, width: int, groups: int, *, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.blocks = nn.ModuleList(_Conv(channels if i == 0 else width, width, 3, groups) for i in range(4))

    def forward(self, images: Tensor) -> Tensor:
        *lower, last = self.blocks
        for block in lower:
            images = max_pool2d(relu(block(images)), 2)
        images = last(images)
        return max_pool2d(images if self.signed else relu(images), 2).flatten(1)


@final
class ResNet12(nn.Module):
    """Four residual blocks of `widths` channels, each halving the sides. Images [B, C, H, W] to features [B, 640].

    With `noise` [B], one int64 for each row, and a rate above 0, DropBlock is applied after the last two blocks; without noise, it does
    nothing. Augmented views provide the noise.

    Reference: Lee et al., "Meta-learning with differentiable convex optimization" (MetaOptNet), CVPR 2019. Departs: GroupNorm instead of
    BatchNorm; a constant DropBlock rate (theirs rises over 40,000 steps); the mean over places by default (Wang et al.).
    """

    def __init__(self, channels: int, groups: int, pooling: str, dropblock: float, widths: tuple[int, ...] = _WIDTHS) -> None:
        super().__init__()
        self.pooling, self.dropblock = pooling, dropblock
        inputs = (channels, *widths[:-1])
        self.blocks = nn.ModuleList(_Residual(i, o, groups) for i, o in zip(inputs, widths, strict=True))

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        for i, block in enumerate(self.blocks):
            images = block(images)
            if noise is not None and self.dropblock and i >= 2:
                images = drop_blocks(images, noise, self.dropblock, layer=i)
        return images.mean(dim=(2, 3)) if self.pooling == "mean" else images.flatten(1)


@final
class Mlp(nn.Module):
    """`depth` times: linear layer, ReLU. Vectors [B, inputs] to features [B, width].

    Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning", ICML 2017 (two layers of 40 for sinusoid regression).
    """

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.ModuleList(nn.Linear(inputs if i == 0 else width, width) for i in range(depth))

    def forward(self, vectors: Tensor) -> Tensor:
        if vectors.shape[-1] != self.inputs:
            raise InputError(f"mlp takes vectors of {self.inputs} numbers, found {vectors.shape[-1]}: say mlp,inputs={vectors.shape[-1]}.")
        for layer in self.layers:
            vectors = relu(layer(vectors))
        return vectors


@final
class _Conv(nn.Module):
    """A convolution without bias, then GroupNorm with scale and shift."""

    def __init__(self, inputs: int, outputs: int, size: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.GroupNorm(groups, outputs)

    def forward(self, images: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(images))
        return normed


@final
class _Residual(nn.Module):
    """Three 3x3 convolutions, plus a 1x1 convolution of the input, then leaky ReLU of 0.1 and 2x2 max pooling."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Conv(inputs if i == 0 else outputs, outputs, 3, groups) for i in range(3))
        self.shortcut = _Conv(inputs, outputs, 1, groups)

    def forward(self, images: Tensor) -> Tensor:
        first, second, third = self.convs
        inner = third(leaky_relu(second(leaky_relu(first(images), 0.1)), 0.1))
        return max_pool2d(leaky_relu(inner + self.shortcut(images), 0.1), 2)


def _images(name: Name, size: int) -> tuple[ImagePreparation, int]:
    """The same preparation as for `pixels`, and the number of channels."""
    size, grey = name.integer("size", size), name.flag("grey", False)
    channels = 1 if grey else 3
    if size < _SMALLEST:
        raise InputError(f"{name.full}: expected a size of at least {_SMALLEST} pixels, found {size}.")
    return squashed(size, grey=grey), channels


def _conv4(name: Name) -> Made:
    name.check(("size", "width", "groups", "grey", "signed", "seed"))
    preparation, channels = _images(name, 28)
    width = name.integer("width", 64)
    groups, signed = _groups(name, 1, width), name.flag("signed", False)
    features = width * (preparation.height // 16) ** 2
    structure = f"conv4 channels={channels} width={width} groups={groups}" + (" signed" if signed else "")
    return lambda: Conv4(channels, width, groups, signed=signed), preparation, features, structure


def _resnet12(name: Name) -> Made:
    name.check(("size", "groups", "grey", "pooling", "dropblock", "seed"))
    preparation, channels = _images(name, 84)
    pooling, groups = name.choice("pooling", ("mean", "flat"), "mean"), _groups(name, 8, 32)
    rate = name.numbers("dropblock", (0.0,))[0]
    if not 0 <= rate < 1:
        raise InputError(f"{name.full}: expected a share of at least 0 and below 1 for dropblock, found {rate:g}.")
    features = _WIDTHS[-1] * (1 if pooling == "mean" else (preparation.height // 16) ** 2)
    structure = f"resnet12 channels={channels} pooling={pooling} groups={groups}"  # dropblock does not change features without noise
    return lambda: ResNet12(channels, groups, pooling, rate), preparation, features, structure


def _groups(name: Name, default: int, channels: int) -> int:
    """The number of groups of every GroupNorm; it must divide the number of channels."""
    groups = name.integer("groups", default)
    if channels % groups:
        raise InputError(f"{name.full}: expected a number of groups that divides {channels} channels, found {groups}.")
    return groups


def _mlp(name: Name) -> Made:
    name.check(("inputs", "width", "depth", "seed"))
    inputs, width, depth = name.integer("inputs", 1), name.integer("width", 40), name.integer("depth", 2)
    return lambda: Mlp(inputs, width, depth), VectorPreparation(), width, f"mlp inputs={inputs} width={width} depth={depth}"


_MAKERS: Mapping[str, Callable[[Name], Made]] = {"conv4": _conv4, "resnet12": _resnet12, "mlp": _mlp}
