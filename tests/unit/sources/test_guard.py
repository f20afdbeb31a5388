"""The guard on classes of the sources: what it asks, and what it decides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.recipes.default_learners import candidates
from fewtune.sides.guard import LEVEL, ON_SOURCES, Guard
from fewtune.sources.advice import Advice
from fewtune.sources.finetune import Finetuned
from fewtune.sources.guard import guard_on_sources
from fewtune.sources.outcome import said_of
from fewtune.statistics import t_interval
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows

METHODS = candidates(label_side=False, modality="vector")


def test_related_tasks_judge_by_class() -> None:
    space = RowSpace([make_examples(Vectors(np.zeros((96, 8), np.float32)), np.repeat(np.arange(8), 12))])
    tasks = class_rows(space)
    sampler = Sampled(ways=3, shots=2, queries=4)
    validation, judging = ([sampler.draw(tasks, key(0, part), 0, 20)] for part in ("validation", "judging"))
    plain = load_backbone("precomputed", machine=Machine(device="cpu"))
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(len(space), 8)).astype("float32"))
    clear = noise + 6 * torch.nn.functional.one_hot(torch.from_numpy(space.labels), 8).float()
    names = space.class_names
    helped = guard_on_sources(METHODS, Side(plain, noise), Side(plain, clear), names, validation, judging)
    assert helped.kept and helped.where == "held-out classes of the sources" and len(helped.differences) == 8
    assert helped.gain == t_interval(helped.differences, 0.9)
    same = guard_on_sources(METHODS, Side(plain, clear), Side(plain, clear), names, validation, judging)
    assert not same.kept and not same.differences.any()


def related(differences: Sequence[float]) -> Guard:
    """What judging classes of the space with these differences decide."""
    of_classes = np.array(differences, dtype=np.float64)
    return Guard(ON_SOURCES, t_interval(of_classes, LEVEL), 0.5, 0.5, of_classes, (("a", "b"),))


def test_equal_gains_of_few_classes_prove_nothing() -> None:
    """Their interval has no width. Five classes that all gain are the fewest that chance gives in less than one case of twenty: 1 of 32."""
    for count in range(2, 5):
        assert related([0.2] * count).gain.low == pytest.approx(0.2)
        assert not related([0.2] * count).kept and related([0.2] * count).too_few
    assert related([0.2] * 5).kept and not related([0.2] * 5).too_few
    assert not related([0.0, 0.2, 0.2, 0.2, 0.2]).kept  # 1 of 16
    assert not related([-0.01, 0.2, 0.2, 0.2]).kept and not related([-0.2] * 8).kept


def test_too_few_classes_are_said() -> None:
    tuned = Finetuned(("t",), METHODS["centroid"], None, Advice("", 1.0, 1.0), [], 0, 0, 0.0)
    assert "but there are too few classes to judge by (4; at least 5 are needed)" in said_of(related([0.2] * 4), tuned)
    assert "which may be chance" in said_of(related([0.0] * 5), tuned)
    assert "The saved model is the finetuned one." in said_of(related([0.2] * 5), tuned)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=8))
def test_without_a_true_gain_few_classes_are_kept_in_one_case_of_twenty(sizes: list[int]) -> None:
    """Whatever the sizes of the differences, also equal and zero ones: of all their signs, each as likely, at most 5% are kept."""
    assert (
        np.mean([related([s * size for s, size in zip(signs, sizes, strict=True)]).kept for signs in product((-1, 1), repeat=len(sizes))])
        <= 0.05
    )


@pytest.mark.parametrize("classes", [2, 4, 6])
def test_few_judging_classes_do_not_keep_chance(classes: int) -> None:
    """A bootstrap over two classes keeps a third of such sides, and over four a sixth."""
    labels, random = np.repeat(np.arange(classes), 12), np.random.default_rng(0)
    space = RowSpace([make_examples(Vectors(np.zeros((len(labels), 4), np.float32)), labels)])
    sampler = Sampled(ways=min(classes, 4), shots=1, queries=6)
    plain, few = load_backbone("precomputed", machine=Machine(device="cpu")), {"centroid": METHODS["centroid"]}

    def chance() -> Side:
        centres = random.normal(size=(classes, 16))
        return Side(plain, torch.from_numpy((centres[labels] + random.normal(size=(len(labels), 16))).astype("float32")))

    kept = 0
    for seed in range(60):
        episodes = [sampler.draw(class_rows(space), key(seed, "judging"), 0, 50)]
        kept += guard_on_sources(few, chance(), chance(), space.class_names, episodes, episodes).kept
    assert kept <= 8  # the 99.5% quantile of 60 draws at 6%


def test_class_names_are_read_once_on_either_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a space of many classes only those that are asked about, and once, whatever the number of learners and of batches."""
    read: list[int] = []

    def embed_labels(_: Backbone, weights: object, texts: list[str], *__: object) -> Tensor:  # noqa: ARG001
        read.append(len(texts))
        return torch.ones(len(texts), 8)

    monkeypatch.setattr(Backbone, "label_side", True)
    monkeypatch.setattr(Backbone, "embed_labels", embed_labels)
    labels = np.repeat(np.arange(40), 6)
    space = RowSpace([make_examples(Vectors(np.zeros((240, 8), np.float32)), [f"c{k}" for k in labels])])
    methods = {name: read_method(name) for name in ("centroid", "zero_shot(prompts='{}')", "text_prior(prompts='{}')")}
    episodes = [Sampled(ways=3, shots=1, queries=2).draw(class_rows(space), key(0, "part", n), 0, 3) for n in range(4)]
    asked = len(np.unique(np.concatenate([e.classes.numpy().ravel() for e in episodes])))
    plain = load_backbone("precomputed", machine=Machine(device="cpu"))
    sides = [Side(plain, torch.randn(240, 8)) for _ in range(2)]
    guard_on_sources(methods, sides[0], sides[1], space.class_names, episodes[:2], episodes[2:])
    assert asked < 40 and read == [asked, asked]
