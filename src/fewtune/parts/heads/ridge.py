"""Ridge: regularised least squares to the labels, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fewtune.parts.heads.features import LinearForm, exact, linear_score, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.least_squares import by_target, centred, solved
from fewtune.parts.heads.leave_one_out import chosen, mean_square
from fewtune.parts.heads.positive_or_loo import check_positive_or_loo
from fewtune.parts.heads.targets import Targets, class_targets, float_targets
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Ridge:
    """W = X^T (X X^T + penalty I)^-1 Y, one-hot Y; logits = scale x (f W + b).

    Solved over rows where there are fewer rows than features and over features otherwise, which is the same W, in float64.
    `normalize` takes features as unit vectors. `intercept` adds an unpenalised bias b (features and targets are centred); R2D2 has none.
    Equals scikit-learn's Ridge on the one-hot labels.

    `penalty` > 0, or "loo": for each episode the penalty of `leave_one_out.GRID`, relative to the mean squared norm of the support,
    with the smallest squared leave-one-out error of the support rows, in closed form. Rows that are alone in their class say nothing
    about it and are left out; where none remains (1 shot) the penalty is 1 times that mean.

    Declared parameters, both plain numbers: `<name>.scale` (starts at `scale`) and, for a fixed penalty, `<name>.log_penalty` (starts
    at 0; the penalty used is `penalty` x exp of it), which R2D2 learns.

    Float targets [E, S, L] (NaN missing) and multi-hot ones (-1 missing) give predictions [E, Q, L], without scale.

    Reference: Bertinetto et al., "Meta-learning with differentiable closed-form solvers" (R2D2), ICLR 2019. Departs: R2D2 also learns a
    shift of the logits, which no softmax sees.
    """

    penalty: float | Literal["loo"] = 1.0
    normalize: bool = True
    intercept: bool = False
    scale: float = 1.0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_positive_or_loo("the penalty", self.penalty, "1e-6 for almost none")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        scale = {f"{self.name}.scale": torch.tensor(self.scale, dtype=torch.float32)}
        return scale if self.penalty == "loo" else scale | {f"{self.name}.log_penalty": torch.tensor(0.0)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, L, D]} and, with intercept, {"bias": [E, L]}, scaled; L = K for class labels."""
        wide = widen(support)
        categorical = episodes.support_label.ndim == 2
        targets = (class_targets if categorical else float_targets)(episodes, exact(wide[:0]))
        features = prepared(support, targets.known.amax(dim=-1, keepdim=True), normalize=self.normalize)
        weight, bias = self._solve(features, targets, parameters)
        if categorical:
            scale = parameters[f"{self.name}.scale"].to(weight)
            weight, bias = scale * weight, None if bias is None else scale * bias
        return {"weight": weight.to(wide)} | ({} if bias is None else {"bias": bias.to(wide)})

    def _solve(self, features: Tensor, targets: Targets, parameters: Parameters) -> tuple[Tensor, Tensor | None]:
        problem = by_target(features, targets)
        inner = centred(problem) if self.intercept else problem
        if isinstance(self.penalty, str):
            penalty = chosen(inner, intercept=self.intercept) * mean_square(inner)
        else:
            factor = parameters[f"{self.name}.log_penalty"].to(features).exp()
            penalty = (self.penalty * factor).expand(inner.features.shape[0])
        weight = solved(inner, penalty)
        bias = inner.target_mean - torch.bmm(weight, inner.feature_mean[..., None])[..., 0] if self.intercept else None
        E, L = features.shape[0], targets.values.shape[-1]
        return weight.reshape(E, L, -1), None if bias is None else bias.reshape(E, L)

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, self.normalize)
