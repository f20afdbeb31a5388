"""Heads between zero-shot and the support against loops in float64 that leave rows out one by one, scikit-learn and torch.optim."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from fewtune.parts.heads import Gaussian, KernelPrior, LpPlus, NamedGaussian, TextProbe, TipAdapter, kernel_prior, tip_adapter
from fewtune.parts.heads.head import answer
from fewtune.parts.heads.named_gaussian import left_out
from fewtune.parts.heads.named_support import SCALES, named, zero_shot_scale
from fewtune.tasks.episodes import Episodes
from fewtune.testing.heads import problem, relabelled

NEAR = {"rtol": 1e-8, "atol": 1e-8}


def unpacked(seed: int = 0, **given: object) -> tuple[Tensor, Tensor, Episodes, Tensor, list[tuple[Tensor, Tensor, Tensor, Tensor]]]:
    """A problem, and for each episode (unit rows, labels, unit names, unit queries)."""
    support, query, episodes, vectors = problem(seed, **given)  # type: ignore[arg-type]
    each = [
        (normalize(support[e], dim=-1), episodes.support_label[e], normalize(vectors[e], dim=-1), normalize(query[e], dim=-1))
        for e in range(len(episodes))
    ]
    return support, query, episodes, vectors, each


def scale_of(rows: Tensor, labels: Tensor, names: Tensor) -> float:
    totals = [float(cross_entropy(s * rows @ names.T, labels, reduction="sum")) + 0.5 * math.log(s / 16) ** 2 for s in SCALES]
    return SCALES[int(np.argmin(totals))]


def test_the_scale_of_the_names() -> None:
    support, _, episodes, vectors, each = unpacked()
    found = zero_shot_scale(named(support, episodes, vectors, "a head"))
    assert found.tolist() == [scale_of(*one[:3]) for one in each] and len(set(found.tolist())) > 1


def voted(rows: Tensor, labels: Tensor, names: Tensor, query: Tensor, s: float, alpha: float, beta: float) -> Tensor:
    votes = torch.exp(-beta * (1 - query @ rows.T)) @ one_hot(labels, len(names)).double()
    return s * query @ names.T + alpha * votes / one_hot(labels, len(names)).sum(0).clamp_min(1)


def test_tip_adapter_leaves_each_row_out() -> None:
    support, query, episodes, vectors, each = unpacked(3)
    logits = answer(TipAdapter(), support, query, episodes, vectors)
    found = set()
    for e, (rows, labels, names, queries) in enumerate(each):
        s, best = scale_of(rows, labels, names), (math.inf, 0.0, 0.0)
        for a in tip_adapter.ALPHAS:
            for b in tip_adapter.BETAS:
                total = 0.5 * (math.log(a / 8.0) ** 2 + math.log(b / 4.0) ** 2)
                for i in range(len(rows)):
                    rest = torch.arange(len(rows)) != i
                    total += float(cross_entropy(voted(rows[rest], labels[rest], names, rows[i : i + 1], s, a, b), labels[i : i + 1]))
                best = min(best, (total, a, b))
        found.add(best[1:])
        torch.testing.assert_close(logits[e], voted(rows, labels, names, queries, s, *best[1:]), **NEAR)
    assert len(found) > 1  # the choice is not one for all


def test_kernel_prior_is_kernel_ridge_regression_of_what_zero_shot_leaves() -> None:
    support, query, episodes, vectors, each = unpacked(4)
    logits = answer(KernelPrior(), support, query, episodes, vectors)
    found = set()
    for e, (rows, labels, names, queries) in enumerate(each):
        rest = one_hot(labels, len(names)).double() - rows @ names.T

        def refit(b: float, p: float, keep: Tensor, asked: Tensor, rows: Tensor = rows, rest: Tensor = rest) -> np.ndarray:
            def kernel(one: Tensor, other: Tensor) -> np.ndarray:
                return torch.exp(-b * (1 - one @ other.T)).numpy()

            model = KernelRidge(alpha=p, kernel="precomputed").fit(kernel(rows[keep], rows[keep]), rest[keep].numpy())
            return np.asarray(model.predict(kernel(asked, rows[keep])))

        best = (math.inf, 0.0, 0.0)
        for b in kernel_prior.BETAS:
            for p in kernel_prior.PENALTIES:
                errors = []
                for i in range(len(rows)):
                    keep = torch.arange(len(rows)) != i
                    errors.append(np.square(refit(b, p, keep, rows[i : i + 1]) - rest[i].numpy()).sum())
                total = len(rows) / 2 * math.log(np.mean(errors)) + 0.5 * (math.log(p) ** 2 + (math.log(b) / 0.7) ** 2)
                best = min(best, (total, b, p))
        found.add(best[1:])
        expected = queries @ names.T + torch.from_numpy(refit(best[1], best[2], torch.ones(len(rows), dtype=torch.bool), queries))
        torch.testing.assert_close(logits[e], 10 * expected, **NEAR)
    assert len(found) > 1  # the choice is not one for all


def test_a_gaussian_that_leaves_a_row_out() -> None:
    support, _, episodes, vectors, each = unpacked(5)
    found = left_out(named(support, episodes, vectors, "a head"), 0.5)
    for e, (rows, labels, names, _) in enumerate(each):
        count, classes, width = len(rows), len(names), rows.shape[1]

        def parts(keep: Tensor, rows: Tensor = rows, labels: Tensor = labels, classes: int = classes) -> tuple[Tensor, Tensor]:
            means = torch.stack([rows[keep & (labels == c)].mean(0) for c in range(classes)])
            rest = (rows - means[labels])[keep]
            return means, rest.T @ rest

        t = parts(torch.ones(count, dtype=torch.bool))[1].trace() / (count - classes)
        for i in range(count):
            means, scatter = parts(torch.arange(count) != i)
            precision = (count - classes + width - 1) * torch.linalg.inv(scatter + t * torch.eye(width))
            expected = 0.5 * (rows[i] @ precision @ means.T - 0.5 * (means @ precision * means).sum(-1))
            torch.testing.assert_close(found[e, i], expected, rtol=1e-7, atol=1e-7)


def test_named_gaussian_adds_the_names_by_the_weight_with_the_least_loss() -> None:
    support, query, episodes, vectors, each = unpacked(6)
    logits = answer(NamedGaussian(scale=0.5), support, query, episodes, vectors)
    plain, without = answer(Gaussian(scale=0.5), support, query, episodes), left_out(named(support, episodes, vectors, "a head"), 0.5)
    for e, (rows, labels, names, queries) in enumerate(each):
        s = scale_of(rows, labels, names)
        totals = [
            float(cross_entropy(without[e] + w * rows @ names.T, labels, reduction="sum")) + 0.5 * math.log(w / s) ** 2 for w in SCALES
        ]
        torch.testing.assert_close(logits[e], plain[e] + SCALES[int(np.argmin(totals))] * queries @ names.T, **NEAR)


def test_lp_plus_is_gradient_descent() -> None:
    support, query, episodes, vectors, each = unpacked(7)
    logits = answer(LpPlus(steps=25), support, query, episodes, vectors)
    for e, (rows, labels, names, queries) in enumerate(each):
        n = len(rows)
        members = one_hot(labels, len(names)).double()
        weight = (members.T @ rows).requires_grad_()
        bias = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
        alpha = torch.full((len(names),), scale_of(rows, labels, names), dtype=torch.float64, requires_grad=True)
        fast = 4 * n / float(torch.linalg.eigvalsh(rows.T @ rows)[-1])
        slow = n / (4 * float((rows @ names.T).square().sum(0).max()))
        groups = [{"params": [weight, bias], "lr": fast, "momentum": 0.9}, {"params": [alpha], "lr": slow}]
        optimizer = torch.optim.SGD(groups, lr=fast)
        for _ in range(25):
            optimizer.zero_grad()
            cross_entropy(rows @ (weight + alpha[:, None] * names).T + bias, labels).backward()
            optimizer.step()
        expected = queries @ (weight + alpha[:, None] * names).T + bias
        torch.testing.assert_close(logits[e], expected.detach(), **NEAR)


@pytest.mark.parametrize("anchor", ["zero_shot", 0.0, 0.7])
def test_text_probe_is_gradient_descent(anchor: float | str) -> None:
    support, query, episodes, vectors, each = unpacked(8)
    logits = answer(TextProbe(anchor=anchor, steps=30), support, query, episodes, vectors)  # type: ignore[arg-type]
    for e, (rows, labels, names, queries) in enumerate(each):
        s = scale_of(rows, labels, names)
        shares = (s * rows @ names.T).softmax(-1)
        held = [float(shares[labels == c, c].mean()) if anchor == "zero_shot" else float(anchor) for c in range(len(names))]
        weight = names.clone().requires_grad_()
        optimizer = torch.optim.SGD([weight], lr=1.6 / s, momentum=0.9)
        for step in range(30):
            optimizer.param_groups[0]["lr"] = 1.6 / s * 0.5 * (1 + math.cos(math.pi * step / 30))
            optimizer.zero_grad()
            loss = cross_entropy(s * rows @ normalize(weight, dim=-1).T, labels)
            (loss + (torch.tensor(held, dtype=torch.float64) * (weight - names).square().sum(-1)).mean()).backward()
            optimizer.step()
        torch.testing.assert_close(logits[e], (s * queries @ normalize(weight, dim=-1).T).detach(), **NEAR)


@pytest.mark.parametrize("head", [TipAdapter(), KernelPrior(), NamedGaussian(), LpPlus(), TextProbe()], ids=lambda h: type(h).__name__)
def test_one_label_a_class_is_neither_zero_shot_nor_the_support_alone(head: object) -> None:
    """And a class without a row is still an answer."""
    support, query, episodes, vectors, each = unpacked(9, shots=(1, 1, 1, 1), Q=40)
    logits = answer(head, support, query, episodes, vectors)  # type: ignore[arg-type]
    other = answer(head, support.roll(1, 1), query, episodes, vectors)  # type: ignore[arg-type]
    cosines = torch.stack([q @ names.T for _, _, names, q in each])
    centred = logits - logits.mean(-1, keepdim=True)
    shown = cosines - cosines.mean(-1, keepdim=True)
    likeness = torch.corrcoef(torch.stack([centred.flatten(), shown.flatten()]))[0, 1]
    assert 0.2 < float(likeness) < 0.9999 and not torch.allclose(logits, other)
    if isinstance(head, LpPlus):
        return  # nothing holds the weights of the others, which grow past a name
    alone = torch.stack([torch.einsum("qd,kd->qk", q, r) for r, _, _, q in each])
    assert (
        float((logits.argmax(-1) == cosines.argmax(-1)).double().mean())
        < 1
        > float((logits.argmax(-1) == alone.argmax(-1)).double().mean())
    )
    lacking = relabelled(episodes, support_label=torch.where(episodes.support_label == 3, 2, episodes.support_label))
    answers = answer(head, support, vectors, lacking, vectors).argmax(-1)  # type: ignore[arg-type]
    assert bool((answers[:, 3] == 3).all())  # its name itself is asked
