"""Sentences of four classes and a text encoder small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Texts
from fewtune.machine import Machine
from fewtune.studies.mamf.settings import MamfSettings
from tests.tiny import WORDS, save_bert

NAMES = ("cat", "dog", "bird", "mat")


def sentences(rows: int = 24, *, classes: tuple[str, ...] = NAMES, seed: int = 0, name: str = "pets") -> Examples:
    """`rows` different sentences of each class: its name among other words, in one of four sentences another class's."""
    random = np.random.default_rng(seed)
    filling = [word for word in WORDS if word not in classes]
    texts: list[str] = []
    for label, own in enumerate(classes):
        while len(texts) < (label + 1) * rows:
            said = own if random.random() < 0.75 else classes[random.integers(len(classes))]
            made = " ".join(random.permutation([*random.choice(filling, 6), said]))
            if made not in texts:
                texts.append(made)
    labels = np.repeat(np.arange(len(classes)), rows)
    return make_examples(Texts(texts), labels, class_names=list(classes), name=name)


def small_encoder(folder: Path) -> Backbone:
    save_bert(folder)
    return load_backbone(f"hf:{folder}", machine=Machine(device="cpu").resolved())


def small_settings(**given: Any) -> MamfSettings:
    """A grid of one N with few rows, steps and tasks."""
    small: dict[str, Any] = {
        "ways": (3,),
        "seeds": (0, 1),
        "rows": 8,
        "shots": 3,
        "queries": 3,
        "episodes": 3,
        "lr": 1e-2,
        "test_lr": 1e-2,
        "test_steps": 2,
        "visits": 240,
        "ablation": (),
        "batch": 8,
    }
    return MamfSettings(**{**small, **given})
