"""What every head does with features: working precision, class means, one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.lengths import lengths
from fewtune.parts.heads.head import Parameters, State

ABSENT = -1e4  # the logit of a class without support where the mathematics says minus infinity: its probability is 0, its loss finite


def widen(features: Tensor) -> Tensor:
    """Half precisions as float32, the rest as it is: sums of squares of float16 features overflow at a norm of 256."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def exact(features: Tensor) -> Tensor:
    """The features in the precision that small systems are solved in: float64, or float32 where the device has no float64."""
    return features.float() if features.device.type == "mps" else features.double()


def prepared(support: Float[Tensor, "E S D"], known: Float[Tensor, "E S 1"], *, normalize: bool) -> Float[Tensor, "E S D"]:
    """Support features for an exact solution: zero in rows that are not known (1 or 0), unit vectors if wanted, wide last of all."""
    features = widen(support)
    known = known.to(features)
    return exact(features * (known / lengths(features) if normalize else known))


def class_means(
    features: Float[Tensor, "E S D"], members: Float[Tensor, "E S K"], weights: Float[Tensor, "E S K"]
) -> Float[Tensor, "E K D"]:
    """The weighted sum of each class's features over the number of its one-hot members; zero for a class without rows."""
    counts = members.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.bmm((weights / counts).mT, features)


def linear(state: State, query: Float[Tensor, "E Q D"], *, normalize: bool) -> Float[Tensor, "E Q K"]:
    """weight . query + bias, with `weight` [E, K, D] (as torch.nn.Linear has it) and `bias` [E, K] where the state has one.

    With `normalize`, queries count as unit vectors: the products are divided by their lengths, which saves a copy of the features.
    """
    dtype = query.dtype
    query = widen(query)
    logits = torch.bmm(query, state["weight"].to(query).mT)
    if normalize:
        logits = logits / lengths(query)
    if "bias" in state:
        logits = logits + state["bias"].to(query)[:, None, :]
    return logits.to(dtype)


@final
@dataclass(frozen=True, eq=False)
class LinearForm:
    """Logits scale x (weight . f + bias) of a query f, which counts as a unit vector where `normalize`; `state` as in `linear`."""

    state: State
    normalize: bool
    scale: Tensor | None = None

    def of(self, query: Float[Tensor, "E Q D"]) -> Float[Tensor, "E Q K"]:
        """The logits."""
        logits = linear(self.state, query, normalize=self.normalize)
        return logits if self.scale is None else self.scale.to(query) * logits


@runtime_checkable
class LinearHead(Protocol):
    """A head whose logits are linear in the query, but for its length: compiled kernels can label by it (`fused`)."""

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm: ...


def linear_score(self: LinearHead, state: State, query: Tensor, parameters: Parameters) -> Tensor:
    """`score` of such a head."""
    return self.as_linear(state, parameters).of(query)
