"""Rates by what the gradients say of each layer: how `Relative` reads them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fewtune.parts.optimizers import Relative

Moments = Mapping[str, tuple[Tensor, Tensor]]  # by name: running means of the gradient and of its square


def shares(
    spec: Relative, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None], moments: Moments | None = None
) -> dict[str, float]:
    """The factor of the rate of every name with a gradient, 0 to 1; the same for all tensors of a layer.

    A layer is what shares the name before the last dot. "norm": |g| / |theta| of the layer, over the largest of all. Layers whose weights
    are all 0 (a new head) have 1 and are not compared. "snr": |mean g|^2 / (mean |g|^2 - |mean g|^2) by the optimizer's running `moments`,
    over the largest; 1 before the first step. Below `spec.threshold` the factor is 0.
    """
    layers: dict[str, list[str]] = {}
    for name, gradient in gradients.items():
        if gradient is not None:
            layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    found = {}
    for layer, names in layers.items():
        top, bottom = _norms(names, weights, gradients) if spec.by == "norm" else _signal(names, moments or {})
        if bottom > 0:
            found[layer] = top / bottom
    largest = max(found.values(), default=0.0)
    known = {layer: value / largest if largest > 0 else 1.0 for layer, value in found.items()}
    return {n: _cut(known.get(layer, 1.0), spec.threshold) for layer, names in layers.items() for n in names}


def _norms(names: list[str], weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> tuple[float, float]:
    squares = [(gradients[n], weights[n]) for n in names]
    top = torch.stack([g.detach().square().sum() for g, _ in squares if g is not None]).sum().sqrt()
    bottom = torch.stack([w.detach().square().sum() for _, w in squares]).sum().sqrt()
    return float(top), float(bottom)


def _signal(names: list[str], moments: Moments) -> tuple[float, float]:
    """Of the running means of the gradient and of its square: the square of the first, and the variance that is left."""
    mine = [moments[n] for n in names if n in moments]
    if not mine:
        return 0.0, 0.0
    signal = float(torch.stack([mean.detach().double().square().sum() for mean, _ in mine]).sum())
    power = float(torch.stack([square.detach().double().sum() for _, square in mine]).sum())
    return signal, max(power - signal, 1e-12 * power)


def _cut(value: float, threshold: float) -> float:
    return value if value >= threshold else 0.0
