"""The head's decay and rate, and margins at every group: against closed forms on a linear network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError
from fewtune.studies.starts import Finetuning, head_study
from fewtune.studies.starts.heads import trends
from fewtune.transfer import group_margins, margins
from tests.unit.studies.test_surgical import clouds


def test_margins_of_a_linear_network_are_distances() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5))
    backbone = Backbone.of(network, inputs=4)
    weight, bias, x = torch.randn(3, 5), torch.randn(3), torch.randn(7, 4)
    labels = torch.arange(7) % 3
    found = group_margins(backbone, backbone.start(), (weight, bias), x, labels)
    state = backbone.start()
    (first, _), (second, _) = backbone.groups[0], backbone.groups[-1]
    hidden = x @ state["0.weight"].T + state["0.bias"]
    features = hidden @ state["1.weight"].T + state["1.bias"]
    logits = features @ weight.T + bias
    expected = margins(logits, labels, weight) / features.norm(dim=1).mean()
    torch.testing.assert_close(found[second], expected, rtol=1e-4, atol=1e-5)
    expected = margins(logits, labels, weight @ state["1.weight"]) / hidden.norm(dim=1).mean()
    torch.testing.assert_close(found[first], expected, rtol=1e-4, atol=1e-5)
    assert not backbone.network[0]._forward_hooks  # nothing is left behind


class Beside(nn.Linear):
    """A layer that puts out something beside its activations, as attention does."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return super().forward(x), x


class Two(nn.Module):
    def __init__(self, first: nn.Linear) -> None:
        super().__init__()
        self.first, self.second = first, nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        return self.second(hidden[0] if isinstance(hidden, tuple) else hidden)  # type: ignore[no-any-return]


def test_a_layer_may_put_out_several_tensors() -> None:
    found = []
    for kind in (nn.Linear, Beside):
        torch.manual_seed(1)
        backbone = Backbone.of(Two(kind(4, 6)), inputs=4)
        weight, bias, x = torch.randn(3, 5), torch.randn(3), torch.randn(7, 4)
        found.append(group_margins(backbone, backbone.start(), (weight, bias), x, torch.arange(7) % 3))
    torch.testing.assert_close(found[0], found[1])


def test_a_decay_of_the_head_makes_it_small() -> None:
    torch.manual_seed(0)
    backbone = Backbone.of(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), inputs=4)
    target = {"turned": (clouds(12, 7, turn=1), clouds(24, 8, turn=1))}
    settings = Finetuning(steps=40, batch=16, rate=0.05, statistics="kept")
    runs = head_study(backbone, clouds(64, 0), clouds(40, 1), target, settings, "head_decay", (0.0, 0.1, 1.0))
    assert [run.value for run in runs] == [0.0, 0.1, 1.0] and runs[0].upstream.mean > 0.9
    assert runs[0].head_norm > runs[1].head_norm > runs[2].head_norm
    assert 0 < runs[0].downstream["turned"].mean <= 1 and runs[0].norms.keys() == runs[0].layer_margins.keys()
    found = trends(runs)
    assert found["head_norm"].rho == pytest.approx(-1) and {"upstream", "downstream turned", "head_margin"} < found.keys()
    with pytest.raises(InputError, match="two or more values"):
        head_study(backbone, clouds(64, 0), clouds(40, 1), target, settings, "head_rate", (0.1,))
    assert np.isfinite([run.head_margin for run in runs]).all()
