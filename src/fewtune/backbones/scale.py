"""The number that an image-text model multiplies cosines with, kept among its weights."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from fewtune.backbones.backbone import Backbone

_NAME = "logit_scale"


def with_scale(backbone: Backbone, scale: float) -> Backbone:
    """The same model with another scale of its cosines, > 0. A model whose weights hold none stays as it is: nothing would keep it."""
    start = backbone.start()
    name = next((name for name in start if name.rpartition(".")[2] == _NAME), None)
    if name is None:
        return backbone
    return replace(backbone.with_weights({name: torch.full_like(start[name], math.log(scale))}), logit_scale=scale)
