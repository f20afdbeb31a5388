"""A job small enough for tests: vectors of four classes, a network of two layers, one way to finetune it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewtune.adaptation import finetuning
from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import TEST, TRAIN, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.sides.compared import Compared
from fewtune.sides.job import Workplace
from fewtune.sides.planning import Plan
from fewtune.sides.settings import OwnSettings
from fewtune.sources.settings import SourceSettings

WIDTH, WAYS = 12, 4
RECIPE = "contrastive(on='support', steps=12, batch=24, lr=0.02, last=1)"
LORA = "lora(on='support', steps=3, rank=2, lr=0.01)"
METHODS = {name: read_method(name) for name in ("centroid", "ridge")}
BACKBONE = load_backbone(f"mlp,inputs={WIDTH},width=16,depth=2", machine=Machine(device="cpu"))


def clusters(classes: int, rows: int, *, seed: int, name: str, letter: str, split: Any = None) -> Examples:
    """Classes that lie apart in four dimensions; the others are loud."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rows)
    x = random.normal(scale=3.0, size=(len(labels), WIDTH))
    x[:, :4] = random.normal(scale=1.5, size=(classes, 4))[labels] + random.normal(scale=0.5, size=(len(labels), 4))
    return make_examples(Vectors(x.astype("float32")), [f"{letter}{k}" for k in labels], name=name, row_split=split)


def target(shots: int = 10, tested: int = 6) -> Examples:
    split = np.where(np.arange(WAYS * (shots + tested)) % (shots + tested) < shots, TRAIN, TEST)
    return clusters(WAYS, shots + tested, seed=7, name="mine", letter="t", split=split)


def others() -> Examples:
    return clusters(20, 10, seed=1, name="more", letter="c")


def one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every side is judged by one pass of the folds, however slow the machine is."""
    monkeypatch.setattr(finetuning, "planned", lambda *_: Plan(1, 0.01))


def keeping(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """This rival is the one to keep, whatever the answers say."""
    monkeypatch.setattr(Compared, "_kept", lambda *_: name)


def adapted(
    cache: Path, *, sources: bool = False, examples: Examples | None = None, recipes: tuple[str, ...] = (RECIPE,), **how: Any
) -> Outcome:
    settings = AdaptSettings(
        own=OwnSettings(recipes=recipes),
        sources=SourceSettings(recipe="multitask(ways=4, shots=5, queries=5)", visits=2000, rates=(0.1,), candidates=6),
        **{"minutes": math.inf, **how},
    )
    more, at = [others()] if sources else [], Workplace(cache=cache, quiet=True)
    return adapt_examples(examples or target(), BACKBONE, sources=more, settings=settings, methods=METHODS, at=at)
