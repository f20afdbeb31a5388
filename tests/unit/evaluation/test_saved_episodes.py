"""Saved episodes find their rows again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.saved_episodes import read_saved, save_drawn
from fewtune.evaluation.study import Bench, Study
from fewtune.machine import Machine
from fewtune.recipes import variants
from fewtune.tasks.hard import Hard
from fewtune.tasks.samplers import Sampled


def collection(order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Examples:
    """Three classes of twelve rows: each of six contents twice in each class."""
    y = np.repeat(np.arange(3), 12)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)[np.tile(np.arange(6), 6)]
    return make_examples(Vectors(x[order]), y[order], class_names=["a", "b", "c"], name="twins")


def study(examples: Examples, protocol: Protocol, width: int = 8) -> Study:
    space = RowSpace([examples])
    model = load_backbone(f"mlp,inputs=4,width={width}", machine=Machine(device="cpu").resolved())
    features = feature_table(model, space, memory=True, quiet=True).features
    return Study(space, model, features, (protocol,), {"centroid": variants("centroid", ())})


def test_rows_of_the_same_content_keep_their_labels(tmp_path: Path) -> None:
    """Texts that two people labelled differently are in many sets: the label tells which one was meant, in any order."""
    protocol = Protocol(sampler=Sampled(ways=3, shots=2, queries=4), episodes=5)
    first = study(collection(np.arange(36)), protocol)
    save_drawn(tmp_path, Bench.of(first))
    order = np.random.default_rng(1).permutation(36)
    found = read_saved(tmp_path).on(RowSpace([collection(order)]))
    for place, episodes in first.draw().items():
        moved = found[place]
        pairs = [(old, order[new]) for old, new in ((episodes.query.numpy(), moved.query), (episodes.support.numpy(), moved.support))]
        for old, new in pairs:
            assert np.array_equal(old // 12, new // 12) and np.array_equal(old % 6, new % 6)  # label and content
        both = set(zip(*(np.concatenate([pair[i].reshape(-1) for pair in pairs]).tolist() for i in (0, 1)), strict=True))
        assert len(both) == len({old for old, _ in both}) == len({new for _, new in both})  # one row for each
        assert torch.equal(moved.query_label, episodes.query_label)


def test_episodes_that_each_backbone_had_of_its_own_are_refused(tmp_path: Path) -> None:
    """Near classes are near for one backbone: one of the two sets would have been taken without a word."""
    x, y = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32), np.repeat(np.arange(10), 6)
    examples = make_examples(Vectors(x), y, class_names=list("abcdefghij"), name="ten")
    protocol = Protocol(sampler=Hard(ways=3, shots=1, queries=2), episodes=8)
    one, two = study(examples, protocol), study(examples, protocol, 3)
    two = Study(one.target, two.backbone, two.features, two.protocols, two.methods)
    save_drawn(tmp_path, Bench.of(one, two))
    with pytest.raises(InputError, match="hold two sets for 3-way 1-shot, seed 0"):
        read_saved(tmp_path).on(one.target)
    (tmp_path / "episodes" / "setting1-seed0.npz").unlink()
    assert read_saved(tmp_path).on(one.target)[0, 0].digest() == one.draw()[0, 0].digest()
