"""Multi-task learning and meta-learning have one objective where their heads are the same (Wang, Zhao and Li, ICML 2021, section 3).

Multi-task learning minimises over the heads and the body together; meta-learning with a closed-form head (R2D2) solves the heads first. At
those heads the losses are the same, and so are the gradients by the features: the derivative of a minimum does not see how the minimiser
moves (the envelope theorem).
"""

from __future__ import annotations

import torch

from fewtune.parts.heads import Linear, Ridge
from fewtune.parts.heads.head import answer
from fewtune.parts.losses import CrossEntropy, Outcome
from fewtune.tasks import Episodes

E, K, S, D, PENALTY = 3, 4, 12, 7, 0.5


def episodes() -> Episodes:
    """Three tasks of classes 0..3, 4..7, 8..11; the support is also the query."""
    label = (torch.arange(S) % K).expand(E, S)
    rows = torch.arange(E * S).view(E, S)
    return Episodes(rows, label, rows, label, torch.arange(E * K).view(E, K), torch.arange(E))


def features() -> torch.Tensor:
    return torch.randn(E, S, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def ridge() -> Ridge:
    return Ridge(penalty=PENALTY, normalize=False)


def parameters(head: Ridge) -> dict[str, torch.Tensor]:
    return {n: t.double() for n, t in head.declare(D).items()}


def solved(x: torch.Tensor) -> torch.Tensor:
    """The heads [E, K, D] that meta-learning solves for."""
    return ridge().fit(x, episodes(), None, parameters(ridge()))["weight"]


def objective(x: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
    """What both minimise: squared errors to the one-hot labels, plus the penalty of the heads."""
    hot = torch.nn.functional.one_hot(episodes().support_label, K).double()
    return (torch.einsum("esd,ekd->esk", x, heads) - hot).square().sum() + PENALTY * heads.square().sum()


def test_losses_are_equal_at_the_same_heads() -> None:
    """The shared class table whose rows are the solved heads answers as R2D2 does, to the same loss."""
    x, batch = features(), episodes()
    table = Linear(rows="class", bias=False)
    rows = {"head.weight": solved(x).reshape(E * K, D)}
    ours = answer(table, x, x, batch, None, rows)
    theirs = answer(ridge(), x, x, batch, None, parameters(ridge()))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    losses = [CrossEntropy()(Outcome(logits=logits, episodes=batch)) for logits in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)


def test_solved_heads_are_the_minimum_that_training_heads_goes_to() -> None:
    x = features()
    heads = torch.zeros(E, K, D, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([heads], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective(x, heads)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(heads.detach(), solved(x), rtol=1e-6, atol=1e-7)


def test_gradients_are_equal_at_the_same_heads() -> None:
    """Through the solver (meta-learning) or with the heads held still (multi-task learning)."""
    x = features().requires_grad_()
    through = torch.autograd.grad(objective(x, solved(x)), x)[0]
    held = torch.autograd.grad(objective(x, solved(x).detach()), x)[0]
    torch.testing.assert_close(through, held, rtol=1e-10, atol=1e-12)


def test_gradients_differ_where_the_query_is_other_data() -> None:
    """The law needs the loss that the heads minimise: on other rows the two methods differ."""
    x, query = features().requires_grad_(), features().flip(1).detach()
    hot = torch.nn.functional.one_hot(episodes().support_label, K).double()

    def loss(heads: torch.Tensor) -> torch.Tensor:
        return (torch.einsum("esd,ekd->esk", query, heads) - hot).square().sum()

    assert torch.autograd.grad(loss(solved(x)), x)[0].abs().max() > 1e-3
