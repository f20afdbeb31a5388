"""New random projections in place of the model's own, as the authors' code has them for some of its methods."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch

from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError
from fewtune.keys import key

# the last matrix of each tower, as transformers, open_clip, pairs and `embedded` spell it
_PATTERNS = ("*projection", "*projection.weight", "*visual.proj", "*head.proj.weight", "*text.proj.weight")


def with_random_heads(backbone: Backbone, seed: int) -> Backbone:
    """The same model whose projections are random: normal with variance 1 / inputs, a function of the seed and the names.

    Raises InputError where no projection is known.
    """
    start = backbone.start()
    named = [(group, name) for group, names in backbone.groups for name in names if start[name].ndim == 2]
    found = [name for group, name in named if "projection" in group or any(fnmatchcase(name, pattern) for pattern in _PATTERNS)]
    if not found:
        raise InputError(f"backbone {backbone.name!r} has no projections that are known by name: leave out the new heads.")
    made = {}
    for name in found:
        weight = start[name]
        drawn = torch.randn(weight.shape, generator=key(seed, "new heads", name).torch_generator())
        made[name] = (drawn / math.sqrt(weight.shape[1])).to(weight)
    return backbone.with_weights(made)
