"""Batched multinomial logistic regression: truncated Newton, each step by conjugate gradients, episodes frozen as they converge.

Minimise over V [E, R, K] the sum over rows of the cross-entropy of F V plus 1/2 sum_rk ridge_r V_rk^2, for factors F [E, S, R]. Unpenalised
columns (an intercept) have ridge 0. Everything happens in the factor space, which is no larger than the support.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PRECISE = 1e-9  # wanted size of the gradient, relative to that of its penalty part
STEPS = 100
HALVINGS = 30


@final
@dataclass(frozen=True, eq=False)
class Fitting:
    """`factors` zero in padded rows; `members` one-hot labels, zero in padded rows; `classes`: which classes take part."""

    factors: Float[Tensor, "E S R"]
    members: Float[Tensor, "E S K"]
    classes: Bool[Tensor, "E 1 K"]
    ridge: Float[Tensor, "E R 1"]

    def with_penalty(self, times: float) -> Fitting:
        """The same problem with all penalties so many times as large."""
        return replace(self, ridge=self.ridge * times)

    def probabilities(self, V: Float[Tensor, "E R K"]) -> tuple[Tensor, Tensor]:
        """(probabilities [E, S, K], zero in padded rows; objective [E])."""
        logits = torch.bmm(self.factors, V).masked_fill(~self.classes, -torch.inf)
        logs = logits.log_softmax(dim=-1).masked_fill(~self.classes, 0.0)
        known = self.members.sum(dim=-1, keepdim=True)
        loss = -dot(self.members, logs) + 0.5 * dot(self.ridge * V, V)
        return logs.exp() * (known * self.classes), loss

    def gradient(self, V: Float[Tensor, "E R K"], P: Float[Tensor, "E S K"]) -> Float[Tensor, "E R K"]:
        return torch.bmm(self.factors.mT, P - self.members) + self.ridge * V

    def curvature(self, P: Float[Tensor, "E S K"], V: Float[Tensor, "E R K"]) -> Float[Tensor, "E R K"]:
        """Hessian at probabilities P, times V."""
        return torch.bmm(self.factors.mT, softened(P, torch.bmm(self.factors, V))) + self.ridge * V

    def diagonal(self, P: Float[Tensor, "E S K"]) -> Float[Tensor, "E R K"]:
        """The Hessian's diagonal; never zero."""
        diagonal = torch.bmm(self.factors.square().mT, P - P.square()) + self.ridge
        return diagonal.clamp_min(torch.finfo(P.dtype).eps)

    def levelled(self, V: Float[Tensor, "E R K"]) -> Float[Tensor, "E R K"]:
        """V less its mean over the classes: adding the same to every class changes no probability, and the penalty wants none of it."""
        taking_part = self.classes.to(V)
        return V - taking_part * (V.sum(dim=-1, keepdim=True) / taking_part.sum(dim=-1, keepdim=True))


def dot(a: Float[Tensor, "E R K"], b: Float[Tensor, "E R K"]) -> Float[Tensor, " E"]:
    """Inner product of each episode."""
    return (a * b).sum(dim=(1, 2))


def softened(P: Float[Tensor, "E S K"], U: Float[Tensor, "E S K"]) -> Float[Tensor, "E S K"]:
    """(diag(p) - p p^T) u for every row: how probabilities answer to logits."""
    weighed = P * U
    return weighed - P * weighed.sum(dim=-1, keepdim=True)


def conjugate_gradient(
    fitting: Fitting, P: Float[Tensor, "E S K"], target: Float[Tensor, "E R K"], tolerance: Float[Tensor, " E"]
) -> Float[Tensor, "E R K"]:
    """The Hessian's inverse times `target`, to a residual of `tolerance` times it (in the norm of the preconditioner, its diagonal).

    Directions are levelled: the Hessian does not see an intercept that is common to all classes, and rounding would run off along it.
    """
    inverse = fitting.diagonal(P).reciprocal()
    solution, residual = torch.zeros_like(target), target
    scaled = fitting.levelled(inverse * residual)
    direction, size = scaled, dot(residual, scaled)
    wanted = tolerance.square() * size
    for _ in range(2 * target.shape[1] * target.shape[2] + 10):
        active = size > wanted
        if not bool(active.any()):
            break
        image = fitting.curvature(P, direction)
        bend = dot(direction, image)
        active = active & (bend > 0)
        length = torch.where(active, size / bend, 0.0)[:, None, None]
        solution = solution + length * direction
        residual = residual - length * image
        scaled = fitting.levelled(inverse * residual)
        grown = dot(residual, scaled)
        direction = scaled + torch.where(active, grown / size, 0.0)[:, None, None] * direction
        size = torch.where(active, grown, 0.0)
    return solution


def fitted(
    fitting: Fitting, start: Float[Tensor, "E R K"] | None = None, precise: float = PRECISE
) -> tuple[Float[Tensor, "E R K"], Float[Tensor, "E S K"]]:
    """(V, probabilities of the support) at the minimum. What has converged no longer moves, so an episode's answer is its own.

    `start`: where to begin, by default at zero. `precise`: the gradient's size, relative to that of its penalty part, at which it ends.
    """
    V = fitting.members.new_zeros(*fitting.ridge.shape[:2], fitting.members.shape[-1]) if start is None else start
    P, loss = fitting.probabilities(V)
    rounding = torch.finfo(V.dtype).eps * dot(fitting.factors, fitting.factors).sqrt() * 8
    active = torch.ones_like(loss, dtype=torch.bool)
    for _ in range(STEPS):
        gradient = fitting.gradient(V, P)
        norm = dot(gradient, gradient).sqrt()
        pull = dot(fitting.ridge * V, fitting.ridge * V).sqrt()
        active = active & (norm > torch.maximum(precise * pull, rounding))
        if not bool(active.any()):
            break
        gradient = gradient * active[:, None, None]
        # far from the minimum rough directions do; near it the residual falls with the gradient, which makes the end quadratic
        tolerance = (norm / (norm + pull).clamp_min(rounding)).clamp(1e-6, 0.1)
        step = conjugate_gradient(fitting, P, -gradient, tolerance)
        V, P, loss, moved = _descend(fitting, V, loss, step, dot(gradient, step))
        active = active & moved
    return V, P


def _descend(fitting: Fitting, V: Tensor, loss: Tensor, step: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, Bool[Tensor, " E"]]:
    """The first of the steps 1, 1/2, 1/4, ... that lowers the objective enough (Armijo), for each episode; and which episodes moved."""
    length = torch.where(slope < 0, 1.0, 0.0).to(V)
    slack = 4 * torch.finfo(V.dtype).eps * (1 + loss.abs())
    for _ in range(HALVINGS):
        tried = V + length[:, None, None] * step
        P_tried, loss_tried = fitting.probabilities(tried)
        enough = loss_tried <= loss + 1e-4 * length * slope + slack
        if bool(enough.all()):
            return tried, P_tried, loss_tried, length > 0
        length = torch.where(enough, length, length / 2)
    length = torch.where(enough, length, 0.0)
    tried = V + length[:, None, None] * step
    P_tried, loss_tried = fitting.probabilities(tried)
    return tried, P_tried, loss_tried, length > 0
