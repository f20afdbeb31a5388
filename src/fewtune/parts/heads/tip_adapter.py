"""TipAdapter: zero-shot, and votes of the support rows by their nearness."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.features import exact, linear, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.named_support import Named, far, named, nearness, of_grid, zero_shot_scale
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.episodes import Episodes

ALPHAS = tuple(2.0**step for step in range(-2, 10))  # 1/4 ... 512
BETAS = (1.0, 2.0, 4.0, 8.0, 16.0)
USUAL = (8.0, 4.0)  # alpha and beta where the support says nothing
SPREADS = (1.0, 1.0)  # of their logarithms


@final
@dataclass(frozen=True, kw_only=True)
class TipAdapter:
    """logits = s x cosine(f, name of the class) + alpha x mean over its rows x of exp(-beta (1 - cosine(f, x))).

    s is the scale that suits the names on the support (`named_support.zero_shot_scale`): names that say little count little. `alpha` and
    `beta` are positive numbers, or both "loo": for each episode those of a grid with the smallest log-loss of the support rows when each is
    left out of the votes (closed form: its own vote is exp(0)), plus 1/2 of the squared distance of their logarithms from those of 8 and 4.
    Rows alone in their class are left out of the sum; where none remains (one label a class), 8 and 4. A class without rows is answered by
    its name, and no row is told apart from it. No gradient flows through the choice. `prompts` as in Text.

    Reference: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022. Departs: their code
    searches alpha and beta on the test set, has CLIP's 100 for s, and adds up votes, where a mean does not grow with the rows.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    alpha: float | Literal["loo"] = "loo"
    beta: float | Literal["loo"] = "loo"
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        check_positive_or_loo("alpha", self.alpha, "large: the support decides")
        check_positive_or_loo("beta", self.beta, "large: only the nearest rows vote")

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "support": unit rows [E, S, D], "votes": [E, S, K], "beta": [E]}."""
        wide, given = widen(support), named(support, episodes, class_vectors, "TipAdapter")
        scale = zero_shot_scale(given)
        alpha, beta = chosen_strengths(given, scale, self.alpha, self.beta)
        state = {
            "weight": scale[:, None, None] * given.names,
            "support": given.rows,
            "votes": alpha[:, None, None] * given.members / given.count.clamp_min(1),
            "beta": beta,
        }
        return {name: tensor.to(wide) for name, tensor in state.items()}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:  # noqa: ARG002
        features = widen(query)
        return (linear(state, features, normalize=True) + torch.bmm(nearness(state, features), state["votes"].to(features))).to(query.dtype)


@torch.no_grad()
def chosen_strengths(
    given: Named, scale: Float[Tensor, " E"], alpha: float | str, beta: float | str
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
    """(alpha, beta) of each episode: those that were given, and those of the grids for which "loo" was."""
    alphas, betas = (grid if isinstance(value, str) else (value,) for grid, value in ((ALPHAS, alpha), (BETAS, beta)))
    pairs = list(itertools.product(alphas, betas))
    cosines, zero_shot = exact(torch.bmm(given.rows, given.rows.mT)), given.zero_shot
    itself = torch.eye(cosines.shape[1], dtype=cosines.dtype, device=cosines.device)
    others = (given.count - given.members).clamp_min(1)  # rows of each class beside the one that is left out
    votes = {b: torch.bmm(torch.exp(-b * (1 - cosines)) * (1 - itself), given.members) / others for b in betas}
    totals = []
    for a, b in pairs:
        totals.append(given.loss(scale[:, None, None] * zero_shot + a * votes[b], given.company) + far((a, b), USUAL, SPREADS))
    first, second = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    return of_grid(first, totals, cosines), of_grid(second, totals, cosines)
