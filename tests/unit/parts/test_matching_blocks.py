"""Matching answers large tables in blocks of queries: the same answers, and never an array of queries times support rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fewtune.parts.heads import matching
from fewtune.parts.heads.matching import Matching
from fewtune.tasks.episodes import Episodes


def answers(head: Matching, block: int, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Logits, the gradient at the queries, and the most numbers that one product of matrices made."""
    monkeypatch.setattr(matching, "BLOCK", block)
    random, largest, product = torch.Generator().manual_seed(0), [0], torch.bmm

    def seen(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        made = product(a, b)
        largest[0] = max(largest[0], made.numel())
        return made

    monkeypatch.setattr(torch, "bmm", seen)
    support = torch.randn(2, 30, 8, generator=random, dtype=torch.float64)
    query = torch.randn(2, 41, 8, generator=random, dtype=torch.float64, requires_grad=True)
    label = torch.arange(5).repeat_interleave(6).expand(2, 30)
    episodes = made(label)
    parameters = head.declare(8)
    logits = head.score(head.fit(support, episodes, None, parameters), query, parameters)
    monkeypatch.setattr(torch, "bmm", product)
    (gradient,) = torch.autograd.grad(logits.square().sum(), query)
    return logits.detach(), gradient, largest[0]


def made(label: torch.Tensor) -> Episodes:
    E, S = label.shape
    return Episodes(
        support=torch.arange(S).expand(E, S),
        support_label=label,
        query=torch.arange(S, S + 41).expand(E, 41),
        query_label=torch.zeros(E, 41, dtype=torch.int64),
        classes=torch.arange(5).expand(E, 5),
        task=torch.zeros(E, dtype=torch.int64),
    )


@pytest.mark.parametrize("neighbours", [0, 3])
@pytest.mark.parametrize("block", [1, 2 * 35 * 7, 2 * 35 * 41])
def test_blocks_answer_as_the_whole(neighbours: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head = replace(Matching(), neighbours=neighbours)
    whole, whole_gradient, most = answers(head, 1 << 24, monkeypatch)
    logits, gradient, largest = answers(head, block, monkeypatch)
    assert most == 2 * 41 * 30 and largest <= max(block, 2 * 30)
    torch.testing.assert_close(logits, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-10, atol=1e-12)
