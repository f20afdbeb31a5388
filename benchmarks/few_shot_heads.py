"""Methods between class names and labels, at 1 to 16 labels a class, on an aligned image-text model: a table in the field's form.

    python benchmarks/few_shot_heads.py KIT [CACHE] [--shots 1 2 4 8 16] [--seeds 0 1 2 3 4]

MobileNetV2 and MiniLM are aligned on the train classes of Tiny ImageNet and Caltech-101 as `benchmarks/align.py` does (seed 0). Then all
classes at once are told apart: test classes of both, DTD, clothing, and drawn scenes by number and by shape. Each seed draws the labelled
rows and up to ten others of each class to judge by. Strengths are as shipped: chosen on the support or fixed, never on the judged rows.
Intervals are Student's t over seeds; "diff" is the mean over sets of the difference to `text_prior` (penalty 1) on the same draws.

With weights of CLIP, the same on your own data, N its number of classes:
    fewtune compare DATA --backbone open_clip:ViT-B-16/openai --ways N --shots 1 2 4 8 16 --queries 10
        --method tip_adapter --method proker --method gda --method lp_pp --method clap --method shrink --method zero_shot
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from align import NEAR, TEST, TRAIN, VALIDATION, Features, joined

from fewtune.backbones.load import load_backbone
from fewtune.learning.on_features import correct_on_table
from fewtune.lengths import unit
from fewtune.machine import Machine
from fewtune.pretraining.align import aligned
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.recipes.language import read_method
from fewtune.statistics.intervals import t_interval
from fewtune.tasks.episodes import Episodes

SETS = (*NEAR, "dtd10", "clothing10", "scenes:counting", "scenes:shape")
METHODS = (
    "zero_shot",
    "centroid",
    "ridge",
    "logistic",
    "text_prior",
    "text_prior(penalty='loo')",
    "named_logistic",
    "shrink",
    "tip_adapter",
    "proker",
    "gda",
    "lp_pp",
    "clap",
    "task_res",
)
BASE, QUERIES = "text_prior", 10


def episode(labels: np.ndarray, classes: np.ndarray, shots: int, seed: int) -> Episodes:
    """One episode of all classes; rows are places in the set's table."""
    generator = np.random.default_rng((seed, 11))
    support, query = [], []
    for c in classes:
        rows = generator.permutation(np.flatnonzero(labels == c))
        support.append(rows[:shots])
        query.append(rows[-min(QUERIES, len(rows) - 16) :])  # the same for every number of shots
    number = np.arange(len(classes))
    return Episodes(
        support=torch.from_numpy(np.concatenate(support))[None],
        support_label=torch.from_numpy(np.repeat(number, shots))[None],
        query=torch.from_numpy(np.concatenate(query))[None],
        query_label=torch.from_numpy(np.repeat(number, [len(q) for q in query]))[None],
        classes=torch.from_numpy(number)[None],
        task=torch.zeros(1, dtype=torch.int64),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("cache", type=Path, nargs="?")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--steps", type=int, default=100, help="updates of the alignment at most; 0: the closed form")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    asked = parser.parse_args()
    machine = Machine(device="cpu", dtype="float32")
    weights = asked.kit / "weights"
    name = f"timm:mobilenetv2_100,pad_type=same,crop_pct=1,size={asked.size}"
    image = load_backbone(name, weights=weights / "mobilenetv2_100.imagenet1k.safetensors", machine=machine)
    text = load_backbone(f"hf:{weights / 'all-minilm-l6-v2'}", machine=machine)
    sets = {one: Features(asked.kit, one, image, text, 30, asked.cache) for one in dict.fromkeys((*NEAR, *asked.sets))}
    fit = joined([sets[one].rows(TRAIN, 25, 0) for one in NEAR])
    made = aligned(fit, joined([sets[one].rows(VALIDATION) for one in NEAR]), AlignSettings(steps=asked.steps), apart=True).projections
    found: dict[tuple[str, int, str], list[float]] = {}
    for one in asked.sets:
        mine = sets[one]
        classes = np.flatnonzero(mine.split == TEST) if one in NEAR else np.arange(len(mine.vectors))
        (weight, bias), (to, at) = made.image, made.text
        table, vectors = mine.features @ weight.T + bias, unit(mine.vectors[classes] @ to.T + at)
        for shots in asked.shots:
            began = time.perf_counter()
            for seed in asked.seeds:
                drawn = episode(mine.labels, classes, shots, seed)
                for method in asked.methods:
                    right = correct_on_table(read_method(method).head, table, drawn, vectors)
                    found.setdefault((one, shots, method), []).append(100 * float(right.double().mean()))
            print(f"{one}, {shots} shots: {time.perf_counter() - began:.0f} s", flush=True)
    for shots in asked.shots:
        print(f"\n| {shots} labels a class |", " | ".join(asked.sets), "| diff |\n|---|" + "--:|" * (len(asked.sets) + 1))
        for method in asked.methods:
            cells = [shown(found[one, shots, method]) for one in asked.sets]
            gaps = [np.subtract(found[one, shots, method], found[one, shots, BASE]) for one in asked.sets]
            print(f"| `{method}` |", " | ".join(cells), f"| {shown(np.mean(gaps, axis=0), sign=True)} |")


def shown(values: list[float] | np.ndarray, *, sign: bool = False) -> str:
    interval = t_interval(np.asarray(values, dtype=np.float64))
    return f"{interval.mean:{'+' if sign else ''}.1f} ± {interval.half_width:.1f}"


if __name__ == "__main__":
    main()
