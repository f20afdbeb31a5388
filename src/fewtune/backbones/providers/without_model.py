"""Backbones without a model: pixels, and embeddings that are given directly."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.preparation import VectorPreparation, squashed
from fewtune.backbones.providers.names import Name
from fewtune.machine import Machine


@final
class Flat(nn.Module):
    """Inputs [B, ...] as features [B, D]."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)


def load_pixels(name: Name, machine: Machine) -> Backbone:
    """`pixels[,size=32][,grey=true]`: the image squashed to size x size, pixel values in [-0.5, 0.5] as features. A baseline."""
    name.check(("size", "grey"))
    size, grey = name.integer("size", 32), name.flag("grey", False)
    channels = 1 if grey else 3
    preparation = squashed(size, grey=grey)
    return Backbone(name.full, Flat().eval(), preparation, channels * size * size, (), machine, {"weights": "none"}, "pixels")


def load_precomputed(name: Name, machine: Machine) -> Backbone:
    """`precomputed`: vectors are the features. Their width is known when they are read (0 until then)."""
    name.check(())
    return Backbone(name.full, Flat().eval(), VectorPreparation(), 0, (), machine, {"weights": "none"}, "precomputed")
