"""The guard: what may be seen within a split, and what it decides."""

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
from fewtune.data.examples import Integers, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.recipes.default_learners import candidates
from fewtune.sources.advice import Advice
from fewtune.sources.finetune import Finetuned
from fewtune.sources.guard import LEVEL, ON_SOURCES, OWN, Guard, guard_on_sources, guard_on_target, own_splits_allow
from fewtune.sources.outcome import said_of
from fewtune.statistics import bootstrap_interval, t_interval
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows

METHODS = candidates(label_side=False, modality="vector")
NAMES = ("a", "b", "c")
LABELS = np.repeat([0, 1, 2], 12)


def features(signal: float, seed: int = 0) -> Tensor:
    """Rows of three classes, `signal` standard deviations apart in a few of 16 dimensions."""
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(36, 16)).astype("float32"))
    return noise + signal * torch.nn.functional.one_hot(torch.from_numpy(LABELS), 16).float()


def side(signal: float, seed: int = 0) -> Side:
    return Side(load_backbone("precomputed", machine=Machine(device="cpu")), features(signal, seed))


def judged(before: float, after: float) -> tuple[Guard, list[Integers]]:
    seen: list[Integers] = []

    def finetuned(rows: Integers) -> Side:
        seen.append(rows)
        return side(after, seed=1)

    return guard_on_target(METHODS, side(before), finetuned, np.arange(36), LABELS, NAMES), seen


def test_a_fold_is_judged_by_what_never_saw_it() -> None:
    _, seen = judged(1.0, 1.0)
    assert len(seen) == 4
    held = [np.setdiff1d(np.arange(36), rows) for rows in seen]
    assert sorted(np.concatenate(held).tolist()) == list(range(36))  # every row is held out once
    assert all(set(LABELS[rows]) == {0, 1, 2} for rows in seen)


def test_a_clear_gain_is_kept_and_a_loss_is_not() -> None:
    helped, _ = judged(0.5, 5.0)
    assert helped.kept and helped.gain.low > 0 and helped.finetuned > 0.9 > helped.frozen
    assert helped.gain.mean == pytest.approx(helped.finetuned - helped.frozen)
    assert helped.expected is not None and helped.expected.mean == pytest.approx(helped.finetuned, abs=0.01)
    hurt, _ = judged(5.0, 0.5)
    assert not hurt.kept and hurt.gain.high < 0


def test_the_same_features_are_no_gain() -> None:
    same = side(1.5)
    guard = guard_on_target(METHODS, same, lambda _: same, np.arange(36), LABELS, NAMES)
    assert not guard.kept and guard.gain.mean == 0 and not guard.differences.any()


def test_the_bound_is_that_of_a_bootstrap_over_items() -> None:
    guard, _ = judged(0.5, 5.0)
    assert guard.gain == bootstrap_interval(guard.differences, 0.9, seed=0) and len(guard.differences) == 36


def test_chance_is_rarely_kept() -> None:
    """Two sides that differ by chance alone: one in twenty may pass at 95% on one side; items are few, so a little more does."""
    kept = 0
    for seed in range(40):
        before, after = side(1.5, seed=2 * seed), side(1.5, seed=2 * seed + 1)
        few = {"centroid": METHODS["centroid"]}
        kept += guard_on_target(few, before, lambda _, s=after: s, np.arange(36), LABELS, NAMES, seed=seed).kept  # type: ignore[misc]
    assert kept <= 7  # the 99.8% quantile of 40 draws at 6%


@pytest.mark.parametrize(("shots", "ways", "allowed"), [(8, 5, True), (3, 20, False), (4, 5, False), (5, 6, True)])
def test_how_many_labels_it_takes(shots: int, ways: int, allowed: bool) -> None:
    assert own_splits_allow(np.repeat(np.arange(ways), shots), ways) is allowed


def test_a_rare_class_does_not_stop_the_others_from_being_split() -> None:
    assert own_splits_allow(np.repeat([0, 1, 2], [500, 500, 1]), 3)
    assert not own_splits_allow(np.repeat(np.arange(31), [30] + [1] * 30), 31)  # one class alone says little of the whole


def test_the_accuracy_to_expect_pays_for_having_been_chosen() -> None:
    """Where the sides differ by a little luck, less is expected of the kept one than it reached; where by much, what it reached."""

    def expected(better: int, worse: int) -> tuple[float, float]:
        correct = np.array([1.0] * 27 + [0.0] * 9)
        differences = np.array([1.0] * better + [0.0] * (36 - better - worse) + [-1.0] * worse)
        guard = Guard(OWN, bootstrap_interval(differences, 0.9), 0.0, float(correct.mean()), differences, (), np.append(correct, np.nan))
        assert guard.expected is not None and guard.expected.n == 36
        return guard.expected.mean, guard.finetuned

    for little, much in ((4, 2), (3, 1)):
        mean, reached = expected(little, much)
        assert mean < reached - 0.005
    mean, reached = expected(20, 0)
    assert mean == pytest.approx(reached, abs=0.005)


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
    assert helped.expected is None  # nothing is known of the target itself
    assert helped.gain == t_interval(helped.differences, 0.9)
    same = guard_on_sources(METHODS, Side(plain, clear), Side(plain, clear), names, validation, judging)
    assert not same.kept and not same.differences.any()


def related(differences: Sequence[float]) -> Guard:
    """What judging classes of the space with these differences decide."""
    of_classes = np.array(differences, dtype=np.float64)
    return Guard(ON_SOURCES, t_interval(of_classes, LEVEL), 0.5, 0.5, of_classes, (("a", "b"),), np.zeros(0))


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

    def embed_labels(_: Backbone, weights: object, texts: list[str]) -> Tensor:  # noqa: ARG001
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
