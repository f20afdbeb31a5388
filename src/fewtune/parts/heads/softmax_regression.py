"""The solution of multinomial logistic regression as a differentiable function of the features (implicit function theorem)."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.parts.heads.newton import Fitting, conjugate_gradient, fitted, softened


def softmax_regression(
    features: Float[Tensor, "E S D"], members: Float[Tensor, "E S K"], C: Float[Tensor, " E"], *, intercept: bool
) -> tuple[Float[Tensor, "E S K"], Float[Tensor, "E K"]]:
    """(dual A [E, S, K], bias [E, K]) with weight = A^T X, for features X that are zero in padded rows and members likewise.

    Minimises C sum_i CE(X W^T + b)_i + 1/2 |W|^2 over classes that have rows. At the minimum A = C (Y - P), P being the probabilities
    of the support, so the weight lies in its span. The bias (zero without intercept) sums to zero over these classes.
    """
    dual, bias = _SoftmaxRegression.apply(features, members, C, intercept)
    return dual, bias


def _factors(X: Float[Tensor, "E S D"]) -> Float[Tensor, "E S R"]:
    """F with F F^T = X X^T and no more columns than rows; where that saves something its columns are orthogonal."""
    if X.shape[1] >= X.shape[2]:
        return X
    values, vectors = torch.linalg.eigh(torch.bmm(X, X.mT))
    factors: Tensor = vectors * values.clamp_min(0).sqrt()[:, None, :]
    return factors


def fitting_of(X: Tensor, members: Tensor, C: Tensor, intercept: bool) -> Fitting:
    """The problem that `softmax_regression` solves, in the span of the support."""
    known = members.sum(dim=-1, keepdim=True)
    factors = _factors(X) * known
    ridge = (1 / C)[:, None, None].expand(-1, factors.shape[-1], 1)
    if intercept:
        factors = torch.cat([factors, known], dim=-1)
        ridge = torch.cat([ridge, torch.zeros_like(ridge[:, :1])], dim=1)
    present = members.sum(dim=1, keepdim=True) > 0
    present = present | ~present.any(dim=-1, keepdim=True)  # an episode without support: nothing to learn, nothing to divide by
    return Fitting(factors, members, present, ridge)


@final
class _SoftmaxRegression(torch.autograd.Function):
    """Backward solves one linear system with the Hessian at the minimum, H = F^T M F + ridge with M = diag(p) - p p^T of each row.

    Differentiating A = C (Y - P(X X^T A + b)) and 1^T A = 0: for incoming gradients (A', b'), with T = C M (A' - F s - m)
    where (s, m) solves H (s, m) = (F^T M A', 1^T M A' - b' / C), the gradient of the features is -(T A^T + A T^T) X.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, members: Tensor, C: Tensor, intercept: bool) -> tuple[Tensor, Tensor]:
        fitting = fitting_of(X, members, C, intercept)
        V, P = fitted(fitting)
        dual = C[:, None, None] * (members - P)
        bias = fitting.levelled(V)[:, -1] if intercept else V.new_zeros(V.shape[0], V.shape[2])
        ctx.save_for_backward(X, dual, P, C, fitting.factors, fitting.members, fitting.classes, fitting.ridge)
        ctx.intercept = intercept
        return dual, bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        to_dual, to_bias = gradients
        X, A, P, C, *rest = ctx.saved_tensors
        fitting = Fitting(*rest)
        target = torch.bmm(fitting.factors.mT, softened(P, to_dual))
        if ctx.intercept:
            level = fitting.levelled((to_bias / C[:, None])[:, None, :] * fitting.classes)
            target = torch.cat([target[:, :-1], target[:, -1:] - level], dim=1)
        solution = conjugate_gradient(fitting, P, target, torch.full_like(C, 1e-10))
        T = C[:, None, None] * softened(P, to_dual - torch.bmm(fitting.factors, solution))
        return -(torch.bmm(T, torch.bmm(A.mT, X)) + torch.bmm(A, torch.bmm(T.mT, X))), None, None, None
