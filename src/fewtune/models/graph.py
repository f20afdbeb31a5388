"""A saved model as one network, from prepared inputs to probabilities: what is written for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.models.bundle import Bundle
from fewtune.models.pixels_graph import Pixels
from fewtune.recipes.language import read_method

PIXELS = "pixels_0_255"
TOKENS = ("input_ids", "attention_mask")


@final
class PixelInputs(nn.Module):
    """Pixels uint8 [N, H, W, 3] to what a network of images reads."""

    def __init__(self, preparation: ImagePreparation) -> None:
        super().__init__()
        self.sized = Pixels(preparation)
        self.register_buffer("mean", torch.tensor(preparation.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preparation.std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        scaled: Tensor = (self.sized(pixels) / 255.0 - self.get_buffer("mean")) / self.get_buffer("std")
        return scaled


@final
class Answering(nn.Module):
    """Pixels uint8 [N, H, W, 3], tokens or vectors to calibrated probabilities [N, K] in float32.

    Pictures without a value above 1 get NaN: they were scaled to 0..1 by mistake, or are black.
    """

    def __init__(self, bundle: Bundle, backbone: Backbone) -> None:
        super().__init__()
        self.network, self.head = backbone.network, read_method(bundle.method).head
        self.temperature = bundle.temperature
        self._names = [("state", n) for n in bundle.state] + [("parameter", n) for n in bundle.parameters]
        for place, tensor in enumerate((*bundle.state.values(), *bundle.parameters.values())):
            self.register_buffer(f"held{place}", tensor.detach().clone())
        preparation = backbone.preparation
        self.image = isinstance(preparation, ImagePreparation)
        self.text = isinstance(preparation, TextPreparation)
        if isinstance(preparation, ImagePreparation):
            self.pixels = PixelInputs(preparation)

    def forward(self, *inputs: Tensor) -> Tensor:
        given: Any = inputs[0]
        if self.image:
            given = self.pixels(given)
        elif self.text:
            given = dict(zip(TOKENS, inputs, strict=True))
        held = {key: self.get_buffer(f"held{place}") for place, key in enumerate(self._names)}
        state, parameters = ({n: t for (kind, n), t in held.items() if kind == which} for which in ("state", "parameter"))
        logits: Tensor = self.head.score(state, self.network(given)[None], parameters)[0]
        answers = torch.softmax(logits / self.temperature, dim=-1)
        if self.image:
            seen = inputs[0].amax(dim=(1, 2, 3)) > 1
            answers = torch.where(seen[:, None], answers, float("nan"))
        return answers


@final
@dataclass(frozen=True, eq=False)
class Inputs:
    """What the graph takes: (name, kind, shape) each, "batch", "sequence", "height" and "width" standing for any number; and how they are
    made, in words.

    `longest`: the most tokens.
    """

    listed: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    how: str
    longest: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.listed)


def inputs_of(width: int, backbone: Backbone) -> Inputs:
    """What the graph of a model takes; `width`: of the backbone's features."""
    preparation = backbone.preparation
    if isinstance(preparation, ImagePreparation):
        return Inputs(((PIXELS, "uint8", ("batch", "height", "width", 3)),), _how(preparation))
    if isinstance(preparation, TextPreparation):
        listed = tuple((name, "int64", ("batch", "sequence")) for name in TOKENS)
        how = f"Texts are tokenised, cut to {preparation.max_length} tokens and padded to the longest of the batch (attention_mask 0)."
        return Inputs(listed, how, preparation.max_length)
    width = getattr(backbone.network, "inputs", width)
    return Inputs((("features", "float32", ("batch", int(width))),), "Embeddings as they are.")


def _how(p: ImagePreparation) -> str:
    """The preparation of images in words. All but the first sentence is in the graph."""
    colour = "made one channel of grey (ITU-R 601 luma), " if p.grey else ""
    if p.resize == "squash":
        wide = round(p.short * p.width / p.height)
        size = f"resized to {wide} x {p.short} pixels (width x height) whatever their shape"
    else:
        size = f"resized so that the short side has {p.short} pixels"
    cut = "" if p.resize == "squash" and p.short == p.height else f", the middle {p.width} x {p.height} (width x height) is cut out"
    return (
        "Give photos upright (EXIF), in RGB, values 0 to 255, channels last, of any size; photos in one batch have one size. The graph "
        f"does the rest: they are {colour}{size} ({p.interpolation}, antialiased, to the same bytes as Pillow){cut}, and normalised."
    )


def fed(backbone: Backbone, examples: Examples, rows: Integers) -> Mapping[str, np.ndarray[Any, Any]]:
    """Rows as the graph takes them, by input name. Photos are cut to the size that all of them have."""
    preparation = backbone.preparation
    space = RowSpace([examples])
    if isinstance(preparation, ImagePreparation):
        pictures = [np.asarray(space.fetch(int(row), size_hint=preparation.size_hint)) for row in rows]
        height, width = (min(picture.shape[axis] for picture in pictures) for axis in (0, 1))
        return {PIXELS: np.stack([picture[:height, :width] for picture in pictures])}
    prepared = [space.prepared(int(row), preparation) for row in rows]
    if isinstance(preparation, TextPreparation):
        tokens = preparation.batch(prepared)
        return {name: tokens[name].numpy() for name in TOKENS}
    return {"features": preparation.batch(prepared).numpy()}
