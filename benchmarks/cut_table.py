"""Finetuning the last blocks of MobileNetV2 through the cut table, against the same plan without it. Prints JSON lines.

    OMP_NUM_THREADS=1 python benchmarks/cut_table.py [--weights FILE] [--sizes 96 160] [--blocks 2] [--batch 64] [--steps 6] [--rounds 5]

Steps of plain gradient descent on a linear head, the last `blocks` inverted residual blocks and the final convolution, one thread, decoded
images held in memory by both. One line a size: images a second of both (median over rounds that alternate, so that a busy machine is unfair
to neither), their ratio (the bar is 4), what the table costs once (images a second while it is filled), and how far the losses of the two
differ. Without --weights the weights are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.cutting.cut import find_cut
from fewtune.backbones.cutting.cut_store import CutStore
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.machine import Machine

Embed = Callable[[dict[str, Tensor], np.ndarray], Tensor]
CLASSES, LR = 10, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 160])
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.sizes:
        print(json.dumps(compared(options, size)), flush=True)


def compared(options: argparse.Namespace, size: int) -> dict[str, object]:
    """Both ways at one size."""
    name = f"timm:mobilenetv2_100,size={size},crop_pct=1" + (",pad_type=same" if options.weights else ",pretrained=false")
    backbone = load_backbone(name, weights=options.weights, machine=Machine(device="cpu", workers=1))
    groups = backbone.groups[-options.blocks - 1 :]
    moving = [weight for _, members in groups for weight in members]
    count = options.batch * options.steps
    coarse = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)  # pictures that differ, unlike noise
    pixels = coarse.repeat(-(-size // 4), 1).repeat(-(-size // 4), 2)[:, :size, :size]
    space = RowSpace([make_examples(Pixels(pixels), name="pictures")], remember=2**31)
    backbone.embed(backbone.start(), space, np.arange(count))  # every image is decoded once
    began = time.perf_counter()
    cut = find_cut(backbone, backbone.start(), space.gather([0, 1], backbone.preparation), moving)
    found = time.perf_counter() - began
    assert cut is not None
    store = CutStore(cut, 2**31)
    start = backbone.start()
    began = time.perf_counter()
    with torch.no_grad():
        store.features(start, space, np.arange(count))
    filled = time.perf_counter() - began
    ways: dict[str, Embed] = {"live": lambda w, rows: backbone.embed(w, space, rows), "cut": lambda w, rows: store.features(w, space, rows)}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    losses: dict[str, float] = {}
    for round_ in range(options.rounds + 1):
        for way, embed in ways.items():
            began = time.perf_counter()
            losses[way] = trained(backbone, moving, embed, options)
            if round_:  # the first round warms up
                taken[way].append(count / (time.perf_counter() - began))
    rates = {way: statistics.median(each) for way, each in taken.items()}
    return {
        "benchmark": "cut table",
        "size": size,
        "moving": [title for title, _ in groups],
        "cut": cut.place,
        "live_images_per_s": round(rates["live"], 1),
        "cut_images_per_s": round(rates["cut"], 1),
        "times": round(rates["cut"] / rates["live"], 2),
        "times_by_round": [round(c / n, 2) for c, n in zip(taken["cut"], taken["live"], strict=True)],
        "fill_images_per_s": round(count / filled, 1),
        "seconds_to_find": round(found, 2),
        "loss": round(losses["live"], 4),
        "loss_difference": abs(losses["cut"] - losses["live"]),
        "weights": "given" if options.weights else "random",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def trained(backbone: Backbone, moving: list[str], embed: Embed, options: argparse.Namespace) -> float:
    """The loss after some steps from the start."""
    weights = backbone.start()
    weights |= {name: weights[name].clone().requires_grad_() for name in moving}
    head = torch.zeros(CLASSES, backbone.width, requires_grad=True)
    moved = [head, *(weights[name] for name in moving)]
    loss = torch.zeros(())
    for step in range(options.steps):
        rows = np.arange(step * options.batch, (step + 1) * options.batch)
        loss = torch.nn.functional.cross_entropy(embed(weights, rows) @ head.T, torch.from_numpy(rows % CLASSES))
        with torch.no_grad():
            for tensor, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
                tensor -= LR * gradient
    return float(loss.detach())


if __name__ == "__main__":
    main()
