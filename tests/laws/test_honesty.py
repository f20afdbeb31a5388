"""No label of a test row has a say in what is learned: whatever they are, the same model comes out, bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.own_labels import BOTH
from fewtune.adaptation.own_labels import OWN as OWN_LABELS
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import TEST, TRAIN, Examples, make_examples
from fewtune.data.items import Items, Pixels, Vectors
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.sides.job import Workplace
from fewtune.sides.settings import Finetune, OwnSettings
from fewtune.sources.settings import SourceSettings
from fewtune.sources.stages import SOURCES
from tests.tiny import images

METHODS = {name: read_method(name) for name in ("centroid", "ridge")}
TRAINED, TESTED, WAYS = 36, 12, 3
OWN = OwnSettings(recipes=("contrastive(on='support', steps=4, batch=16, lr=0.01, last=1)",), repeats=1)


def target(items: Items, labels: list[str | None]) -> Examples:
    return make_examples(items, labels, name="target", row_split=np.repeat([TRAIN, TEST], [TRAINED, TESTED]))


def labellings(count: int) -> list[list[str | None]]:
    """The labels of the test rows as they are, and changed at random: to other classes, to ones that training lacks, to none."""
    own: list[str | None] = [f"c{i % WAYS}" for i in range(TESTED)]
    random = np.random.default_rng(0)
    names: list[str | None] = ["c0", "c1", "c2", "C1", "fox", "a first class", None]
    return [own, list(random.permutation(own)), *([names[i] for i in random.integers(0, len(names), TESTED)] for _ in range(count))]


def learned(found: Outcome) -> dict[str, Any]:
    """All that an adaptation came to, but what is said of the test rows."""
    bundle, outcome = found.bundle, found.sources
    tensors = {**bundle.state, **bundle.parameters, **({} if bundle.moved is None else bundle.moved.weights)}
    assert bundle.support is not None
    facts = {k: v for k, v in bundle.facts.items() if k not in ("measured_accuracy", "not_measured")}
    told = [s for s in found.details if not s.startswith(("Measured once", "Nothing was measured")) and s not in found.target.about_test]
    return {
        "tensors": {name: tensor.numpy().tobytes() for name, tensor in tensors.items()},
        "support": (bundle.support.labels.tolist(), bundle.support.features.numpy().tobytes(), bundle.support.digests),
        "model": (bundle.method, bundle.class_names, bundle.temperature, bundle.threshold),
        "choice": [(c.name, str(c.accuracy), c.interval, c.difference, str(c.p)) for c in found.choice.candidates],
        "facts": facts,
        "sentences": told,
        "forecast": None if found.forecast is None else found.forecast.sentence,
        "left out": found.target.left_out,
        "tasks": None
        if outcome is None
        else (outcome.trace.taken.tolist(), outcome.source_rows.notes, [s.digest() for s in outcome.source_rows.space.sources]),
        "guard": None if found.finetuning.guard is None else (found.finetuning.guard.gain, found.finetuning.guard.learners),
        "sides": None
        if (compared := found.finetuning.compared) is None
        else (compared.kept, compared.gain, {name: held.logits.tobytes() for name, held in compared.held.items()}),
    }


@pytest.mark.parametrize("skip_bad", [False, True])
def test_labels_of_test_rows_decide_nothing_of_frozen_learners(skip_bad: bool, tmp_path: Path) -> None:
    """Pictures, of which some test rows are copies of training rows and of each other."""
    random = np.random.default_rng(1)
    content = images(TRAINED + TESTED, seed=2, height=10, width=10)
    content[TRAINED + np.arange(5)] = content[random.permutation(TRAINED)[:5]]
    content[-2] = content[-1]
    own: list[str | None] = [f"c{i % WAYS}" for i in range(TRAINED)]
    backbone = load_backbone("pixels,size=6", machine=Machine(device="cpu"))
    found = [
        adapt_examples(
            target(Pixels(content), own + labels),
            backbone,
            methods=METHODS,
            at=Workplace(cache=tmp_path, quiet=True),
            settings=AdaptSettings(skip_bad=skip_bad),
        )
        for labels in labellings(8)
    ]
    assert all(learned(one) == learned(found[0]) for one in found)
    assert len({one.measured for one in found}) > 3  # they are what is measured


@pytest.mark.parametrize(("shots", "finetune"), [(12, "own"), (12, "auto"), (1, "auto")])
def test_labels_of_test_rows_decide_nothing_of_what_finetuning_gives(shots: int, finetune: Finetune, tmp_path: Path) -> None:
    """With sources that hold some of the test rows, under any name, with own labels and with both; judged on the target's own rows, and
    with one label a class on the sources."""
    random = np.random.default_rng(3)
    centres = np.where(np.arange(16) < 4, random.normal(scale=1.5, size=(40, 16)), 0.0)

    def rows(classes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        spread = np.where(np.arange(16) < 4, 0.3, 3.0)
        return (centres[classes] + random.normal(size=(len(classes), 16)) * spread).astype("float32")

    mine = rows(np.tile(np.arange(WAYS), 16))
    classes = np.repeat(np.arange(WAYS, 40), 12)
    theirs = rows(classes)
    theirs[::29] = mine[TRAINED + np.arange(len(theirs[::29])) % TESTED]  # the sources hold copies of test rows
    sources = make_examples(Vectors(theirs), [f"p{c}" for c in classes], name="pool")
    own = [f"c{i % WAYS}" if i < shots * WAYS else None for i in range(TRAINED)]
    backbone = load_backbone("mlp,inputs=16,width=24,depth=1", machine=Machine(device="cpu"))
    how = SourceSettings(visits=1700, rates=(0.1,), candidates=6)
    found = []
    for labels in labellings(1):
        examples = target(Vectors(mine), own + labels)
        found.append(
            adapt_examples(
                examples,
                backbone,
                sources=[sources],
                settings=AdaptSettings(finetune=finetune, own=OWN, sources=how, minutes=math.inf),
                methods=METHODS,
                at=Workplace(cache=tmp_path, quiet=True),
            )
        )
    first, compared = found[0].sources, found[0].finetuning.compared
    assert (first is None) == (finetune == "own") and (first is None or len(first.source_rows.leaks) >= TESTED)
    assert found[0].finetuning.guard is not None and (compared is None) == (shots == 1)
    if compared is not None:
        sides = {"own": [OWN_LABELS], "auto": [OWN_LABELS, SOURCES, BOTH]}[finetune]
        assert [*compared.held] == ["frozen", *sides]
    assert all(learned(one) == learned(found[0]) for one in found)
    assert torch.isfinite(found[0].features[found[0].target.test]).all()
