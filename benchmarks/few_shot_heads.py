"""Methods between class names and labels, at 1 to 16 labels a class: tables in the field's form.

    python benchmarks/few_shot_heads.py run KIT [CACHE] --backbone pair --out few_shot.jsonl
    python benchmarks/few_shot_heads.py run KIT [CACHE] --backbone embedded --out few_shot.jsonl
    python benchmarks/few_shot_heads.py table few_shot.jsonl

`pair`: MobileNetV2 and MiniLM, aligned on the train classes of Tiny ImageNet and Caltech-101 as `benchmarks/align.py` does (seed 0); test
classes of both, DTD, clothing, and drawn scenes by number and by shape. `embedded`: the small model in fewtune on drawn scenes by seven
attributes. All classes at once are told apart. Each seed draws the labelled rows and up to ten others of each class to judge by. Strengths
are as shipped: chosen on the support or fixed, never on the judged rows. Methods that move the network run at 1, 4 and 16 labels, on sets
of at most `--network-classes` classes. A line is written for each set, method, number of labels and seed; a run that is repeated goes on.
Intervals are Student's t over seeds; "diff" is the mean over sets of the difference to `text_prior` on the same draws.

With weights of CLIP, the same on your own data, N its number of classes:
    fewtune compare DATA --backbone open_clip:ViT-B-16/openai --ways N --shots 1 2 4 8 16 --queries 10
        --method tip_adapter --method proker --method gda --method lp_pp --method clap --method shrink --method zero_shot
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from align import NEAR, TEST, TRAIN, VALIDATION, Features, joined

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.evaluation.answers import score_each
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.learning.ground import Ground
from fewtune.learning.on_features import correct_on_table
from fewtune.learning.scaled import scaled
from fewtune.machine import Machine
from fewtune.pretraining.align import aligned, weights_of
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.recipes.language import read_method, with_options
from fewtune.statistics.intervals import t_interval
from fewtune.tasks.episodes import Episodes

SETS = {
    "pair": (*NEAR, "dtd10", "clothing10", "scenes:counting", "scenes:shape"),
    "embedded": tuple(f"scenes:{one}" for one in ("counting", "material", "shape", "size", "colour", "background", "relation")),
}
HEADS = (
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
# MobileNetV2 has no attention, so there clip_lora changes the text encoder alone; `embedded` has none at all
NETWORK = {
    "pair": ("prolip", "coop", "clip_lora(prompts='a photo of a {}.')", "clip_lora(prompts='a photo of a {}.', dropout=0.0)"),
    "embedded": ("prolip", "coop", "two_stage"),
}
NETWORK_SHOTS = (1, 4, 16)
BASE, QUERIES, ROWS = "text_prior", 10, 30
MACHINE = Machine(device="cpu", dtype="float32")


def episode(labels: np.ndarray, classes: np.ndarray, shots: int, seed: int) -> Episodes:
    """One episode of all classes; rows are places in the set."""
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
        classes=torch.from_numpy(classes)[None],
        task=torch.zeros(1, dtype=torch.int64),
    )


def aligned_pair(kit: Path, size: int, cache: Path | None) -> Backbone:
    """The pair that is aligned on the train classes of the near sets."""
    weights = kit / "weights"
    image = f"timm:mobilenetv2_100,pad_type=same,crop_pct=1,size={size},weights={weights / 'mobilenetv2_100.imagenet1k.safetensors'}"
    pair = load_backbone(f"pair:{image}+hf:{weights / 'all-minilm-l6-v2'}+width=1280", machine=MACHINE)
    sets = {one: Features(kit, one, *pair.towers, ROWS, cache) for one in NEAR}
    fit = joined([sets[one].rows(TRAIN, 25, 0) for one in NEAR])
    made = aligned(fit, joined([sets[one].rows(VALIDATION) for one in NEAR]), AlignSettings(), apart=True)
    moved = {**weights_of(made.projections), "logit_scale": torch.tensor(made.scale).log()}
    return replace(pair.with_weights(moved), logit_scale=made.scale)


class Set:
    """The rows of a set that are drawn from, `ROWS` of each class, their features and the templates of its names."""

    def __init__(self, kit: Path, name: str, backbone: Backbone, cache: Path | None) -> None:
        examples = read_examples(name if ":" in name else kit / "images" / f"{name}.npz")
        split, generator = examples.class_split, np.random.default_rng(0)
        wanted = np.flatnonzero(split == TEST) if name in NEAR else np.arange(len(examples.class_names))
        rows = np.concatenate([generator.permutation(np.flatnonzero(examples.labels == c))[:ROWS] for c in wanted])
        self.examples = examples.take(np.sort(rows))
        self.space = RowSpace([self.examples])
        self.labels, self.classes = self.examples.labels, wanted
        self.table = feature_table(backbone, self.space, folder=cache).features.float()
        self.prompts = self.examples.column.templates or PHOTO_TEMPLATES


def measured(mine: Set, backbone: Backbone, text: str, drawn: list[Episodes]) -> list[float]:
    """The accuracy of a method in each episode, in percent."""
    templates = mine.prompts[:1] if text.startswith("coop") else mine.prompts
    method = scaled(read_method(with_options(text, {"prompts": templates})), backbone)
    if not method.frozen:
        ground = Ground(backbone, mine.space, method.edits)
        return [100 * float(s.accuracy[0]) for s in score_each(ground, method.learner, ground.start(), drawn)]
    vectors = None
    if method.head.reads_classes:
        with torch.no_grad():
            vectors = class_vectors(backbone, backbone.start(), mine.examples.class_names, prompts_of(method.head))
    return [100 * float(correct_on_table(method.head, mine.table, one, vectors).double().mean()) for one in drawn]


def run(asked: argparse.Namespace) -> None:
    backbone = (
        load_backbone("embedded", machine=MACHINE) if asked.backbone == "embedded" else aligned_pair(asked.kit, asked.size, asked.cache)
    )
    lines = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    done = {(d["backbone"], d["set"], d["method"], d["shots"], d["seed"]) for d in lines}
    sets = {one: Set(asked.kit, one, backbone, asked.cache) for one in asked.sets or SETS[asked.backbone]}
    jobs = [(m, one, s) for m in HEADS for one in sets for s in asked.shots]
    jobs += [(m, one, s) for s in NETWORK_SHOTS for m in NETWORK[asked.backbone] for one in sets]
    for method, one, shots in jobs:
        mine = sets[one]
        seeds = [s for s in asked.seeds if (asked.backbone, one, method, shots, s) not in done]
        if asked.methods and method not in asked.methods:
            continue
        if not seeds or (method not in HEADS and len(mine.classes) > asked.network_classes):
            continue
        began = time.process_time()
        found = measured(mine, backbone, method, [episode(mine.labels, mine.classes, shots, seed) for seed in seeds])
        spent = (time.process_time() - began) / len(seeds)
        with asked.out.open("a") as file:
            for seed, value in zip(seeds, found, strict=True):
                line = {
                    "backbone": asked.backbone,
                    "set": one,
                    "classes": len(mine.classes),
                    "method": method,
                    "shots": shots,
                    "seed": seed,
                }
                file.write(json.dumps({**line, "accuracy": value, "seconds": round(spent, 3)}) + "\n")
        print(f"{one}, {shots}, {method}: {np.mean(found):.1f} in {spent:.2f} s an episode", flush=True)


def table(asked: argparse.Namespace) -> None:
    lines = [json.loads(line) for line in asked.results.read_text().splitlines()]
    for name in SETS:
        mine = [d for d in lines if d["backbone"] == name]
        for shots in sorted({d["shots"] for d in mine}):
            print_table(name, shots, [d for d in mine if d["shots"] == shots])


def print_table(name: str, shots: int, lines: list[dict[str, Any]]) -> None:
    found: dict[tuple[str, str], dict[int, float]] = {}
    for line in lines:
        found.setdefault((line["method"], line["set"]), {})[line["seed"]] = line["accuracy"]
    sets = [one for one in SETS[name] if any(d["set"] == one for d in lines)]
    classes = {d["set"]: d["classes"] for d in lines}
    heads = [f"{one.removeprefix('scenes:')} ({classes[one]})" for one in sets]
    print(f"\n| {name}, {shots} labels a class |", " | ".join(heads), "| diff |\n|---|" + "--:|" * (len(sets) + 1))
    for method in dict.fromkeys(d["method"] for d in lines):
        cells = [shown(list(found[method, one].values())) if (method, one) in found else "" for one in sets]
        both = [(found[method, one], found[BASE, one]) for one in sets if (method, one) in found and (BASE, one) in found]
        seeds = sorted(set.intersection(*(set(a) & set(b) for a, b in both))) if both else []
        gaps = [float(np.mean([a[s] - b[s] for a, b in both])) for s in seeds]
        few = "" if len(both) == len(sets) else f" ({len(both)} sets)"
        print(f"| `{method}` |", " | ".join(cells), f"| {shown(gaps, sign=True)}{few} |" if len(gaps) > 1 else "| |")


def shown(values: list[float], *, sign: bool = False) -> str:
    if len(values) < 2:
        return f"{np.mean(values):.1f}"
    interval = t_interval(np.asarray(values, dtype=np.float64))
    return f"{interval.mean:{'+' if sign else ''}.1f} ± {interval.half_width:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("kit", type=Path)
    runs.add_argument("cache", type=Path, nargs="?")
    runs.add_argument("--backbone", choices=SETS, default="pair")
    runs.add_argument("--size", type=int, default=128)
    runs.add_argument("--shots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    runs.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    runs.add_argument("--methods", nargs="+")
    runs.add_argument("--sets", nargs="+")
    runs.add_argument("--network-classes", type=int, default=25)
    runs.add_argument("--out", type=Path, required=True)
    tables = commands.add_parser("table")
    tables.add_argument("results", type=Path)
    asked = parser.parse_args()
    (run if asked.command == "run" else table)(asked)


if __name__ == "__main__":
    main()
