"""Ridge: regularised least squares to the labels, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fewtune.parts.heads.class_sums import class_sums, many
from fewtune.parts.heads.features import LinearForm, exact, linear_score, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.heads.least_squares import by_target, centred, solved
from fewtune.parts.heads.leave_one_out import SOME, chosen, chosen_from_sums, mean_square
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

    Of very many rows and classes (`class_sums.MANY`) it is solved from sums over blocks of rows, and every n-th row, about 10,000 of them,
    chooses the penalty.

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
        if many(episodes):
            return self._scaled(*self._from_sums(support, episodes, parameters), wide, parameters)
        targets = (class_targets if categorical else float_targets)(episodes, exact(wide[:0]))
        features = prepared(support, targets.known.amax(dim=-1, keepdim=True), normalize=self.normalize)
        weight, bias = self._solve(features, targets, parameters)
        if categorical:
            return self._scaled(weight, bias, wide, parameters)
        return {"weight": weight.to(wide)} | ({} if bias is None else {"bias": bias.to(wide)})

    def _scaled(self, weight: Tensor, bias: Tensor | None, wide: Tensor, parameters: Parameters) -> State:
        scale = parameters[f"{self.name}.scale"].to(weight)
        return {"weight": (scale * weight).to(wide)} | ({} if bias is None else {"bias": (scale * bias).to(wide)})

    def _fixed(self, like: Tensor, parameters: Parameters) -> Tensor:
        """The penalty, a plain number."""
        assert not isinstance(self.penalty, str)
        return self.penalty * parameters[f"{self.name}.log_penalty"].to(like).exp()

    def _from_sums(self, support: Tensor, episodes: Episodes, parameters: Parameters) -> tuple[Tensor, Tensor | None]:
        """(weight [E, K, D], bias [E, K]): with the means m of rows and t of targets, X^T X - n m m^T and Y^T X - n t m^T."""
        sums = class_sums(support, episodes, normalize=self.normalize)
        gram, mixed, count = sums.gram, sums.total, sums.count.sum(dim=-1).clamp_min(1)
        mean, target = sums.total.sum(dim=1) / count[:, None], sums.count / count[:, None]
        squared = gram.diagonal(dim1=1, dim2=2).sum(dim=-1) / count
        if self.intercept:
            gram = gram - count[:, None, None] * mean[:, :, None] * mean[:, None, :]
            mixed = mixed - sums.count[..., None] * mean[:, None, :]
        else:
            mean, target = torch.zeros_like(mean), torch.zeros_like(target)
        if isinstance(self.penalty, str):
            some = slice(None, None, -(-support.shape[1] // SOME))
            label = episodes.support_label[:, some].to(gram.device)
            known = (label >= 0).to(gram)[..., None]
            rows = prepared(support[:, some], known, normalize=self.normalize) - mean[:, None, :] * known
            telling = (sums.count.gather(1, label.clamp_min(0)) > 1).to(gram)
            unit = torch.where(squared > 0, squared, 1.0)
            level = 1 / count if self.intercept else torch.zeros_like(count)
            penalty = unit * chosen_from_sums(gram, mixed, target, rows, label, telling, unit, level)
        else:
            penalty = self._fixed(gram, parameters).expand(len(gram))
        ridge = penalty[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        weight = torch.cholesky_solve(mixed.mT, torch.linalg.cholesky_ex(gram + ridge)[0]).mT
        return weight, target - torch.bmm(weight, mean[..., None])[..., 0] if self.intercept else None

    def _solve(self, features: Tensor, targets: Targets, parameters: Parameters) -> tuple[Tensor, Tensor | None]:
        problem = by_target(features, targets)
        inner = centred(problem) if self.intercept else problem
        if isinstance(self.penalty, str):
            penalty = chosen(inner, intercept=self.intercept) * mean_square(inner)
        else:
            penalty = self._fixed(features, parameters).expand(inner.features.shape[0])
        weight = solved(inner, penalty)
        bias = inner.target_mean - torch.bmm(weight, inner.feature_mean[..., None])[..., 0] if self.intercept else None
        E, L = features.shape[0], targets.values.shape[-1]
        return weight.reshape(E, L, -1), None if bias is None else bias.reshape(E, L)

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, self.normalize)
