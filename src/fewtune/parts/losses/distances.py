"""Losses on weights: how far the episodes' own weights are from those they started from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.queries import widened


@final
@dataclass(frozen=True, kw_only=True)
class Displacement:
    """strength / 2 x sum over names of ||theta - stop(theta'_e)||^2, theta the shared and theta'_e the episode's own weights.

    The gradient for theta is strength x (theta - theta'_e): an outer step of plain SGD at rate r with strength 1 moves theta by
    r x the mean of (theta'_e - theta), which is Reptile; with strength lambda, and Anchor(strength=lambda) within, MinibatchProx. Names
    that an episode has moved and that have no shared weights (a head that starts at zero) are left out.

    Reference: Nichol, Achiam, Schulman, "On first-order meta-learning algorithms", 2018 (Reptile); Zhou et al., "Efficient meta learning
    via minibatch proximal update", NeurIPS 2019 (Meta-MinibatchProx).
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        _check(self.strength)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        return self.strength / 2 * _squared_distance(outcome, "Displacement", stop_own=True)


@final
@dataclass(frozen=True, kw_only=True)
class Anchor:
    """strength / 2 x sum over names of ||theta'_e - stop(theta)||^2, theta the shared and theta'_e the episode's own weights.

    Holds adapted weights near their start: L2-SP, the proximal term of iMAML and MinibatchProx. In a loss on support rows theta is what
    the episode began with, in every phase of an `Adapt` (a head that begins anew is held near its own start); in a source phase, what
    that phase began with. In a loss on the query of episodes that have adapted, moved names without shared weights are free.

    `stop`: theta is a constant. With False the gradient for theta, -strength x (theta'_e - theta), is kept. The inner step, which
    differentiates for theta'_e alone, is the same either way; but the exact derivative of unrolled inner steps, as central differences
    find it, asks for stop=False. `by_shots`: the strength is divided by the rows of a class, on average over the classes of the query.

    Reference: Li, Grandvalet, Davoine, "Explicit inductive bias for transfer learning with convolutional networks", ICML 2018 (L2-SP);
    Rajeswaran et al., "Meta-learning with implicit gradients", NeurIPS 2019 (iMAML, lambda = 2).
    """

    strength: float = 1.0
    stop: bool = True
    by_shots: bool = False

    def __post_init__(self) -> None:
        _check(self.strength)

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        distance = self.strength / 2 * _squared_distance(outcome, "Anchor", stop_shared=self.stop)
        return distance / _shots(outcome).to(distance) if self.by_shots else distance


def _squared_distance(outcome: Outcome, loss: str, *, stop_own: bool = False, stop_shared: bool = False) -> Float[Tensor, " E"]:
    names = [name for name in outcome.own if name in outcome.shared]
    if not names:
        raise InputError(f"{loss} compares shared weights with those that episodes have moved, but none of the shared weights has moved.")
    parts = []
    for name in names:
        own, shared = outcome.own[name], outcome.shared[name]
        assert own.shape[1:] == shared.shape, name
        own, shared = own.detach() if stop_own else own, shared.detach() if stop_shared else shared
        parts.append((widened(own) - widened(shared)).square().reshape(len(own), -1).sum(dim=1))
    return torch.stack(parts).sum(dim=0)


def _shots(outcome: Outcome) -> Float[Tensor, " E"]:
    """The rows of a class, on average over the classes of each episode; 1 where there is no row."""
    rows, classes = (outcome.episodes.query >= 0).sum(dim=1), (outcome.episodes.classes >= 0).sum(dim=1)
    return torch.where(rows > 0, rows / classes.clamp_min(1), 1.0)


def _check(strength: float) -> None:
    if not 0 <= strength < float("inf"):
        raise InputError(f"the strength must be a number of at least 0, found {strength}.")
