"""Svm: support vector machines on the support, in their dual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.features import ABSENT, LinearForm, exact, linear_score, prepared, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.parts.heads.interior_point import Dual, factored, maximised
from fewtune.parts.heads.splitting import split
from fewtune.tasks.episodes import Episodes

Form = Literal["crammer_singer", "one_vs_rest"]
BYTES = 128 << 20  # memory for the systems of the episodes that are solved at once
MOST_BYTES = 6 << 30  # more than this for one episode is refused


@final
@dataclass(frozen=True, kw_only=True)
class Svm:
    """Multi-class support vector machine without intercept; logits = scale x f W, W = sum_s alpha_s x_s.

    crammer_singer: minimises 1/2 |W|^2 + C sum_s max_k (w_k.x_s + [k is not y_s] - w_y.x_s), MetaOptNet's head; equals scikit-learn's
    LinearSVC(multi_class="crammer_singer", fit_intercept=False). one_vs_rest: for each class 1/2 |w|^2 + C sum_s max(0, 1 -+ w.x_s);
    equals LinearSVC(loss="hinge", fit_intercept=False), one weight a class also where there are two.

    The dual is solved in float64, where there are no more rows than features by operator splitting, to 1e-10 of its largest entry and a
    relative gap of 3e-10. More rows than features, and episodes that need more than 300 steps, are left to an interior-point method, to a
    relative gap of 1e-15. Gradients follow the implicit function theorem on the active set; where a bound is just touched they are those of
    one side. `normalize` takes features as unit vectors. `scale` is the start of the declared parameter `<name>.scale` (the plain number).
    A class without support takes no part: weight 0, bias -10,000. Splitting costs S^3 + 300 K S^2 operations at most, the interior-point
    method and a gradient K S^3 and 24 K S^2 bytes; more than 6 GiB are refused with InputError.

    Reference: Lee, Maji, Ravichandran, Soatto, "Meta-learning with differentiable convex optimization" (MetaOptNet), CVPR 2019.
    Departs: they stop after 15 steps of a QP solver, converged or not, and keep features as they are (`normalize=False`).
    """

    C: float = 0.1
    form: Form = "crammer_singer"
    normalize: bool = True
    scale: float = 1.0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.form not in ("crammer_singer", "one_vs_rest"):
            raise InputError(f"unknown form {self.form!r}: expected 'crammer_singer' or 'one_vs_rest'.")
        if not 0 < self.C < float("inf"):
            raise InputError(f"C must be a positive number (large: little regularisation), found {self.C}.")

    begin, score = nothing_own, linear_score

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {f"{self.name}.scale": torch.tensor(self.scale, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "bias": [E, K]} with the scale; the bias is 0, or -10,000 for a class without support."""
        wide = widen(support)
        members = one_hot(episodes, exact(wide[:0]))
        features = prepared(support, members.sum(dim=-1, keepdim=True), normalize=self.normalize)
        weight = torch.bmm(support_vectors(features, members, self.C, self.form).mT, features)
        weight = parameters[f"{self.name}.scale"].to(weight) * weight
        absent = members.sum(dim=1) == 0
        return {"weight": weight.to(wide), "bias": torch.where(absent, ABSENT, 0.0).to(wide)}

    def as_linear(self, state: State, parameters: Parameters) -> LinearForm:  # noqa: ARG002
        return LinearForm(state, self.normalize)


def support_vectors(X: Float[Tensor, "E S D"], members: Float[Tensor, "E S K"], C: float, form: Form) -> Float[Tensor, "E S K"]:
    """The dual alpha, zero for padded rows (whose features and members are zero); differentiable in X."""
    S, K = members.shape[1:]
    each = max(1, K * S * S) * 8 * 3
    if each > MOST_BYTES:
        raise InputError(
            f"Svm would need {each / 2**30:.0f} GiB for {S} support rows of {K} classes: take Logistic, or at most {_most_rows(K)} rows."
        )
    at_once = max(1, BYTES // each)
    parts = zip(torch.split(X, at_once), torch.split(members, at_once), strict=True)
    return torch.cat([_SupportVectors.apply(x, m, C, form) for x, m in parts])


def _most_rows(K: int) -> int:
    return math.isqrt(MOST_BYTES // (K * 8 * 3))


def _dual(X: Tensor, members: Tensor, C: float, form: Form) -> Dual:
    """The dual for alpha / C, so that bounds are 1 for every C. Padded rows count as rows of some class at the origin: no influence."""
    active = (members.sum(dim=1, keepdim=True) > 0).to(X)
    first = torch.nn.functional.one_hot(active[:, 0].argmax(dim=-1), members.shape[-1]).to(X)
    padding = 1 - members.sum(dim=-1, keepdim=True)
    mine = members + padding * first[:, None, :]
    gram = C * torch.bmm(X, X.mT)
    if form == "crammer_singer":
        return Dual(gram, mine, mine, torch.zeros_like(mine), active, floored=False, coupled=True)
    return Dual(gram, 2 * mine - 1, mine, mine - 1, active, floored=True, coupled=False)


def _solved(dual: Dual, width: int) -> tuple[Float[Tensor, "E S K"], Float[Tensor, "E S K"]]:
    """(T, stiffness) at the maximum: by splitting, or by the interior-point method where that takes too many steps.

    With more rows than features the Gram matrix is singular, and splitting is slow.
    """
    if dual.gram.shape[1] > width:
        return maximised(dual)
    T, stiffness, done = split(dual)
    if not bool(done.all()):
        T[~done], stiffness[~done] = maximised(dual.of(~done))
    return T, stiffness


@final
class _SupportVectors(torch.autograd.Function):
    """Backward solves the Newton system of the maximum once more: with (G + diag(stiffness)) L = alpha' (rows of L summing to zero if
    coupled), the gradient of the features is -(L alpha^T + alpha L^T) X.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, members: Tensor, C: float, form: Form) -> Tensor:
        T, stiffness = _solved(_dual(X, members, C, form), X.shape[2])
        alpha = C * T * members.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(X, members, alpha, stiffness)
        ctx.settings = (C, form)
        return alpha

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        X, members, alpha, stiffness = ctx.saved_tensors
        C, form = ctx.settings
        dual = _dual(X, members, C, form)
        known = members.sum(dim=-1, keepdim=True)
        L, _ = factored(dual, stiffness.clamp(1e-14, 1e14)).solve(C * gradients[0] * known * dual.active, rounds=3)
        L = L * known
        return -(torch.bmm(L, torch.bmm(alpha.mT, X)) + torch.bmm(alpha, torch.bmm(L.mT, X))), None, None, None
