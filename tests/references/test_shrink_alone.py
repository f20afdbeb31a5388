"""Shrink's strength by leave-one-out: rows alone in their class say nothing, checked by a loop over rows and strengths."""

from __future__ import annotations

import math

import torch

from fewtune.parts.heads.named_support import Named
from fewtune.parts.heads.shrink import GRID, SPREAD, USUAL, chosen_strength

TEMPERATURE = 10.0
LABELS = (0, 0, 0, 1, 1, 2, 3)  # the last two are alone


def total(x: torch.Tensor, names: torch.Tensor, k: float) -> float:
    """Log-losses of the rows in company, each left out of its own class, and the prior."""
    loss = 0.0
    for i, label in enumerate(LABELS):
        if LABELS.count(label) < 2:
            continue
        places = [sum(x[j] for j in range(len(LABELS)) if LABELS[j] == c and j != i) + k * names[c] for c in range(len(names))]
        logits = torch.stack([TEMPERATURE * torch.nn.functional.cosine_similarity(x[i], p, dim=0) for p in places])
        loss -= float(logits.log_softmax(0)[label])
    return loss + 0.5 * (math.log(k / USUAL) / SPREAD) ** 2


def test_rows_alone_in_their_class_do_not_choose_the_strength() -> None:
    generator, differs = torch.Generator().manual_seed(0), 0
    for _ in range(30):
        x, names = (torch.nn.functional.normalize(torch.randn(n, 5, generator=generator, dtype=torch.float64)) for n in (7, 4))
        members = torch.nn.functional.one_hot(torch.tensor(LABELS), 4).double()
        given = Named(x[None], members[None], names[None], torch.ones(1, 1, 4, dtype=torch.bool))
        chosen = float(chosen_strength(given, torch.tensor(TEMPERATURE, dtype=torch.float64)))
        assert chosen == min(GRID, key=lambda k: total(x, names, k))
        differs += chosen != USUAL
    assert differs > 10
