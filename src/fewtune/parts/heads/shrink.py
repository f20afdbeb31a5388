"""Shrink: the nearest class mean, after every mean has been moved towards the name of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.lengths import unit
from fewtune.parts.heads.features import LinearForm, linear_score, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.named_support import Named, far, named, of_grid
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.episodes import Episodes

USUAL = 2.0  # how many examples a class name is worth where the support says nothing
SPREAD = 0.7  # of the logarithm of that number, from one data set to the next
GRID = tuple(2.0 ** (step / 2) for step in range(-6, 17))  # 1/8 ... 256: from almost the class means to almost zero-shot
TINY = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class Shrink:
    """Compares a query with p_c = (sum of the unit features of class c) + strength x (unit class vector of c).

    logits = temperature x cosine(f, p_c). A class name counts as `strength` examples, so p_c is the class mean shrunk towards the name:
    strength -> 0 is the nearest class mean, strength -> infinity (or a class without support) is zero-shot.

    `strength` > 0, or "loo": for each episode the one of GRID with the smallest log-loss of the support rows when each is left out of its
    own class mean, which is exact and in closed form, plus 1/2 (log(strength / 2) / .7)^2. This prior says that a name is worth about 2
    examples: a few rows cannot say more than that, and many rows outweigh it. Rows that are alone in their class are left out of the sum;
    where none remains (one label a class) the strength is 2. No gradient flows through the choice.

    `temperature` is the start of the declared parameter `<name>.temperature` (the plain number). `prompts` as in Text.

    Reference: SS-Text (MICCAI 2025) adds texts to class sums. Departs: there the scale of CLIP's logits is the weight.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    strength: float | Literal["loo"] = "loo"
    temperature: float = 10.0
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        check_positive_or_loo("the strength", self.strength, "the examples that a class name is worth")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {f"{self.name}.temperature": torch.tensor(self.temperature, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """{"weight": [E, K, D]}: the unit vectors along p_c, without the temperature."""
        wide, given = widen(support), named(support, episodes, class_vectors, "Shrink")
        if isinstance(self.strength, str):
            strength = chosen_strength(given, parameters[f"{self.name}.temperature"].to(given.rows))[:, None, None]
        else:
            strength = given.rows.new_tensor(self.strength)
        return {"weight": unit(torch.bmm(given.members.mT, given.rows) + strength * given.names).to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:
        return LinearForm(state, True, parameters[f"{self.name}.temperature"])


@torch.no_grad()
def chosen_strength(given: Named, temperature: Float[Tensor, ""]) -> Float[Tensor, " E"]:
    """Which of GRID suits each episode. Classes without support are not among the answers.

    With s = sum of class c, t its name and x a row, the cosine of x and s + k t needs x.s, x.t, s.s and s.t alone. Leaving x out of its
    own class puts s - x for s, and x.x = 1 (0 for a zero row) and x.s are known already.
    """
    X, members, names = given.rows, given.members, given.names
    sums = torch.bmm(members.mT, X)
    along, named_by = torch.bmm(X, sums.mT), given.zero_shot
    square, cross = sums.square().sum(dim=-1)[:, None], (sums * names).sum(dim=-1)[:, None]
    size, long = members * X.square().sum(dim=-1, keepdim=True), names.square().sum(dim=-1)[:, None]
    totals = []
    for k in GRID:
        product = along - size + k * named_by
        length = square + 2 * k * cross + k * k * long + size - 2 * members * (along + k * named_by)
        logits = temperature * product / length.clamp_min(TINY).sqrt()
        totals.append(given.loss(logits, given.company) + far((k,), (USUAL,), (SPREAD,)))
    return of_grid(GRID, totals, X)
