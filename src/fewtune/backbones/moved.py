"""A copy of a network with other weights; the original is not changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fewtune.errors import InputError

_SHOWN = 3


def moved_network(network: nn.Module, name: str, start: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `network` (called `name` in messages) in which the tensors of `weights` replace those of `start`.

    Other tensors are shared with the original, which never changes them. A tied weight is replaced everywhere. Dtypes, devices and layouts
    do not change. Raises InputError for an unknown name or a wrong shape.
    """
    if strange := [n for n in weights if n not in start]:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise InputError(f"{name} has no weights called {', '.join(strange[:_SHOWN])}{more}: expected names from its `start()`.")
    for n, tensor in weights.items():
        if tensor.shape != start[n].shape:
            raise InputError(f"the weight {n!r} of {name} has the shape {list(start[n].shape)}, found {list(tensor.shape)}.")
    named = network.state_dict(keep_vars=True)
    moving = {id(named[n]) for n in weights}
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers()) if id(tensor) not in moving}
    made = copy.deepcopy(network, dict(shared))  # tensors in the memo are not copied
    mine = made.state_dict(keep_vars=True)
    with torch.no_grad():
        for n, tensor in weights.items():
            mine[n].copy_(tensor)
    return made
