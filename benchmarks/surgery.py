"""Which block for which shift: MobileNetV2 learned from two domains of PACS, of which one block alone is finetuned on a few shifted rows.

    OMP_NUM_THREADS=1 python benchmarks/surgery.py KIT surgery.jsonl

Runs that the lines hold are read instead of run; the summary comes at the end. Written down before it was run. 64 px. Source: 20 rows of
each class and of each of two domains (drawn by `held_out_subgroups`), 80 steps of 16 rows at .001 for all weights, a head that begins at
zero. Shifts, of rows that the source does not have: `input`, the same domains with Gaussian noise of severity 5; `feature`, the two other
domains; `label`, the same domains with shares of the classes that fall from 1 to 1/8. Of each shift 105 rows to learn from, 70 to choose
the rate by and 210 to judge by. 20 steps of 16 rows, SGD with momentum .9, BatchNorm statistics kept. Blocks: `first` (stem, blocks.0,
blocks.1), `middle` (blocks.2 to 4), `last` (blocks.5, blocks.6, final), each with the head; `head`; `all`. Rates .001 and .01 for
backbone and head alike; of each shift and block the one that is better on the 70 rows, over three seeds (orders of rows, of the source
too).

Claims (Lee et al. 2023): `first` is best for `input`, `middle` for `feature`, `head` for `label`. A claim holds where that block is above
each other one on average and the 95% interval of its gain over `all` (paired over the 210 rows, means over seeds) is above 0; it does not
hold where another block's gain over it has an interval above 0; else it cannot be seen here. Intervals are over rows: one set, one draw
of domains.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from transfer import some_rows

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples
from fewtune.data.reading.read import read_examples
from fewtune.data.shifts import corrupted, held_out_subgroups, reweighted
from fewtune.keys import key
from fewtune.machine import Machine
from fewtune.studies.starts import NOTHING, Finetuning, Surgery, surgical_study

NAME = "timm:mobilenetv2_100,pad_type=same,size=64"
FEW, CHOOSING, JUDGED = 105, 70, 210
BLOCKS = {
    "first": ("stem", "blocks.[01]*"),
    "middle": ("blocks.[234]*",),
    "last": ("blocks.[56]*", "final"),
    "head": (),
    "all": ("*",),
}
BEST = {"input": "first", "feature": "middle", "label": "head"}
RATES = (0.001, 0.01)
LEARNING = Finetuning(steps=80, batch=16, rate=0.001, statistics="kept")
SETTINGS = Finetuning(steps=20, batch=16, statistics="kept")


def drawn(examples: Examples, shift: str) -> tuple[Examples, Examples]:
    """(rows to learn from, rows to choose and to judge by) of a shift."""
    order = np.argsort(key(0, "surgery", shift).uniform(np.arange(len(examples), dtype=np.uint64)), kind="stable")
    return examples.take(order[:FEW]), examples.take(order[FEW:][: CHOOSING + JUDGED])


def parts_of(kit: Path) -> tuple[Examples, dict[str, tuple[Examples, Examples]]]:
    """The source, and each shift."""
    source, other = held_out_subgroups(read_examples(kit / "images" / "pacs.npz"))
    cells = source.labels * len(source.group_names) + source.group
    kept = some_rows(np.unique(cells, return_inverse=True)[1], 20, "train")
    rest = source.take(np.setdiff1d(np.arange(len(source)), kept))
    noisy = drawn(rest, "input")
    shares = np.geomspace(1, 1 / 8, len(source.class_names))
    shifts = {
        "input": (corrupted(noisy[0], "gaussian_noise", 5), corrupted(noisy[1], "gaussian_noise", 5)),
        "feature": drawn(other, "feature"),
        "label": drawn(reweighted(rest, shares.tolist()), "label"),
    }
    return source.take(kept), shifts


def studied(kit: Path, lines: Path) -> Surgery:
    """The study, each block at both rates: its names are those of a block and a rate."""
    source, shifts = parts_of(kit)
    backbone = load_backbone(NAME, weights=kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors", machine=Machine(device="cpu"))
    said = lambda shift, block, right: print(shift, block, f"{right.mean():.3f} ({time.process_time():.0f} s)", flush=True)  # noqa: E731
    blocks = {f"{name} {rate:g}": patterns for name, patterns in BLOCKS.items() for rate in RATES}
    settings = {f"{name} {rate:g}": replace(SETTINGS, rate=rate) for name in BLOCKS for rate in RATES}
    return surgical_study(backbone, source, shifts, blocks, LEARNING, settings, seeds=(0, 1, 2), lines=lines, ended=said)


def chosen(found: Surgery) -> tuple[Surgery, dict[tuple[str, str], float]]:
    """(the judged rows of each shift and block at the rate that is better on the others, that rate)."""
    rates = {
        (shift, block): max(RATES, key=lambda rate: (found.right[shift, f"{block} {rate:g}"][:CHOOSING].mean(), -rate))
        for shift in BEST
        for block in BLOCKS
    }
    judged = {(shift, block): found.right[shift, f"{block} {rate:g}"][CHOOSING:] for (shift, block), rate in rates.items()}
    return Surgery({**judged, **{(shift, NOTHING): found.right[shift, NOTHING][CHOOSING:] for shift in BEST}}), rates


def summary(found: Surgery) -> None:
    """Accuracy by shift and block, gains over all weights, and what becomes of each claim."""
    surgery, rates = chosen(found)
    for shift, best in BEST.items():
        for block in (NOTHING, *BLOCKS):
            over = surgery.gain(shift, block, over="all")
            said = (
                f"{100 * surgery.right[shift, block].mean():5.1f}  {100 * over.mean:+5.1f} ({100 * over.low:.1f} to {100 * over.high:.1f})"
            )
            print(f"{shift:8} {block:8} rate {rates.get((shift, block), 0):g}  {said}")
        others = [block for block in BLOCKS if block != best]
        ahead = all(surgery.gain(shift, best, over=block).mean > 0 for block in others) and surgery.gain(shift, best, over="all").low > 0
        beaten = [block for block in others if surgery.gain(shift, block, over=best).low > 0]
        told = "holds" if ahead else f"does not hold: {', '.join(beaten)} better" if beaten else "cannot be seen"
        print(f"{best} is best for {shift}: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("lines", type=Path)
    asked = parser.parse_args()
    summary(studied(asked.kit, asked.lines))


if __name__ == "__main__":
    main()
