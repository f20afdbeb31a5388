"""BatchNorm statistics that fit other weights: they are estimated again from given batches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError


def reestimated(backbone: Backbone, weights: Mapping[str, Tensor], batches: Iterable[Any]) -> dict[str, Tensor]:
    """The weights with the running means and variances of every BatchNorm layer estimated again; all other tensors are the same.

    `batches`: prepared inputs (`backbone.preparation.batch`), the same ones for every network that is compared. Each layer normalises by
    the statistics of the batch, as in training, and its estimate is the mean over batches of these statistics (so batches of one size, 32
    rows or more). Weights of a network without BatchNorm are given back as they are. Raises InputError without a batch where there is
    BatchNorm.
    """
    network = copy.deepcopy(backbone.network)
    own = {n: t for n, t in weights.items() if n in network.state_dict()}
    network.load_state_dict(own, strict=False)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats}
    if not layers:
        return dict(weights)
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        layer.train()
    seen = 0
    with torch.no_grad():
        for batch in batches:
            network(batch.to(backbone.machine.device) if isinstance(batch, Tensor) else batch)
            seen += 1
    if not seen:
        raise InputError("BatchNorm statistics are estimated from rows: expected at least one batch of inputs, found none.")
    found = {f"{n}.{part}": getattr(m, part) for n, m in layers.items() for part in ("running_mean", "running_var")}
    return {n: found[n].to(t) if n in found else t for n, t in weights.items()}
