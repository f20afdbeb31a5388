"""Utilisation: how much each task uses each expert of a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from fewtune.parts.heads.head import Parameters
from fewtune.parts.sharing.mmoe import Mmoe, gates

POLARISED = 0.9


@final
@dataclass(frozen=True, eq=False)
class Utilisation:
    """`share` [T, experts]: the mean over rows of what a task's gate gives to each expert; rows sum to 1."""

    share: Float[Tensor, "T experts"]

    @property
    def entropy(self) -> Float[Tensor, " T"]:
        """Of the shares of each task, in nats: log(experts) where it uses all alike, 0 where it uses one."""
        return -(self.share * self.share.clamp_min(1e-30).log()).sum(-1)

    @property
    def polarised(self) -> Bool[Tensor, " T"]:
        """Whether a task gives more than 0.9 to one expert."""
        return self.share.amax(-1) > POLARISED


def utilisation(head: Mmoe, parameters: Parameters, features: Float[Tensor, "N D"]) -> Utilisation:
    """The use of the experts on these rows.

    Reference: Zhao et al., "Recommending what video to watch next", RecSys 2019, section 5.3 (the plot of expert utilisation).
    """
    return Utilisation(gates(head, parameters, features).mean(1))
