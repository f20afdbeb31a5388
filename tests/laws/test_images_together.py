"""Laws of inner loops on images: episodes at once equal one after another, attention differentiates twice, half precision learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.declared import begin
from fewtune.learning.direction import Gradients, direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.plan import everything
from fewtune.recipes import imaml, maml, multitask
from fewtune.tasks.task import class_rows
from tests.tiny import images, save_vit


def grounds(name: str, **machine: object) -> Ground:
    labels = np.repeat(np.arange(5), 6)
    space = RowSpace([make_examples(Pixels(images(30)), labels, class_names=[f"c{i}" for i in range(5)])])
    return Ground(load_backbone(name, machine=Machine(device="cpu", workers=1, **machine)), space)  # type: ignore[arg-type]


def step(ground: Ground, phase: Phase) -> tuple[Gradients, Tensor]:
    leaves = {n: t.detach().clone().requires_grad_() for n, t in begin(ground, (phase,)).items()}
    episodes = phase.sampler.draw(class_rows(ground.space), key(0), 0, phase.batch)
    return direction(phase, answering(ground, phase, leaves, key(0)), leaves, episodes, key(0), origin=leaves)


@pytest.mark.parametrize("through", ["unroll", "first_order"])
@pytest.mark.parametrize("together", [2, 3, 8])
def test_images_together_are_one_after_another(through: str, together: int) -> None:
    method = maml(ways=3, shots=1, queries=2, inner_steps=2, batch=5, through=through)  # type: ignore[arg-type]
    (phase,) = method.phases
    assert isinstance(phase, Phase)
    alone, at_once = step(grounds("conv4,size=16,width=4"), phase), step(grounds("conv4,size=16,width=4", together=together), phase)
    torch.testing.assert_close(at_once[1], alone[1], rtol=1e-5, atol=1e-6)
    for name, gradient in alone[0].items():
        found = at_once[0][name]
        assert gradient is not None and found is not None
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("recipe", [maml, imaml])
def test_attention_is_differentiated_twice(tmp_path: Path, recipe: object) -> None:
    save_vit(tmp_path)
    (phase,) = recipe(ways=3, queries=2, inner_steps=2, batch=2).phases  # type: ignore[operator]
    alone = step(grounds(f"hf:{tmp_path}"), phase)
    assert bool(torch.isfinite(alone[1]).all())
    assert any(g is not None and bool((g != 0).any()) for n, g in alone[0].items() if "attention" in n or "attn" in n)
    if recipe is maml:
        at_once = step(grounds(f"hf:{tmp_path}", together=2), phase)
        torch.testing.assert_close(at_once[1], alone[1], rtol=1e-4, atol=1e-5)


def test_half_precision_learns_and_keeps_its_weights_whole() -> None:
    method = multitask(ways=3, queries=2, steps=6, lr=0.05)
    ground = grounds("conv4,size=16,width=8", dtype="bfloat16")
    trained = train(ground, method.phases, class_rows(ground.space), key(0))
    assert all(t.dtype == torch.float32 for t in trained.weights.values()) and trained.moved
    (phase,) = method.phases
    assert isinstance(phase, Phase) and phase.plan == everything(0.05)
    whole = step(grounds("conv4,size=16,width=8"), phase)
    half = step(ground, phase)
    torch.testing.assert_close(half[1], whole[1], rtol=0.05, atol=0.05)
