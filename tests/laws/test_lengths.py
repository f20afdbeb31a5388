"""Laws of features of length 1: x / |x|, and at zero 0 with derivatives of 0, wherever something is normalised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.keys import key
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.lengths import lengths, unit
from fewtune.parts.heads import Centroid, Logistic, Matching, Ridge, Shrink, Svm, Text, TextPrior
from fewtune.parts.heads.head import answer
from fewtune.parts.losses import Contrast, CrossEntropy
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.plan import only
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection.affinity import prototype_gradient
from tests.laws.grounds import WAYS, all_classes, double_ground

HEADS = (
    Centroid(),
    Centroid(normalize_first=False),
    Centroid(metric="euclidean", normalize_first=True),
    Logistic(),
    Matching(),
    Matching(neighbours=2),
    Ridge(),
    Shrink(),
    Svm(),
    Text(),
    TextPrior(),
    TextPrior(form="cache"),
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_unit_vectors_and_their_derivatives_are_right() -> None:
    x = drawn(3, 2, 5).requires_grad_()
    torch.testing.assert_close(unit(x), torch.nn.functional.normalize(x, dim=-1), rtol=1e-14, atol=1e-14)
    assert torch.autograd.gradcheck(unit, x)
    assert torch.autograd.gradgradcheck(unit, x)
    torch.testing.assert_close(lengths(x)[..., 0], x.square().sum(-1).sqrt(), rtol=1e-14, atol=0)
    with torch.no_grad():
        assert torch.equal(unit(x), unit(x.detach()))


@pytest.mark.parametrize("small", [0.0, 1e-13, -1e-30])
def test_at_zero_every_derivative_is_zero(small: float) -> None:
    x = drawn(3, 4)
    x[1] = small
    x.requires_grad_()
    found = unit(x)
    (slope,) = torch.autograd.grad(found, x, drawn(3, 4, seed=1), create_graph=True)
    (curve,) = torch.autograd.grad(slope, x, drawn(3, 4, seed=2))
    for part in (found, slope, curve):
        assert torch.equal(part[1], torch.zeros(4, dtype=torch.float64))
        assert bool(part.isfinite().all()) and bool((part[[0, 2]] != 0).all())
    others = x.detach()[[0, 2]].requires_grad_()  # a zero row changes nothing of the others
    (alone,) = torch.autograd.grad(unit(others), others, drawn(3, 4, seed=1)[[0, 2]])
    torch.testing.assert_close(slope[[0, 2]].detach(), alone, rtol=1e-14, atol=0)


def episode(ways: int = 3) -> Episodes:
    label = torch.arange(ways).repeat(2)[None]
    rows = torch.arange(2 * ways)[None]
    none = torch.zeros(1, 3, dtype=torch.long)
    return Episodes(rows, label, none + torch.arange(3), none + torch.arange(3), torch.arange(ways)[None], torch.zeros(1, dtype=torch.long))


def by_rows(of: Callable[[Tensor, Tensor, Tensor], Tensor], zero: str) -> tuple[Tensor, Tensor]:
    """(the derivative by a row that is zero, all first and second derivatives) of a cost, by support, query and class vectors."""
    given = {"support": drawn(1, 6, 4), "query": drawn(1, 3, 4, seed=1), "class": drawn(1, 3, 4, seed=2)}
    given[zero][0, 1] = 0.0
    leaves = [t.requires_grad_() for t in given.values()]
    slopes = torch.autograd.grad(of(*leaves), leaves, create_graph=True, allow_unused=True)
    read = [s for s in slopes if s is not None]
    curves = torch.autograd.grad(sum(s.square().sum() for s in read), leaves, allow_unused=True)  # type: ignore[arg-type]
    at_zero = dict(zip(given, slopes, strict=True))[zero]
    row = torch.zeros(4) if at_zero is None else at_zero[0, 1].detach()
    return row, torch.cat([t.detach().reshape(-1) for t in (*read, *(c for c in curves if c is not None))])


@pytest.mark.parametrize("zero", ["support", "query", "class"])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{type(head).__name__}-{getattr(head, 'form', getattr(head, 'metric', ''))}")
def test_a_zero_row_sends_nothing_through_a_head(head: object, zero: str) -> None:
    def cost(support: Tensor, query: Tensor, vectors: Tensor) -> Tensor:
        given = {n: t.double() for n, t in head.declare(4).items()}  # type: ignore[attr-defined]
        logits = answer(head, support, query, episode(), vectors, given)  # type: ignore[arg-type]
        return CrossEntropy()(Outcome(logits=logits, episodes=episode())).sum()

    if isinstance(head, Logistic | Svm):  # they are differentiable once
        plain = cost

        def cost(support: Tensor, query: Tensor, vectors: Tensor) -> Tensor:
            return plain(support.detach(), query, vectors)

    row, every = by_rows(cost, zero)
    assert bool(every.isfinite().all()) and 0 < float(every.abs().max()) < 1e7
    if zero != "support" or getattr(head, "normalize_first", True):  # else the mean of rows as they are has a derivative
        assert not row.any()


@pytest.mark.parametrize("zero", ["query", "class"])
def test_a_zero_row_sends_nothing_through_contrast(zero: str) -> None:
    def cost(_: Tensor, query: Tensor, vectors: Tensor) -> Tensor:
        outcome = Outcome(logits=torch.zeros(1, 3, 3), episodes=episode(), query=query, class_vectors=vectors)
        return Contrast(temperature=5.0)(outcome).sum()

    row, every = by_rows(cost, zero)
    assert not row.any() and bool(every.isfinite().all()) and 0 < float(every.abs().max()) < 1e3


@pytest.mark.parametrize("head", [Centroid(), Matching(), Ridge()], ids=lambda head: type(head).__name__)
def test_training_on_blank_features_moves_nothing(head: object) -> None:
    """Where every feature is zero, no weight has a derivative."""
    ground = double_ground()
    phase = Phase(sampler=Sampled(ways=WAYS, shots=2, queries=3), learner=head, plan=only("2.*", 0.1), steps=2)  # type: ignore[arg-type]
    ground.backbone.network[2].bias.data.zero_()
    blank = ground.backbone.start() | {"2.weight": torch.zeros_like(ground.backbone.start()["2.weight"])}
    still = replace(ground, backbone=ground.backbone.with_weights(blank))  # every row is zero
    ended = train(still, (phase,), all_classes(still), key(0))
    assert torch.equal(ended.weights["2.bias"], blank["2.bias"]) and torch.equal(ended.weights["2.weight"], blank["2.weight"])


def test_a_zero_row_sends_nothing_through_the_affinity_of_tasks() -> None:
    features = drawn(6, 4).numpy()
    features[2] = 0.0
    slope, loss = prototype_gradient(features, np.array([0, 1, 2, 0, 1, 2]), 10.0)
    assert np.isfinite(loss) and not slope[2].any() and np.abs(slope).max() < 1e2
