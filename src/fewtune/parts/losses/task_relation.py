"""TaskRelation: a prior on the weights of several tasks that learns how the tasks are related."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.losses.of_tasks import check_strength, of_tasks


@final
@dataclass(frozen=True, kw_only=True)
class TaskRelation:
    """strength / 2 x log det S3, S3 = W3 (S1 x S2)^-1 W3' / d + epsilon: the tensor-normal prior of deep relation networks.

    The weights W of T tasks, one d1 x d2 matrix each, are taken as one draw of a normal distribution with covariance S1 x S2 x S3, S3
    [T, T] being that of the tasks; W3 [T, d] is W with a row a task, d = d1 d2. Of vec(W)' (S1 x S2 x S3)^-1 vec(W) / d + log det S3
    the best S3 for the weights at hand leaves the log determinant (and a constant), so no state is kept. Its gradient is
    strength x S3^-1 W3 (S1 x S2)^-1 / d: tasks that are alike pull each other's weights.

    `modes`: "tasks" learns S3 alone (S1 and S2 are identities); "all" finds S1, S2 and S3 by `flips` rounds of the flip-flop algorithm,
    S1 and S2 being constants for the gradient. `epsilon`, above 0, is added to each diagonal. `names`: weights [T, d1, d2], each a draw of
    its own; by default the towers of `SharedBottom`. The penalty is added to the loss of every episode.

    Reference: Long et al., "Learning multiple tasks with multilinear relationship networks", NeurIPS 2017 (deep relation networks).
    Departs: covariances are found from the weights at every step; they begin and stay where the weights say.
    """

    strength: float = 1e-2
    modes: Literal["tasks", "all"] = "tasks"
    flips: int = 2
    epsilon: float = 1e-3
    names: str = "head.tower.weight"

    def __post_init__(self) -> None:
        check_strength("TaskRelation", self.strength)
        if self.modes not in ("tasks", "all"):
            raise InputError(f"TaskRelation: unknown modes {self.modes!r}: expected tasks or all.")
        if self.flips < 1 or not 0 < self.epsilon < float("inf"):
            raise InputError(f"TaskRelation: expected at least one flip and an epsilon above 0, found {self.flips} and {self.epsilon}.")

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        parts = [self._log_determinant(t) for t in of_tasks(outcome, self.names, "TaskRelation")]
        return self.strength / 2 * torch.stack(parts).sum(0).expand(len(outcome.episodes))

    def _log_determinant(self, weights: Float[Tensor, "E T *d"]) -> Float[Tensor, " E"]:
        covariance = task_covariance(weights, modes=self.modes, flips=self.flips, epsilon=self.epsilon)
        factor: Tensor = torch.linalg.cholesky(covariance)
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def task_covariance(
    weights: Float[Tensor, "E T *d"], *, modes: Literal["tasks", "all"] = "tasks", flips: int = 2, epsilon: float = 1e-3
) -> Float[Tensor, "E T T"]:
    """S3 of `TaskRelation`: how the tasks' weights vary together. Divided by the roots of its diagonal it is their correlation."""
    cube = weights if weights.ndim == 4 else weights.flatten(2)[..., None]
    covariances = [torch.eye(n, dtype=cube.dtype, device=cube.device).expand(len(cube), n, n) for n in cube.shape[1:]]
    if modes == "all":
        with torch.no_grad():
            for mode in [0, 1, 2] * flips:
                found = _covariance(cube, covariances, mode, epsilon)
                # only the product of the three has a scale: that of the tasks keeps it
                size = found.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] if mode else 1.0
                covariances[mode] = found / size
    return _covariance(cube, covariances, 0, epsilon)


def _covariance(cube: Float[Tensor, "E T d1 d2"], covariances: list[Tensor], mode: int, epsilon: float) -> Float[Tensor, "E n n"]:
    """The covariance of one mode, given those of the others."""
    white = cube
    for other in {0, 1, 2} - {mode}:
        moved = white.movedim(other + 1, 1)
        white = torch.linalg.solve(covariances[other], moved.flatten(2)).view(moved.shape).movedim(1, other + 1)
    rows, others = (t.movedim(mode + 1, 1).flatten(2) for t in (cube, white))
    product = rows @ others.mT / rows.shape[-1]
    return (product + product.mT) / 2 + epsilon * torch.eye(product.shape[-1], dtype=cube.dtype, device=cube.device)
