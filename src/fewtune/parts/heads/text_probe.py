"""TextProbe: a linear probe by cosines that starts at the class names and is held near them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import lengths
from fewtune.parts.heads.features import LinearForm, linear_score, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.named_support import Named, named, zero_shot_scale
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.episodes import Episodes

MOMENTUM, RATE = 0.9, 1.6


@final
@dataclass(frozen=True, kw_only=True)
class TextProbe:
    """logits = s cosine(f, w_c); w starts at the unit class vectors t and moves by `steps` of gradient descent on the support.

    The loss is the mean cross-entropy of the rows + the mean over classes of strength_c |w_c - t_c|^2. s is the scale that suits the names
    on the support (`named_support.zero_shot_scale`), or `scale` where it is a number. `anchor` >= 0: the same strength for all classes (0:
    nothing holds w, ZS-LP); "zero_shot": the mean probability that zero-shot gives a class on its own rows, so that names that the support
    agrees with are held fast (CLAP). A class without rows stays at its name, and no row is told apart from it. Steps: momentum .9, the rate
    1.6 / s falling along a cosine (.1 for s = 16). `prompts` as in Text.

    Reference: Silva-Rodriguez et al., "A closer look at the few-shot adaptation of large vision-language models", CVPR 2024 (CLAP, ZS-LP).
    Departs: there s is CLIP's 100, rows are seen in 20 augmented views, and batches have 256 rows; here s is chosen, and all rows are seen
    as they are in every step.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    anchor: float | Literal["zero_shot"] = "zero_shot"
    scale: float | Literal["support"] = "support"
    steps: int = 300
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        if self.anchor != "zero_shot" and not (isinstance(self.anchor, int | float) and 0 <= self.anchor < math.inf):
            raise InputError(f"the anchor is a number of at least 0 or 'zero_shot', found {self.anchor!r}.")
        if self.scale != "support" and not (isinstance(self.scale, int | float) and 0 < self.scale < math.inf):
            raise InputError(f"the scale is a positive number or 'support' (chosen on it), found {self.scale!r}.")
        if self.steps < 0:
            raise InputError(f"steps of TextProbe is a whole number of at least 0, found {self.steps}.")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D]}: s times the unit vectors along w."""
        wide, given = widen(support), named(support, episodes, class_vectors, "TextProbe")
        scale = zero_shot_scale(given) if isinstance(self.scale, str) else given.rows.new_full((len(given.rows),), self.scale)
        scale = scale[:, None, None]
        weight = descended(given, scale, self._strengths(given, scale), self.steps)
        return {"weight": (scale * weight / lengths(weight)).to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, True)

    def _strengths(self, given: Named, scale: Tensor) -> Float[Tensor, "E K 1"]:
        if not isinstance(self.anchor, str):
            return (given.real.to(given.rows) * self.anchor).mT
        shares = (scale * given.zero_shot).masked_fill(~given.seen, -torch.inf).softmax(dim=-1)
        each = (shares * given.members).sum(1, keepdim=True) / given.count.clamp_min(1)
        return each.mT


def descended(given: Named, scale: Float[Tensor, "E 1 1"], strengths: Float[Tensor, "E K 1"], steps: int) -> Float[Tensor, "E K D"]:
    """w after so many steps."""
    known = given.members.sum(dim=-1, keepdim=True)
    seen = given.seen
    rows, classes = known.sum(dim=1, keepdim=True).clamp_min(1), seen.sum(dim=-1, keepdim=True).clamp_min(1)
    weight, moving = given.names, torch.zeros_like(given.names)
    for step in range(steps):
        length = lengths(weight)
        direction = weight / length
        cosines = torch.bmm(given.rows, direction.mT)
        error = ((scale * cosines).masked_fill(~seen, -torch.inf).softmax(dim=-1) - given.members) * known / rows
        # the cosine with w changes with w by (x - cosine x w / |w|) / |w|
        pull = scale * (torch.bmm(error.mT, given.rows) - (error * cosines).sum(1)[..., None] * direction) / length
        gradient = pull + 2 * strengths / classes * (weight - given.names)
        moving = MOMENTUM * moving + gradient
        weight = weight - RATE / scale * 0.5 * (1 + math.cos(math.pi * step / steps)) * moving
    return weight
