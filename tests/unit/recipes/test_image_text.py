"""Methods that finetune models with class names on a support, against loops by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import respond, tune
from fewtune.learning.ground import Ground
from fewtune.machine import Machine
from fewtune.recipes import clip_lora, prolip, two_stage
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny import images, save_bert, save_clip, save_vit

NAMES = ("cat", "dog", "bird", "mat")
PROMPTS = ("a photo of a {}",)


@pytest.fixture(scope="module", params=["pair", "clip"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("towers")
    for name, save in {"vit": save_vit, "bert": save_bert, "clip": save_clip}.items():
        save(folder / name)
    name = {"pair": f"pair:hf:{folder}/vit+hf:{folder}/bert", "clip": f"hf:{folder}/clip"}[request.param]
    space = RowSpace([make_examples(Pixels(images(40, height=32, width=32)), np.arange(40) % 4, class_names=NAMES)])
    return Ground(load_backbone(name, machine=Machine(device="cpu").resolved()), space)


def test_prolip_moves_the_projection_of_images_alone_and_by_this_loss(ground: Ground) -> None:
    method = prolip(prompts=PROMPTS, strength=0.7, steps=3, lr=1e-2, temperature=20.0)
    episode = Sampled(ways=3, shots=2, queries=2).draw(class_rows(ground.space), key(0), 0, 1)
    start = ground.start()
    own = tune(ground, method.learner, start, episode, key(1))  # type: ignore[arg-type]
    pair = "image_projection.weight" in start
    names = ["image_projection.weight", "image_projection.bias"] if pair else ["model.visual_projection.weight"]
    assert sorted(own) == sorted(names)
    leaves = {n: start[n].clone().requires_grad_() for n in names}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=1e-2, eps=1e-4)
    vectors = ground.class_vectors(method.learner.then, start, episode)[0]  # type: ignore[union-attr, index]
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 1e-2 * 0.5 * (1 + np.cos(np.pi * step / 3))
        features = ground.backbone.embed({**start, **leaves}, ground.space, episode.support[0])
        loss = cross_entropy(20 * normalize(features, dim=-1) @ vectors.T, episode.support_label[0])
        held = sum((leaf - start[n]).square().sum() for n, leaf in leaves.items())
        optimizer.zero_grad()
        (loss + 0.7 / 2 * held).backward()  # 1 / shots
        optimizer.step()
    for n, leaf in leaves.items():
        torch.testing.assert_close(own[n], leaf.detach(), atol=2e-5, rtol=1e-3)


def test_prolip_says_where_there_is_no_such_projection(tmp_path: Path) -> None:
    save_bert(tmp_path)
    from tests.tiny import text_space

    text = Ground(load_backbone(f"hf:{tmp_path}", machine=Machine(device="cpu").resolved()), text_space())
    episode = Sampled(ways=3, shots=2, queries=2).draw(
        class_rows(RowSpace([make_examples(Pixels(images(12)), np.arange(12) % 3)])), key(0), 0, 1
    )
    with pytest.raises(InputError, match=r"the plan moves nothing: 'image_projection\.\*'"):
        tune(text, prolip(prompts=PROMPTS).learner, text.start(), episode, key(1))  # type: ignore[arg-type]


def test_clip_lora_and_two_stage_move_what_they_say(ground: Ground) -> None:
    episode = Sampled(ways=3, shots=2, queries=2).draw(class_rows(ground.space), key(0), 0, 1)
    method = clip_lora(prompts=PROMPTS, steps=2)
    edited = Ground(ground.backbone, ground.space, method.edits)
    own = tune(edited, method.learner, edited.start(), episode, key(1))  # type: ignore[arg-type]
    assert own and all(n.startswith("lora.") for n in own)
    assert {"text" if "text" in n else "image" for n in own} == {"text", "image"}
    staged = two_stage(prompts=PROMPTS, steps=2, probe_steps=3)
    own = tune(ground, staged.learner, ground.start(), episode, key(1))  # type: ignore[arg-type]
    assert own and all("bias" in n or "norm" in n.lower() for n in own)
    outcome = respond(ground, staged.learner, ground.start(), episode, key(1))
    assert outcome.logits.shape == (1, 6, 3) and bool(outcome.logits.isfinite().all())
