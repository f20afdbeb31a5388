"""A head that starts at the class names and is held near them, against TextProbe, which does the same in closed form of the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import respond, tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.scaled import backbone_scale, scaled
from fewtune.machine import Machine
from fewtune.parts.heads import Linear, Text, TextProbe
from fewtune.parts.losses import ClassAnchor, CrossEntropy, Outcome
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import only
from fewtune.parts.rates import Cosine
from fewtune.recipes import fomaml, mamf, maml, read_method, zero_shot
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny import images, save_bert, save_clip
from tests.tiny_text import tiny_masked

PROMPTS = ("a photo of a {}",)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    names = ("cat", "dog", "bird", "mat")
    space = RowSpace([make_examples(Pixels(images(40, height=32, width=32)), np.arange(40) % 4, class_names=names)])
    yield Ground(load_backbone(f"hf:{folder}", machine=Machine(device="cpu").resolved()), space)


@pytest.mark.parametrize("anchor", ["zero_shot", 0.3, 0.0])
def test_a_head_from_names_with_an_anchor_for_each_class_is_text_probe(ground: Ground, anchor: float | str) -> None:
    steps, scale = 20, 8.0
    head = Linear(start="text", cosine=True, temperature=scale, prompts=PROMPTS)
    held = ClassAnchor() if anchor == "zero_shot" else ClassAnchor(strength=float(anchor), agreement=False)
    phase = Phase(
        sampler=Pooled(), learner=head, plan=only("head.weight", Cosine(lr=1.6 / scale)), steps=steps, losses=(CrossEntropy(), held),
        optimizer=SGD(momentum=0.9),
    )  # fmt: skip
    episode = Sampled(ways=3, shots=3, queries=4).draw(class_rows(ground.space), key(0), 0, 1)
    weights, probe = ground.start(), TextProbe(prompts=PROMPTS, anchor=anchor, scale=scale, steps=steps)  # type: ignore[arg-type]
    found = respond(ground, Adapt(phases=(phase,), then=head), weights, episode, key(1)).logits
    expected = respond(ground, probe, weights, episode, key(1)).logits
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    start = respond(ground, Text(prompts=PROMPTS, temperature=scale), weights, episode, key(1)).logits
    assert (found - start).abs().max() > 0.05
    own = tune(ground, Adapt(phases=(phase,), then=head), weights, episode, key(1))
    assert list(own) == ["head.weight"]


def test_without_steps_it_is_zero_shot_and_its_temperature_may_move(ground: Ground) -> None:
    head = Linear(start="text", cosine=True, temperature=5.0, prompts=PROMPTS)
    episode = Sampled(ways=3, shots=2, queries=4).draw(class_rows(ground.space), key(0), 0, 2)
    phase = Phase(sampler=Pooled(), learner=head, plan=only("head.temperature", 1.0), steps=0)
    weights = {**ground.start(), **ground.declared(head)}
    expected = respond(ground, Text(prompts=PROMPTS, temperature=5.0), weights, episode, key(1)).logits
    found = respond(ground, Adapt(phases=(phase,), then=head), weights, episode, key(1)).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    moving = Adapt(phases=(Phase(sampler=Pooled(), learner=head, plan=only("head.temperature", 1.0), steps=2),), then=head)
    assert "head.temperature" in tune(ground, moving, weights, episode[:1], key(1))


def test_the_anchor_says_what_it_lacks(ground: Ground) -> None:
    episode = Sampled(ways=3, shots=2, queries=4).draw(class_rows(ground.space), key(0), 0, 1)
    with pytest.raises(InputError, match=r"ClassAnchor holds the rows 'head\.weight'"):
        ClassAnchor()(Outcome(logits=torch.zeros(1, 12, 3), episodes=episode, teacher=torch.zeros(1, 12, 3)))
    with pytest.raises(InputError, match="a number of at least 0"):
        ClassAnchor(strength=-1.0)
    with pytest.raises(InputError, match="goes with cosine=True"):
        Linear(temperature=3.0)
    with pytest.raises(InputError, match=r"one \{\} for the class name"):
        Linear(start="text", prompts="a photo")  # type: ignore[arg-type]


def test_an_open_temperature_is_that_of_the_backbone(ground: Ground, tmp_path: Path) -> None:
    assert ground.backbone.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)
    assert backbone_scale(ground.backbone) == float(f"{ground.backbone.logit_scale:.6g}")
    save_bert(tmp_path / "bert")
    assert backbone_scale(load_backbone(f"hf:{tmp_path}/bert", machine=Machine(device="cpu"))) == 100.0
    masked = load_backbone(f"hf:{tiny_masked(tmp_path / 'masked')},template={{text}} it was [MASK]", machine=Machine(device="cpu"))
    assert backbone_scale(masked) == 1.0
    embedded = load_backbone("embedded", machine=Machine(device="cpu"))
    assert backbone_scale(embedded) == pytest.approx(20.1, abs=0.1)
    for method in (fomaml(prompts="a {}"), maml(prompts="a {}"), mamf(prompts="a {}"), zero_shot()):
        made = scaled(method, embedded)
        heads = [head for head in made.heads if isinstance(head, Text)]
        assert heads and all(head.temperature == backbone_scale(embedded) for head in heads)
        assert scaled(made, ground.backbone) is made
    given = read_method("zero_shot(temperature=7.0)")
    assert scaled(given, embedded) is given and read_method("ridge") is not None
