"""Where the tasks of a sharing head meet: all that a loss says of the shared layers goes through that place."""

from __future__ import annotations

import pytest
import torch

from fewtune.parts.meeting import meetings
from fewtune.parts.sharing import Additive, Film, Gating, Mmoe, Mtan, SharedBottom
from fewtune.parts.sharing.sharing import Sharing

OUTPUTS = (3, 1, 2)
ONE = [Additive(outputs=OUTPUTS, width=6), Film(outputs=OUTPUTS, width=6), Gating(outputs=OUTPUTS, width=6), Mtan(outputs=OUTPUTS, width=6)]
ANY = [kind(outputs=OUTPUTS, width=6, depth=depth, tower=4) for kind in (SharedBottom, Mmoe) for depth in (1, 2)]
STATE = {"task": torch.tensor([0, 1, 2]), "classes": torch.tensor([[0, 1, 2], [3, -1, -1], [4, 5, -1]])}


def scored(head: Sharing) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    """(parameters, a loss of all tasks, what was noted)."""
    random = torch.Generator().manual_seed(0)
    declared = head.declare(5)  # type: ignore[attr-defined]
    parameters = {n: (t.double() + 0.3 * torch.randn(t.shape, generator=random).double()).requires_grad_() for n, t in declared.items()}
    query = torch.randn(3, 7, 5, generator=random).double()
    with meetings() as found:
        scores = head.score(STATE, query, parameters)  # type: ignore[attr-defined]
    loss = sum((scores[e, :, :n] ** 3).mean() * (e + 1) for e, n in enumerate(OUTPUTS))
    assert isinstance(loss, torch.Tensor)
    return parameters, loss, found.heads


@pytest.mark.parametrize("head", [*ONE, *ANY], ids=lambda head: f"{type(head).__name__}-{head.depth}")
def test_the_shared_layers_are_read_through_the_meeting_alone(head: Sharing) -> None:
    parameters, loss, noted = scored(head)
    assert len(noted) == 1 and noted[0].shape[:2] == (3, 7)
    shared = {n: t for n, t in parameters.items() if ".trunk." in n}
    whole = torch.autograd.grad(loss, [*shared.values()], retain_graph=True)
    (slope,) = torch.autograd.grad(loss, [noted[0]], retain_graph=True)
    through = torch.autograd.grad(noted[0], [*shared.values()], grad_outputs=slope)
    assert shared and any(bool(g.abs().max() > 1e-6) for g in whole)
    for one, other in zip(whole, through, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", [Additive, Film, Gating, Mtan])
def test_with_more_shared_layers_there_is_no_one_place(kind: type[Film]) -> None:
    assert not scored(kind(outputs=OUTPUTS, width=6, depth=2))[2]
