"""Meta-learners that read the whole support, with labels and without, on frozen features of Omniglot: accuracy, loss and calibration.

    OMP_NUM_THREADS=1 python benchmarks/meta_heads.py KIT [--seeds 0 1 2] [--steps 600] [--figure PATH]

MobileNetV2 (ImageNet weights) at 96 pixels reads the characters once. `relation_network` and `black_box` are trained by 5-way 5-shot
episodes of the train alphabets, with the settings that they are shipped with but for the number of steps; and, without any label, by
episodes of k-means clusters of the same rows (CACTUs, three partitions of as many clusters as there are characters). All answer the same
600 episodes of new alphabets, beside heads that need no training. Intervals are 95% over episodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fewtune
from fewtune.api.settings import CompareSettings
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.clusters import clustered
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.training_settings import Training
from fewtune.machine import Machine
from fewtune.report.drawing import picture

NAME = "timm:mobilenetv2_100,pad_type=same,mean=0.5,std=0.5,crop_pct=1,size=96"
FROZEN = ("centroid", "logistic", "laplace", "ridge")
SHOTS = (1, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    examples = read_examples(asked.kit / "images" / "omniglot8.npz")
    weights = asked.kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    backbone = load_backbone(NAME, weights=weights, machine=Machine(device="cpu"))
    features = feature_table(backbone, RowSpace([examples]), quiet=True).features.numpy()
    train = np.flatnonzero(examples.class_split[examples.labels] == 0)
    clusters = clustered(examples.take(train), features[train], len(np.unique(examples.labels[train])), partitions=3, least=15)
    learned = [f"relation_network(steps={asked.steps})", f"black_box(steps={asked.steps})"]
    settings = CompareSettings(episodes=asked.episodes, training=Training(seeds=tuple(asked.seeds), validation=20), queries=10)
    rows: list[dict[str, Any]] = []
    for told, sources, methods in (("labels", [examples], [*FROZEN, *learned]), ("clusters", clusters, learned)):
        found = fewtune.compare(examples, sources=sources, backbone=backbone, methods=methods, shots=SHOTS, settings=settings)
        print(f"\n{told}\n{found.render('markdown')}", flush=True)
        rows += [{**row, "told": told if "(" in str(row["method"]) else "frozen"} for row in found.rows]
    print("\n| method | trained by | shots | accuracy | loss, nats |\n|---|---|--:|--:|--:|")
    for row in rows:
        print(f"| `{row['method']}` | {row['told']} | {row['shots']} | {shown(row)} | {row['loss']:.3f} |")
    if asked.figure is not None:
        asked.figure.write_bytes(picture(lambda figure: draw(figure, rows), height=230, width=560, format="png"))


def half(row: dict[str, Any]) -> float:
    low, high = row["interval"]
    return 50 * (high - low)


def shown(row: dict[str, Any]) -> str:
    return f"{100 * row['mean']:.2f} ± {half(row):.2f}"


def draw(figure: Any, rows: list[dict[str, Any]]) -> None:
    """A bar for each method, a panel for each number of shots."""
    for i, shots in enumerate(SHOTS):
        ax = figure.add_axes((0.3 + 0.36 * i, 0.2, 0.3, 0.68))
        mine = [row for row in rows if int(row["shots"]) == shots]
        names = [f"{str(row['method']).split('(')[0]}{', ' + row['told'] if row['told'] != 'frozen' else ''}" for row in mine]
        values = [100 * row["mean"] for row in mine]
        colours = [{"frozen": "C7", "labels": "C0", "clusters": "C1"}[row["told"]] for row in mine]
        ax.barh(range(len(mine)), values, xerr=[half(row) for row in mine], color=colours, height=0.7)
        ax.set_yticks(range(len(mine)), names if i == 0 else [""] * len(mine))
        ax.invert_yaxis()
        ax.set_xlim(min(values) - 5, 100)
        ax.set_title(f"{shots} shot{'s' * (shots > 1)}", fontsize=9)
        ax.set_xlabel("accuracy")


if __name__ == "__main__":
    main()
