"""Margins at every group of a network: `layer_margins` with the rest of the network above each group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.transfer.depth import first_of, group_modules
from fewtune.transfer.margin import layer_margins


def group_margins(
    backbone: Backbone,
    weights: Mapping[str, Tensor],
    head: tuple[Float[Tensor, "K D"], Float[Tensor, " K"]],
    inputs: Any,
    labels: Int[Tensor, " N"],
) -> dict[str, Float[Tensor, " N"]]:
    """The margin of each row at the output of each group, over the mean norm of that output, so that scale alone does not count.

    `weights`: the backbone's; `head`: weight and bias of a linear head on its features. `inputs`: prepared rows [N, ...], few at a time,
    since K - 1 backward passes are taken for every group. To first order, as `layer_margins` says; below 0 where the row is wrong.
    """
    own = {n: t.detach() for n, t in weights.items()}
    found = {}
    for title, module in group_modules(backbone).items():
        given = _output(backbone, own, module, inputs)

        def above(activations: Tensor, module: nn.Module = module) -> Tensor:
            hook = module.register_forward_hook(lambda _module, _given, output: _replaced(output, activations))
            try:
                features: Tensor = torch.func.functional_call(backbone.network, own, (inputs,))
                return features @ head[0].T + head[1]
            finally:
                hook.remove()

        size = given.flatten(1).norm(dim=1).mean().clamp_min(1e-12)
        found[title] = layer_margins(above, given, labels) / size
    return found


def _output(backbone: Backbone, weights: Mapping[str, Tensor], module: nn.Module, inputs: Any) -> Tensor:
    """What a module puts out; of several tensors (attention beside it) the first."""
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, _given, output: seen.append(first_of(output).detach()))
    try:
        with torch.no_grad():
            backbone.forward(weights, inputs)
    finally:
        hook.remove()
    return seen[0]


def _replaced(output: Any, activations: Tensor) -> Any:
    """The output of a module with other activations, what stands beside them as it is."""
    return (activations, *output[1:]) if isinstance(output, tuple | list) else activations
