"""Your own `torch.nn.Module` as a network: it is copied, tried on made-up inputs, and refused if its outputs are not features."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fewtune.backbones.groups import Groups, group_names
from fewtune.backbones.passes import Passes, placed
from fewtune.backbones.preparation import ImagePreparation, Prepared, VectorPreparation
from fewtune.data.items import Item
from fewtune.errors import InputError
from fewtune.machine import Machine

OWN = "module"  # a backbone of this kind is called "module:CLASS"
PROBE = "answer to made-up inputs"
_SHOWN = 8  # how many numbers of a probe are recorded
_ALIKE = 1e-3  # relative to the largest feature: the allowed difference of a row in another batch, or on another machine
_TEXT = "a photo of a red cat on the mat"

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class Images(TypedDict, total=False):
    """How your own network's images are prepared. Values in [0, 1] become (value - `mean`) / `std`; by default they stay in [0, 1]."""

    mean: float | Sequence[float]
    """One number, or one for each channel. With one channel, `mean=(0.5,)`, images are grey: [B, 1, H, W]."""
    std: float | Sequence[float]
    """Above 0; one number, or one for each channel."""
    interpolation: Interpolation
    """How images are resized; "bicubic" by default."""
    crop: float
    """In (0, 1], 1 by default. The short side is resized to `size / crop`, and the middle is cut out."""


