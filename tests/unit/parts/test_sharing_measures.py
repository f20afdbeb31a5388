"""What is measured of sharing heads: the use of experts, multiplications; the size of the weights that they begin with; task vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fewtune.backbones.load import load_backbone
from fewtune.errors import InputError
from fewtune.learning import task_vectors
from fewtune.machine import Machine
from fewtune.parts.sharing import Film, Gating, Independent, Mmoe, SharedBottom, multiplications, utilisation, width_for
from fewtune.recipes import read_method
from fewtune.spec import parse, text
from tests.tiny import save_bert

OUTPUTS = (3, 1, 2)


def test_the_use_of_experts_is_the_mean_of_the_gates() -> None:
    head = Mmoe(outputs=OUTPUTS, experts=4, width=3)
    weight = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight[2] = 0.0  # this task uses all alike
    weight[1, :, 0], weight[1, :, 1:] = torch.tensor([9.0, 0.0, 0.0, 0.0]), 0.0  # and this one expert 0 alone
    features = torch.ones(50, 5, dtype=torch.float64)
    features[:, 1:] = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = utilisation(head, {"head.gate.weight": weight}, features)
    by_hand = np.stack([np.mean([np.exp(g @ x) / np.exp(g @ x).sum() for x in features.numpy()], 0) for g in weight.numpy()])
    np.testing.assert_allclose(found.share.numpy(), by_hand, rtol=1e-12)
    assert found.share[2].tolist() == pytest.approx([0.25] * 4) and float(found.entropy[2]) == pytest.approx(np.log(4))
    np.testing.assert_allclose(found.entropy.numpy(), -(by_hand * np.log(by_hand)).sum(1), rtol=1e-12)
    assert found.polarised.tolist() == [False, True, False] and float(found.share[1, 0]) > 0.99


@pytest.mark.parametrize(
    "head",
    [
        SharedBottom(outputs=(1,), width=7, depth=2),
        SharedBottom(outputs=(1,), width=7, tower=4),
        Mmoe(outputs=(1,), width=7, depth=2, experts=3),
        Mmoe(outputs=(1,), width=7, experts=3, tower=4),
    ],
    ids=text,
)
def test_multiplications_are_those_that_torch_counts(head: Any) -> None:
    """Of one row and one task: half of the floating-point operations of all matrix products."""
    state = {"task": torch.tensor([0]), "classes": torch.tensor([[0]])}
    with FlopCounterMode(display=False) as counted:
        head.score(state, torch.randn(1, 1, 10), head.declare(10))
    assert multiplications(head, 10) == counted.get_total_flops() / 2


def test_each_task_adds_its_gate_its_mix_its_tower_and_its_outputs() -> None:
    one, three = (Mmoe(outputs=outputs, width=7, experts=4, tower=5) for outputs in ((2,), (2, 2, 2)))
    assert multiplications(three, 10) - multiplications(one, 10) == 2 * (10 * 4 + 4 * 7 + 7 * 5 + 5 * 2)


def test_the_width_is_the_greatest_that_costs_no_more() -> None:
    most = multiplications(SharedBottom(outputs=OUTPUTS, width=100), 20)
    for head in (SharedBottom(outputs=OUTPUTS), Mmoe(outputs=OUTPUTS, experts=8)):
        width = width_for(head, 20, most)
        costs = [multiplications(replace(head, width=one), 20) for one in (width, width + 1)]
        assert costs[0] <= most < costs[1]
    assert width_for(SharedBottom(outputs=OUTPUTS), 20, most) == 100 and width_for(SharedBottom(outputs=OUTPUTS), 20, 5) == 0


@pytest.mark.parametrize(
    "head",
    [
        Independent(outputs=OUTPUTS, width=200, depth=2),
        Gating(outputs=OUTPUTS, width=200, depth=2, share=0.2),
        Mmoe(outputs=OUTPUTS, width=200, depth=2, experts=2),
    ],
    ids=lambda head: type(head).__name__,
)
def test_hidden_units_begin_with_the_variance_of_their_inputs(head: Any) -> None:
    """Weights of variance 2 / inputs under ReLU; a unit behind gates has as many inputs as its task uses."""
    start = head.declare(300)
    assert float(start["head.trunk.0.weight"].std()) == pytest.approx((2 / 300) ** 0.5, rel=0.02)
    assert float(start["head.trunk.1.weight"].std()) == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert not start["head.trunk.0.bias"].any()


def test_a_task_has_the_vector_of_its_name(tmp_path: Path) -> None:
    save_bert(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}", machine=Machine(device="cpu").resolved())
    names = ["a red cat", "the dog", "a red cat"]
    found = task_vectors(backbone, names)
    assert len(found) == 3 and found[0] == found[2] != found[1] and len(found[0]) == backbone.width
    np.testing.assert_allclose([sum(x * x for x in one) for one in found], 1, rtol=1e-4)
    head = Film(outputs=(1, 1, 1), descriptors=found)
    assert parse(text(head), {"Film": Film}) == head
    assert read_method(f"film(descriptors={found!r})").head.descriptors == found  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="has no label side"):
        task_vectors(load_backbone("mlp,inputs=2,width=3", machine=Machine(device="cpu").resolved()), names)
