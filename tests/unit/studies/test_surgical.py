"""Surgical finetuning where the right block is known: a first layer that has to undo a rotation, a head that has to change names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.studies.starts import NOTHING, Finetuning, Surgery, surgical_study

LEARNING = Finetuning(steps=60, batch=16, rate=0.1, statistics="kept")


def clouds(count: int, seed: int, *, turn: int = 0, names: int = 0) -> Examples:
    """Four clouds around unit vectors; `turn` shifts the coordinates, `names` the classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    x = np.roll(0.3 * random.normal(size=(count, 4)) + 3 * np.eye(4)[labels], turn, axis=1)
    return make_examples(Vectors(x.astype(np.float32)), (labels + names) % 4, class_names=tuple("abcd"), name="clouds")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 16), nn.Tanh())
    return Backbone.of(network, inputs=4)


def test_blocks_are_finetuned_alone_from_what_was_learned(backbone: Backbone) -> None:
    shifts = {"none": (clouds(16, 1), clouds(40, 2)), "input": (clouds(16, 3, turn=1), clouds(40, 4, turn=1))}
    first = backbone.groups[0][0]
    blocks = {"first": (first,), "head": (), "all": ("*",)}
    ended: list[tuple[str, str]] = []
    settings = Finetuning(steps=80, batch=16, rate=0.1, head_rate=1e-9, statistics="kept")
    found = surgical_study(
        backbone,
        clouds(64, 0),
        shifts,
        blocks,
        LEARNING,
        settings,
        seeds=(0, 1),
        ended=lambda shift, block, _: ended.append((shift, block)),
    )
    assert found.right["none", NOTHING].mean() > 0.95 and found.right["input", NOTHING].mean() < 0.5
    assert found.gain("input", "first").low > 0.3 and found.gain("input", "head").mean == 0  # its rate is as good as none
    assert found.best("input") in ("first", "all") and len(ended) == 2 * 2 * 4
    assert found.gain("input", "first", over="head").mean == pytest.approx(found.gain("input", "first").mean)


def test_each_block_may_have_settings_of_its_own(backbone: Backbone) -> None:
    shifts = {"input": (clouds(16, 3, turn=1), clouds(40, 4, turn=1))}
    fast, still = (Finetuning(steps=20, batch=16, rate=rate, statistics="kept") for rate in (0.1, 1e-12))
    found = surgical_study(backbone, clouds(64, 0), shifts, {"fast": ("*",), "still": ("*",)}, LEARNING, {"fast": fast, "still": still})
    assert found.gain("input", "still").mean == 0 < found.gain("input", "fast").low


def test_the_head_begins_where_it_was_learned(backbone: Backbone) -> None:
    """One step at a rate of nearly nothing leaves everything as it was learned, the head too."""
    still = Finetuning(steps=1, batch=8, rate=1e-12, statistics="kept")
    found = surgical_study(backbone, clouds(64, 0), {"none": (clouds(16, 1), clouds(40, 2))}, {"all": ("*",)}, LEARNING, still)
    assert np.array_equal(found.right["none", "all"], found.right["none", NOTHING]) and found.right["none", "all"].mean() > 0.95


def test_a_stopped_study_goes_on_from_its_lines(backbone: Backbone, tmp_path: Path) -> None:
    shifts = {"none": (clouds(16, 1), clouds(40, 2)), "input": (clouds(16, 3, turn=1), clouds(40, 4, turn=1))}
    settings = Finetuning(steps=10, batch=8, rate=0.1, statistics="kept")
    new: list[tuple[str, str]] = []

    def study(**how: Any) -> Surgery:
        blocks = how.pop("blocks", {"head": (), "all": ("*",)})
        ended = lambda shift, block, _: new.append((shift, block))  # noqa: E731
        return surgical_study(backbone, clouds(64, 0), shifts, blocks, LEARNING, settings, ended=ended, **how)

    whole, lines = study(), tmp_path / "lines.jsonl"
    study(lines=lines)
    written = lines.read_text().splitlines()
    assert len(written) == 6 and json.loads(written[0])["block"] == NOTHING
    lines.write_text("\n".join([*written[:4], written[4][:30]]) + "\n")  # the fifth was cut off
    new.clear()
    again = study(lines=lines)
    assert new == [("input", "head"), ("input", "all")]
    assert all(np.array_equal(again.right[place], right) for place, right in whole.right.items())
    new.clear()
    study(lines=lines, seeds=(1,))
    study(lines=lines, blocks={"head": (), "first": (backbone.groups[0][0],)})
    assert len(new) == 6 + 2 and ("none", "first") in new  # another seed is another study; of known blocks nothing is run


def test_odd_input(backbone: Backbone) -> None:
    few = {"x": (clouds(16, 1), clouds(16, 2))}
    with pytest.raises(InputError, match="another name"):
        surgical_study(backbone, clouds(64, 0), few, {NOTHING: ()}, LEARNING, LEARNING)
    with pytest.raises(InputError, match="settings for each of the blocks all, found head"):
        surgical_study(backbone, clouds(64, 0), few, {"all": ("*",)}, LEARNING, {"head": LEARNING})
    other = make_examples(few["x"][0].items, ["a", "b"] * 8)
    with pytest.raises(InputError, match="other classes"):
        surgical_study(backbone, clouds(64, 0), {"x": (other, other)}, {"all": ("*",)}, LEARNING, LEARNING)