@final
@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A module that can be a backbone: what it is called, its copy on the machine, how inputs are prepared, and what it was tried on."""

    name: str
    network: nn.Module
    preparation: Prepared
    width: int
    groups: Groups
    source: dict[str, str]
    structure: str


def own_network(module: nn.Module, machine: Machine, preparation: Prepared, inputs: int | None) -> OwnNetwork:
    """The module as `Backbone.of` documents it, on a resolved machine."""
    network = copied(module)
    called = type(module).__name__
    answer = probed(network, preparation, inputs, called)
    return OwnNetwork(
        name=f"{OWN}:{called}",
        network=placed(network, machine, images=preparation.modality == "image"),
        preparation=preparation,
        width=answer.shape[1],
        groups=group_names(name for name, _ in network.named_parameters()),
        source={"weights": "given in Python", PROBE: probe_text(answer)},
        structure=structure_of(network),
    )


def copied(module: nn.Module) -> nn.Module:
    """A copy in float32 and eval mode, without gradients. The module itself is not changed, and training it later does not change the copy.

    Raises InputError for anything but a module, for weights without values, and if it cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"expected a torch.nn.Module that maps a batch to features [B, D], found a {type(module).__name__}.")
    called = type(module).__name__
    if any(is_lazy(tensor) or tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise InputError(f"{called} has weights without values: load its weights, or run it once, before it becomes a backbone.")
    try:
        made = copy.deepcopy(module)
    except Exception as problem:  # a module may hold anything: locks, files, tensors of a graph
        raise InputError(f"{called} cannot be copied ({problem}): remove the parts that copy.deepcopy cannot copy.") from None
    if any(not isinstance(value, Tensor) for value in made.state_dict().values()):
        raise InputError(f"{called} keeps more than tensors in its state_dict (get_extra_state): expected only tensors.")
    return made.float().eval().requires_grad_(False)


def image_preparation(
    size: int | tuple[int, int],
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    interpolation: Interpolation = "bicubic",
    crop: float = 1.0,
) -> ImagePreparation:
    """The preparation of images that `Images` documents. Raises InputError for numbers out of range."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise InputError(f"expected a size of one whole number or (height, width), found {size!r}.")
    if not 0 < crop <= 1:
        raise InputError(f"expected crop above 0 and at most 1, found {crop:g}.")
    means, stds = (tuple(map(float, v if isinstance(v, Sequence) else (v,) * 3)) for v in (mean, std))
    if len(means) != len(stds) or len(means) not in (1, 3) or not all(map(math.isfinite, means + stds)):
        raise InputError(f"expected mean and std of 3 channels, or of 1 for grey images, found {mean!r} and {std!r}.")
    known = ("nearest", "bilinear", "bicubic", "lanczos")
    if interpolation not in known:
        raise InputError(f"unknown interpolation {interpolation!r}: expected one of {', '.join(known)}.")
    short = math.floor(min(sides) / crop + 1e-6)
    return ImagePreparation(
        height=sides[0], width=sides[1], short=short, mean=means, std=stds, interpolation=interpolation, grey=len(means) == 1
    )


def reads(size: int | tuple[int, int] | None, inputs: int | None, preparation: Prepared | None, images: Images) -> Prepared:
    """The one preparation that `Backbone.of` was given. Raises InputError if none or several were given."""
    if strange := next((name for name in images if name not in Images.__annotations__), None):
        raise TypeError(f"Backbone.of() got an unexpected keyword argument {strange!r}")
    if images and size is None:
        raise InputError(f"{next(iter(images))} is about images: say their size= too.")
    image = None if size is None else image_preparation(size, **images)
    if preparation is not None and not isinstance(preparation, Prepared):
        raise InputError(
            f"expected a preparation with modality, text, prepare and batch (as fewtune.backbones.preparation has), found a "
            f"{type(preparation).__name__}."
        )
    vectors = inputs is not None and not (preparation is not None and preparation.modality == "vector")
    given = [p for p in (preparation, image, VectorPreparation() if vectors else None) if p is not None]
    if len(given) != 1:
        raise InputError("say what the module reads, with one of: size= (images), inputs= (vectors), or preparation= (anything else).")
    if inputs is not None and (not isinstance(inputs, int) or inputs < 1):
        raise InputError(f"expected inputs to be the width of a vector, a whole number of at least 1, found {inputs!r}.")
    return given[0]


def probed(network: nn.Module, preparation: Prepared, inputs: int | None, called: str) -> Tensor:
    """The features [2, D] of two made-up inputs, in float32 on the CPU.

    Raises InputError if the network cannot read them, returns anything but finite numbers [B, D], or returns different features for the
    same row in another batch.
    """
    items = [preparation.prepare(item) for item in _made_up(preparation, inputs)]
    passes = Passes(network, Machine(device=_device(network), dtype="float32", channels_last=False))
    with torch.inference_mode():
        both = _tried(passes, preparation.batch(items), called)
        alone = _tried(passes, preparation.batch(items[:1]), called)
    if not isinstance(both, Tensor) or both.ndim != 2 or len(both) != 2 or not both.shape[1] or not both.is_floating_point():
        found = f"{both.dtype} {list(both.shape)}" if isinstance(both, Tensor) else f"a {type(both).__name__}"
        raise InputError(
            f"{called} returns {found} for a batch of 2: expected features, floats [2, D] (wrap the module, or flatten its output)."
        )
    if not bool(both.isfinite().all()):
        raise InputError(f"{called} returns NaN or infinite features for made-up inputs: check its weights, and mean and std.")
    if alone.shape != both[:1].shape or float((alone - both[:1]).abs().max()) > _ALIKE * float(both.abs().max()):
        raise InputError(
            f"{called} returns different features for a row in another batch, or at the next call: expected a function of each row "
            "alone, without batch statistics or randomness."
        )
    return both.cpu()


def is_own(name: str) -> bool:
    """Whether a backbone with this name was made from a module given in Python, so that it cannot be loaded by name."""
    return name.startswith(f"{OWN}:")


def structure_of(network: nn.Module) -> str:
    """The structure of a network: the class and the settings of each of its modules, as in `repr`, and the shapes of its tensors."""
    listed = [f"{name}:{type(part).__name__}({part.extra_repr()})" for name, part in network.named_modules()]
    shapes = [f"{name}{list(tensor.shape)}" for name, tensor in network.state_dict().items()]
    return f"{OWN} {' '.join(listed)} {' '.join(shapes)}"


def probe_text(features: Tensor) -> str:
    """The first numbers of a probe, exactly."""
    return " ".join(repr(float(number)) for number in features.flatten()[:_SHOWN])


def answers_alike(recorded: str, given: str) -> bool:
    """Whether two probes come from the same function, up to rounding on two machines; True if one is empty."""
    if not recorded or not given:
        return True
    try:
        one, other = ([float(number) for number in said.split()] for said in (recorded, given))
    except ValueError:
        return False
    most = max(map(abs, one), default=0.0)
    return len(one) == len(other) and all(abs(a - b) <= _ALIKE * most for a, b in zip(one, other, strict=True))


def _device(network: nn.Module) -> str:
    return next((str(tensor.device) for tensor in (*network.parameters(), *network.buffers())), "cpu")


def _tried(passes: Passes, batch: Any, called: str) -> Any:
    try:
        return passes.network(_on(batch, passes.machine.device))
    except Exception as problem:  # other people's code: it may raise anything
        said = (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")
        shape = list(batch.shape) if isinstance(batch, Tensor) else type(batch).__name__
        raise InputError(f"{called} cannot read a batch {shape} ({said}): give the size or the inputs that it was made for.") from None


def _on(batch: Any, device: str) -> Any:
    return {name: tensor.to(device) for name, tensor in batch.items()} if isinstance(batch, dict) else batch.to(device)


def _made_up(preparation: Prepared, inputs: int | None) -> list[Item]:
    """Two inputs that differ, the same on every machine."""
    if preparation.modality == "text":
        return [_TEXT, _TEXT[:16]]
    if preparation.modality == "vector":
        if inputs is None:
            raise InputError("the width of the vectors that the module reads is missing: say inputs=N.")
        place = np.arange(2 * inputs, dtype=np.float64).reshape(2, inputs)
        return list(np.sin(place + 1).astype(np.float32))
    y, x = np.mgrid[0:64, 0:64]
    waves = [[np.sin((x * a + y * b) / 9.0 + c) for a, b, c in ((1, 2, k), (2, 1, k + 1), (1, 1, k + 2))] for k in (0, 3)]
    return [Image.fromarray((127.5 + 127.5 * np.stack(w, -1)).astype(np.uint8)) for w in waves]
