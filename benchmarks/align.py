"""Zero-shot accuracy on classes that were never aligned on: an image encoder and a text encoder, aligned in three ways.

    python benchmarks/align.py KIT [CACHE] [--size 128] [--most 30] [--seeds 0 1 2 3 4]

MobileNetV2 and MiniLM are aligned on the train classes of Tiny ImageNet and Caltech-101 (`--most` rows a class, drawn anew for each seed);
settings are chosen by their validation classes. Then classes are named that the alignment never saw: 5-way accuracy over all choices of
five classes, exactly (`statistics.several_ways`), on the test classes of both and on all classes of the far sets. The interval is over
classes (Student's t), of the mean over seeds; "gain" is over the ridge, paired by class.

Ridge: a map from unit image features to the class vectors, centred or not, its penalty by the validation classes. Closed form: what
`align` begins with. InfoNCE and sigmoid: `align` as it ships. Both towers are read once; then this takes about a minute a seed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.data.templates import PHOTO_TEMPLATES, readable
from fewtune.learning.classes import class_vectors
from fewtune.lengths import unit
from fewtune.machine import Machine
from fewtune.pretraining.align import aligned
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.closed_form import Moments, Projections, Rows, chosen_strengths
from fewtune.statistics.intervals import t_interval
from fewtune.statistics.several_ways import class_means, several_ways_accuracy

NEAR, FAR = ("tiny_imagenet", "caltech101"), ("cifar10", "clothing10", "dtd10")
TRAIN, VALIDATION, TEST = 0, 1, 2
MANY = 6000  # rows of a set that are embedded at most
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # times the number of rows


class Features:
    """The features of a set's rows (at most `most` of each class for each seed), its class vectors, and its splits."""

    def __init__(self, kit: Path, name: str, image: Backbone, text: Backbone, pool: int, cache: Path | None) -> None:
        examples: Examples = read_examples(name if ":" in name else kit / "images" / f"{name}.npz")
        generator, pool = np.random.default_rng(0), min(pool, MANY // len(examples.class_names))
        by_class = [generator.permutation(np.flatnonzero(examples.labels == c))[:pool] for c in range(len(examples.class_names))]
        rows = np.sort(np.concatenate(by_class))
        few = examples.take(rows)
        self.labels, self.split = few.labels, examples.class_split
        self.features = unit(feature_table(image, RowSpace([few]), folder=cache).features)
        with torch.no_grad():
            self.vectors = class_vectors(text, text.start(), [readable(n) for n in examples.class_names], PHOTO_TEMPLATES)

    def rows(self, split: int | None, most: int = 0, seed: int = 0) -> Rows:
        """Rows of the classes of a split (None: all classes)."""
        classes = np.arange(len(self.vectors)) if split is None else np.flatnonzero(self.split == split)
        generator = np.random.default_rng((seed, 7))
        mine = [generator.permutation(np.flatnonzero(self.labels == c))[: most or None] for c in classes]
        own = torch.tensor(np.repeat(np.arange(len(classes)), [len(m) for m in mine]))
        return Rows(self.features[np.concatenate(mine)], self.vectors[classes], own)


def joined(parts: list[Rows]) -> Rows:
    starts = np.cumsum([0, *(len(p.texts) for p in parts[:-1])])
    own = torch.cat([p.own + int(s) for p, s in zip(parts, starts, strict=True)])
    return Rows(torch.cat([p.images for p in parts]), torch.cat([p.texts for p in parts]), own)


def ridge(fit: Rows, held: Rows) -> Projections:
    """The best of ridge regressions from images to class vectors by the validation classes: centred or not, five penalties."""
    best: tuple[float, Projections] | None = None
    for centred in (False, True):
        X, Y = fit.images.double(), fit.texts.double()[fit.own]
        x, y = (X.mean(0) * centred, Y.mean(0) * centred)
        gram, cross = (X - x).T @ (X - x), (X - x).T @ (Y - y)
        for penalty in PENALTIES:
            W = torch.linalg.solve(gram + penalty * len(X) * torch.eye(len(gram), dtype=X.dtype), cross).T
            identity = torch.eye(len(y), dtype=X.dtype)
            sides = [(W, -W @ x), (identity, -y)]
            found = Projections(*((a.float(), b.float()) for a, b in sides))
            accuracy = found.accuracy(held)
            if best is None or accuracy > best[0]:
                best = accuracy, found
    assert best is not None
    return best[1]


def by_class(made: Projections, rows: Rows) -> np.ndarray:
    scores = made.scores(rows).numpy()
    return 100 * class_means(several_ways_accuracy(scores, rows.own.numpy(), 5), rows.own.numpy(), len(rows.texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("cache", type=Path, nargs="?")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pool", type=int, default=30, help="rows of a class that are embedded")
    parser.add_argument("--most", type=int, default=25, help="rows of a class that are aligned on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    machine = Machine(device="cpu", dtype="float32")
    weights = asked.kit / "weights"
    name = f"timm:mobilenetv2_100,pad_type=same,crop_pct=1,size={asked.size}"
    image = load_backbone(name, weights=weights / "mobilenetv2_100.imagenet1k.safetensors", machine=machine)
    text = load_backbone(f"hf:{weights / 'all-minilm-l6-v2'}", machine=machine)
    sets = {one: Features(asked.kit, one, image, text, asked.pool, asked.cache) for one in (*NEAR, *FAR)}
    held = joined([sets[one].rows(VALIDATION) for one in NEAR])
    tests = {one: sets[one].rows(TEST if one in NEAR else None) for one in sets}
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for seed in asked.seeds:
        fit = joined([sets[one].rows(TRAIN, asked.most, seed) for one in NEAR])
        settings = AlignSettings(seed=seed)
        ways = {"ridge": ridge(fit, held), "closed form": Moments(fit).projections(*chosen_strengths(fit, held))}
        for loss, title in (("softmax", "InfoNCE"), ("sigmoid", "sigmoid")):
            made = aligned(fit, held, replace(settings, loss=loss), apart=True)
            ways[title] = made.projections
            print(f"seed {seed}, {title}: strengths {made.facts['strengths']}, {made.facts['steps']} updates", flush=True)
        for title, made in ways.items():
            for one, rows in tests.items():
                found.setdefault(title, {}).setdefault(one, []).append(by_class(made, rows))
    print("| 5-way zero-shot |", " | ".join(f"{one} ({len(tests[one].texts)})" for one in tests), "|")
    print("|---|" + "--:|" * len(tests))
    for title, each in found.items():
        cells = [shown(np.mean(each[one], axis=0)) for one in tests]
        gains = [shown(np.mean(each[one], axis=0) - np.mean(found["ridge"][one], axis=0), sign=True) for one in tests]
        print(f"| {title} |", " | ".join(cells), "|")
        if title != "ridge":
            print(f"| {title}, gain over ridge |", " | ".join(gains), "|")


def shown(values: np.ndarray | Tensor, *, sign: bool = False) -> str:
    interval = t_interval(np.asarray(values, dtype=np.float64))
    return f"{interval.mean:{'+' if sign else ''}.1f} ± {interval.half_width:.1f}"


if __name__ == "__main__":
    main()
