"""KernelPrior: zero-shot, corrected by kernel ridge regression on the support."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.features import linear, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.named_support import Named, far, named, nearness, of_grid
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.episodes import Episodes

PENALTIES = tuple(10.0 ** (half / 2) for half in range(-6, 5))  # 1e-3 ... 100, where k(x, x) = 1
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0)
USUAL = (1.0, 1.0)  # penalty and beta where the support says nothing
SPREADS = (1.0, 0.7)  # of their logarithms
TINY = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class KernelPrior:
    """logits = temperature x (f T + k(f, X) (K + penalty I)^-1 (Y - X T)), k(x, y) = exp(-beta (1 - cosine(x, y))).

    X: the support, T: the class vectors, Y: one-hot labels, K = k(X, X); all vectors count as unit vectors. penalty -> infinity is
    zero-shot, beta -> 0 times a large penalty the linear `TextPrior`.

    `penalty` and `beta` are positive numbers, or "loo": for each episode those of a grid with the smallest squared error of the support
    rows when each is left out, (R - H R)_i / (1 - H_ii) with H = K (K + penalty I)^-1 and R = Y - X T (closed form). With n telling rows
    and their mean squared error e, the least n / 2 log e + 1/2 (squared distances of the logarithms from 0, over 1 and .7) wins. Rows alone
    in their class are left out of e; where fewer than two remain, both are 1. No gradient flows through the choice. `prompts` as in
    Text.

    Reference: Bendou et al., "ProKeR: a kernel perspective on few-shot adaptation of large vision-language models", CVPR 2025. Departs:
    their code multiplies the correction by the penalty, and has constants for each number of shots that were found on validation sets.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    penalty: float | Literal["loo"] = "loo"
    beta: float | Literal["loo"] = "loo"
    temperature: float = 10.0
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        check_positive_or_loo("the penalty", self.penalty, "a large one stays with the class names")
        check_positive_or_loo("beta", self.beta, "large: only the nearest rows count")

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {f"{self.name}.temperature": torch.tensor(self.temperature, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "support": unit rows [E, S, D], "dual": [E, S, K], "beta": [E]}."""
        wide, given = widen(support), named(support, episodes, class_vectors, "KernelPrior")
        penalty, beta = chosen_kernel(given, self.penalty, self.beta)
        kernel, rest = _kernel(given, beta[:, None, None]), _rest(given)
        ridge = penalty[:, None, None] * torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
        state = {"weight": given.names, "support": given.rows, "dual": torch.linalg.solve(kernel + ridge, rest), "beta": beta}
        return {name: tensor.to(wide) for name, tensor in state.items()}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        features = widen(query)
        found = linear(state, features, normalize=True) + torch.bmm(nearness(state, features), state["dual"].to(features))
        return (parameters[f"{self.name}.temperature"].to(features) * found).to(query.dtype)


def _kernel(given: Named, beta: Float[Tensor, "E 1 1"] | float) -> Float[Tensor, "E S S"]:
    """K, zero for padded rows."""
    known = given.members.sum(dim=-1, keepdim=True)
    return torch.exp(-beta * (1 - torch.bmm(given.rows, given.rows.mT))) * known * known.mT


def _rest(given: Named) -> Float[Tensor, "E S K"]:
    """What zero-shot leaves: one-hot labels less the cosines, zero for padded rows and classes."""
    return (given.members - given.zero_shot * given.members.sum(dim=-1, keepdim=True)) * given.real


@torch.no_grad()
def chosen_kernel(given: Named, penalty: float | str, beta: float | str) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
    """(penalty, beta) of each episode: those that were given, and those of the grids for which "loo" was."""
    penalties, betas = (grid if isinstance(value, str) else (value,) for grid, value in ((PENALTIES, penalty), (BETAS, beta)))
    telling = given.company.sum(dim=-1)
    rows = telling.sum(dim=1)
    rest, told = _rest(given), rows > 1
    totals, pairs = [], list(itertools.product(betas, penalties))
    for b, of_beta in itertools.groupby(pairs, key=lambda pair: pair[0]):
        values, vectors = torch.linalg.eigh(_kernel(given, b))
        rotated = torch.bmm(vectors.mT, rest)
        for _, p in of_beta:
            kept = values.clamp_min(0) / (values.clamp_min(0) + p)
            error = (rest - torch.bmm(vectors * kept[:, None, :], rotated)) / (1 - (vectors.square() * kept[:, None, :]).sum(-1))[..., None]
            mean = (error.square().sum(-1) * telling).sum(1) / rows.clamp_min(1)
            totals.append(torch.where(told, rows / 2 * mean.clamp_min(TINY).log(), 0.0) + far((p, b), USUAL, SPREADS))
    return of_grid(tuple(p for _, p in pairs), totals, rest), of_grid(tuple(b for b, _ in pairs), totals, rest)
