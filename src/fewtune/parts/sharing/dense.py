"""Dense layers of small networks over features: where they begin (by key), and how rows pass through them.

A layer called "trunk.0" is a weight [O, I] and a bias [O]. With copies (one a task, or one an expert) both have a leading number of copies.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fewtune.keys import Key
from fewtune.parts.heads.head import Parameters

Activation: TypeAlias = Literal["relu", "gelu"]


def layer(root: Key, part: str, inputs: int, outputs: int, *, copies: int = 0, apart: bool = False, gain: float = 2.0) -> Parameters:
    """The start of a layer: normal weights of variance gain / inputs, biases of zero.

    `copies`: so many copies of it, all with the same start, or with `apart` each with its own. Copy 0 begins as the layer without copies.
    Reference: He et al., "Delving deep into rectifiers", ICCV 2015 (gain 2 under ReLU).
    """

    def drawn(copy: int) -> Tensor:
        place = root.child(part, copy) if copy else root.child(part)
        return torch.randn(outputs, inputs, generator=place.torch_generator()) * math.sqrt(gain / inputs)

    weight = drawn(0)
    if copies:
        weight = torch.stack([drawn(copy) if apart else weight for copy in range(copies)])
    return {f"{part}.weight": weight, f"{part}.bias": torch.zeros(weight.shape[:-1])}


def layers(root: Key, inputs: int, width: int, depth: int, *, copies: int = 0, apart: bool = False, gain: float = 2.0) -> Parameters:
    """A trunk: the layers "trunk.0" to "trunk.<depth - 1>", each `width` wide."""
    made: Parameters = {}
    for number in range(depth):
        made |= layer(root, f"trunk.{number}", width if number else inputs, width, copies=copies, apart=apart, gain=gain)
    return made


def dense(own: Parameters, part: str, rows: Float[Tensor, "E Q I"], copy: Int[Tensor, " E"] | None = None) -> Float[Tensor, "E Q O"]:
    """Rows through a layer, or through the copy of it that each episode asks for."""
    weight, bias = own[f"{part}.weight"], own[f"{part}.bias"]
    if copy is None:
        return functional.linear(rows, weight, bias)
    return torch.baddbmm(bias[copy][:, None], rows, weight[copy].mT)


def dense_each(own: Parameters, part: str, rows: Float[Tensor, "C R I"]) -> Float[Tensor, "C R O"]:
    """Rows through a layer of C copies: rows[c] through copy c."""
    return torch.baddbmm(own[f"{part}.bias"][:, None], rows, own[f"{part}.weight"].mT)


def active(values: Tensor, activation: Activation) -> Tensor:
    return functional.relu(values) if activation == "relu" else functional.gelu(values)


def hidden(
    own: Parameters, rows: Float[Tensor, "E Q D"], depth: int, activation: Activation, copy: Int[Tensor, " E"] | None = None
) -> Float[Tensor, "E Q H"]:
    """Rows through the trunk, or through the copy of it that each episode asks for."""
    for number in range(depth):
        rows = active(dense(own, f"trunk.{number}", rows, copy), activation)
    return rows


def repeated(rows: Float[Tensor, "E Q D"], copies: int) -> Float[Tensor, "C R D"]:
    """The rows of all episodes, once for each copy."""
    return rows.reshape(1, -1, rows.shape[-1]).expand(copies, -1, -1)
