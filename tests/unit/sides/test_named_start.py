"""A model that reads class names: they are the head at the start. And random views. Tiny CLIP models made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

import fewtune
from fewtune.adaptation import finetuning
from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.own_labels import OWN
from fewtune.adaptation.settings import AdaptSettings
from fewtune.api.adapted import Adapted
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import Augment
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learners.target import usable_target
from fewtune.learning.classes import class_vectors
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, phases_of
from fewtune.machine import Machine
from fewtune.models.finetuned_weights import Moved
from fewtune.recipes import read_method
from fewtune.sides import settings as settings_of_own
from fewtune.sides.job import Workplace
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.planning import Plan
from fewtune.sides.settings import NAMED
from fewtune.tasks.episodes import Episodes
from tests.tiny import images, save_clip
from tests.unit.adaptation.small_job import keeping

NAMES = ("cat", "dog", "bird")
PROMPT = "a photo of a {}"
STEP = f"l2_sp(on='support', steps=1, lr=0.1, last=1, prompts='{PROMPT}')"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return load_backbone(f"hf:{folder}", machine=Machine(device="cpu"))


def photos(shots: int = 12, seed: int = 0) -> Examples:
    coarse = images(3, seed=4, height=32, width=32).astype(np.int64)
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), shots)
    noisy = np.clip(coarse[labels] + random.integers(-60, 60, (len(labels), 32, 32, 3)), 0, 255).astype(np.uint8)
    return make_examples(Pixels(noisy), [NAMES[k] for k in labels], name="photos")


def tuned(backbone: Backbone, recipe: str, rows: Any) -> tuple[Ground, dict[str, torch.Tensor]]:
    """What the engine's own adaptation on these rows gives, the head's weights among it."""
    examples = photos()
    ground = Ground(backbone, RowSpace([examples]))
    none = torch.zeros(1, 0, dtype=torch.int64)
    labels = torch.from_numpy(examples.labels[rows])[None]
    episode = Episodes(torch.from_numpy(rows)[None], labels, none, none, torch.arange(3)[None], torch.zeros(1, dtype=torch.int64))
    learner = read_method(recipe).learner
    assert isinstance(learner, Adapt)
    with torch.no_grad():
        return ground, tune(ground, learner, ground.start(), episode, key(0, "x"))


def test_a_step_is_that_of_the_zero_shot_head(clip: Backbone) -> None:
    """Plain gradient descent on the cross-entropy of 100 times the cosines to the class names, in both towers."""
    rows = np.arange(0, 36, 2)
    ground, own = tuned(clip, f"l2_sp(3.0, on='support', steps=1, lr=0.01, optimizer=SGD(), last=1, prompts='{PROMPT}')", rows)
    begun = ground.start()
    leaf = {n: t.clone().requires_grad_(n in own) for n, t in begun.items()}
    features = clip.embed(leaf, ground.space, rows)
    names = [photos().class_names[k] for k in range(3)]
    logits = 100 * normalize(features, dim=-1) @ class_vectors(clip, leaf, names, (PROMPT,)).T
    loss = cross_entropy(logits, torch.from_numpy(photos().labels[rows]))
    moved = [n for n in own if n in begun and n != "model.logit_scale"]
    for name, slope in zip(moved, torch.autograd.grad(loss, [leaf[n] for n in moved], allow_unused=True), strict=True):
        expected = begun[name] - 0.01 * (0 if slope is None else slope)  # at the start the anchor does not pull
        torch.testing.assert_close(own[name], expected, rtol=1e-3, atol=1e-5)
    changed = {n for n in own if not torch.equal(own[n], begun[n])}
    towers = [title for title, _ in clip.groups]
    last = {tower: [t for t in towers if t.startswith(tower)][-1] for tower in ("image ", "text ")}
    assert changed == {n for title in (*last.values(), "projection") for n in dict(clip.groups)[title] if n in changed} and len(changed) > 2


def test_the_anchor_holds_the_weights_near_their_start(clip: Backbone) -> None:
    def moved(strength: float) -> float:
        recipe = f"l2_sp({strength}, on='support', steps=20, lr=0.002, last=1, prompts='{PROMPT}')"
        ground, own = tuned(clip, recipe, np.arange(0, 36, 2))
        begun = ground.start()
        return sum(float(((t - begun[n]) ** 2).sum()) for n, t in own.items())

    free, held = moved(0.0), moved(20.0)
    assert 0 < held < free


def test_a_model_without_a_label_side_is_refused() -> None:
    plain = load_backbone("conv4,size=16,width=4", machine=Machine(device="cpu"))
    with pytest.raises(InputError, match="has no label side"):
        tuned(plain, STEP, np.arange(0, 36, 2))
    with pytest.raises(InputError, match="prompts are for on='support'"):
        read_method("l2_sp(prompts='a {}')")


def test_random_views_are_what_an_update_sees(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another side than without, the same again; features of the labelled rows are of the photos as they are."""
    plain = "contrastive(on='support', steps=3, batch=8, lr=0.01, last=1, head_lr=0.01)"
    views = plain.removesuffix(")") + ", view=Augment())"
    learner = own_method(views).learner
    assert isinstance(learner, Adapt) and [p.query_view for p in phases_of(learner.phases)] == [Augment()]
    examples = photos()
    target = usable_target(examples, clip, cache=None, skip_bad=False, quiet=True)
    seen: list[Any] = []
    embed = Backbone.embed

    def counted(self: Backbone, weights: Any, space: Any, rows: Any, *view: Any) -> Any:
        seen.append(view[:1])
        return embed(self, weights, space, rows, *view)

    monkeypatch.setattr(Backbone, "embed", counted)
    made = [OwnTuner(target, RowSpace([examples]), clip, own_method(r)).made(target.support) for r in (views, views, plain)]
    assert seen.count((Augment(),)) == 6
    assert torch.equal(made[0].side.features, made[1].side.features) and not torch.equal(made[0].side.features, made[2].side.features)
    after = made[0].side.backbone
    torch.testing.assert_close(
        made[0].side.features, embed(after, after.start(), RowSpace([examples]), np.arange(36)), rtol=1e-4, atol=1e-5
    )


def test_it_is_a_side_of_its_own_by_default(clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a saved one predicts, evaluates and takes another class."""
    short = NAMED.replace("steps=60", "steps=3").replace("last=3", "last=1")
    monkeypatch.setattr(finetuning, "planned", lambda *_: Plan(1, 0.01))
    monkeypatch.setattr(settings_of_own, "NAMED", short)
    monkeypatch.setitem(settings_of_own.USUAL, "image", ("contrastive(on='support', steps=3, batch=8, lr=0.01, last=1)",))
    name = f"{OWN} by l2_sp"
    keeping(monkeypatch, name)
    at = Workplace(cache=tmp_path / "cache", quiet=True)
    found = adapt_examples(photos(), clip, settings=AdaptSettings(minutes=1e6), at=at)
    compared = found.finetuning.compared
    assert compared is not None and [*compared.held] == ["frozen", OWN, name]
    assert isinstance(found.bundle.moved, Moved) and {n.split(".")[1] for n in found.bundle.moved.weights} > {"text_projection"}
    Adapted(found).save(tmp_path / "run")
    loaded = fewtune.load(tmp_path / "run", machine=Machine(device="cpu"))
    new = photos(seed=1)
    assert [p.label for p in loaded.predict(new)] == [p.label for p in Adapted(found).predict(new)]
    assert loaded.evaluate(new).accuracy.n == 36
    assert loaded.add_class("mat", images(4, seed=8, height=32, width=32)).class_names == ("bird", "cat", "dog", "mat")
