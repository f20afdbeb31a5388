"""The guard: what may be seen within a split, and what it decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.adaptation.guard import Guard, Side, guard_on_related, guard_on_target, own_splits_allow
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Integers, make_examples
from fewtune.data.items import Vectors
from fewtune.data.pool import Pool
from fewtune.keys import key
from fewtune.machine import Machine
from fewtune.recipes.candidates import candidates
from fewtune.statistics import bootstrap_interval
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
    assert helped.expected is not None and helped.expected.mean == pytest.approx(helped.finetuned)
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


def test_related_tasks_judge_by_class() -> None:
    pool = Pool([make_examples(Vectors(np.zeros((96, 8), np.float32)), np.repeat(np.arange(8), 12))])
    tasks = class_rows(pool)
    sampler = Sampled(ways=3, shots=2, queries=4)
    validation, judging = ([sampler.draw(tasks, key(0, part), 0, 20)] for part in ("validation", "judging"))
    plain = load_backbone("precomputed", machine=Machine(device="cpu"))
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(len(pool), 8)).astype("float32"))
    clear = noise + 6 * torch.nn.functional.one_hot(torch.from_numpy(pool.labels), 8).float()
    names = pool.class_names
    helped = guard_on_related(METHODS, Side(plain, noise), Side(plain, clear), names, validation, judging)
    assert helped.kept and helped.where == "held-out related tasks" and len(helped.differences) == 8
    assert helped.expected is None  # nothing is known of the target itself
    same = guard_on_related(METHODS, Side(plain, clear), Side(plain, clear), names, validation, judging)
    assert not same.kept and not same.differences.any()
