"""TextPrior: zero-shot, corrected by the support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import lengths, unit
from fewtune.parts.heads.features import exact, linear, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.parts.heads.least_squares import Problem, by_target, solved
from fewtune.parts.heads.leave_one_out import chosen, mean_square
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.prompts import check_prompts, directions
from fewtune.parts.heads.targets import class_targets
from fewtune.tasks.episodes import Episodes

SPREAD = 1.0  # of the logarithm of the penalty, from one data set to the next


@final
@dataclass(frozen=True, kw_only=True)
class TextPrior:
    """Starts from the class vectors W0 and moves as far as the support asks; all vectors count as unit vectors.

    ridge: logits = temperature x f W, W = W0 + X^T (X X^T + penalty I)^-1 (Y - X W0), one-hot Y: least squares with the penalty on
    |W - W0|^2. penalty -> infinity is zero-shot, an episode without support too; penalty -> 0 is the ridge regression that goes through
    the support rows and is nearest to W0.
    cache: logits = temperature x f W0 + alpha x sum over rows s of exp(-beta (1 - cosine(f, x_s))) y_s, Tip-Adapter without training.

    `penalty` > 0, or "loo": for each episode the penalty of `leave_one_out.GRID` that suits the support rows best when each is left out
    (closed form). A few rows say little of it, so the choice leans towards 1: log(penalty) has the spread SPREAD around 0 before. Rows
    that are alone in their class say nothing about it; where none remains (one label a class) it is 1. Where it was measured (training
    classes of five sets of texts, 5 and 8 labels a class) a fixed 1 was as good or better by .2 points.

    The defaults are fixed numbers (penalty 1; alpha 1 and beta 5.5, the paper's) and never tuned on queries. Declared parameters:
    `<name>.temperature`, and, for a fixed penalty, `<name>.log_penalty` (starts at 0; the penalty used is `penalty` x exp of it) or
    `<name>.alpha` and `<name>.beta`; plain numbers but for log_penalty. `prompts` as in Text.

    Reference: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022 (cache).
    Departs: their code searches alpha and beta on the test set.
    """

    prompts: tuple[str, ...] = ("a photo of a {}.",)
    form: Literal["ridge", "cache"] = "ridge"
    penalty: float | Literal["loo"] = 1.0
    alpha: float = 1.0
    beta: float = 5.5
    temperature: float = 100.0
    name: str = "head"

    reads_classes: ClassVar[bool] = True
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        if self.form not in ("ridge", "cache"):
            raise InputError(f"unknown form {self.form!r}: expected 'ridge' or 'cache'.")
        check_positive_or_loo("the penalty", self.penalty, "a large one stays with the class names")

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        start = {"temperature": self.temperature}
        if self.form == "cache":
            start |= {"alpha": self.alpha, "beta": self.beta}
        elif self.penalty != "loo":
            start |= {"log_penalty": 0.0}
        return {f"{self.name}.{key}": torch.tensor(value, dtype=torch.float32) for key, value in start.items()}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:
        """ridge: {"weight": [E, K, D]}; cache: {"weight": unit class vectors, "support": unit features [E, S, D], "members": [E, S, K]}."""
        wide = widen(support)
        prior = unit(widen(directions(class_vectors, "TextPrior", support.shape[-1])).to(wide))
        if self.form == "cache":
            return {"weight": prior, "support": unit(wide), "members": one_hot(episodes, wide)}
        start = exact(prior)
        targets = class_targets(episodes, start)
        features = prepared(support, targets.known, normalize=True)
        problem = by_target(features, targets)
        problem = replace(problem, values=problem.values - torch.bmm(problem.features, start.mT))
        return {"weight": (start + solved(problem, self._penalty(problem, parameters))).to(wide)}

    def _penalty(self, problem: Problem, parameters: Parameters) -> Tensor:
        if isinstance(self.penalty, str):
            return chosen(problem, intercept=False, spread=SPREAD) * mean_square(problem)
        return (self.penalty * parameters[f"{self.name}.log_penalty"].to(problem.features).exp()).expand(len(problem.features))

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        features = widen(query)
        logits = parameters[f"{self.name}.temperature"].to(features) * linear(state, features, normalize=True)
        if self.form == "cache":
            alpha, beta = (parameters[f"{self.name}.{key}"].to(features) for key in ("alpha", "beta"))
            cosines = torch.bmm(features, state["support"].to(features).mT) / lengths(features)
            logits = logits + alpha * torch.bmm(torch.exp(-beta * (1 - cosines)), state["members"].to(features))
        return logits.to(query.dtype)
