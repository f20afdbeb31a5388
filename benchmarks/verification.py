"""Accuracy on new classes against shots, tasks and rows, and what tasks share: the theory where the truth is known. Prints tables.

    OMP_NUM_THREADS=1 python benchmarks/verification.py [--seeds 0 1 2 3] [--figure PATH]

`fewtune.studies.verification` on the linear model with latent classes; `fewtune.transfer.task_entropy` on families of sinusoids and of
latent regression tasks.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from fewtune.report.drawing import picture
from fewtune.statistics import Interval, t_interval
from fewtune.studies import latent, sinusoid
from fewtune.studies.verification import Verified, latent_classes, verify
from fewtune.transfer import task_entropy

TASKS, ROWS, SHOTS = (4, 8, 16, 32, 64), (2, 4, 8, 16), (1, 2, 5, 10)
TOTAL = 128


def shown(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} ± {100 * interval.half_width:.1f}"


def tables(found: Verified) -> None:
    print("| accuracy of new classes, 5-way | " + " | ".join(f"{k} shots" for k in SHOTS) + " |\n|---|" + "--:|" * len(SHOTS))
    print("| before | " + " | ".join(shown(t_interval(one)) for one in found.before) + " |")
    for cell in ((4, 16), (64, 2), (64, 16)):
        print(f"| M = {cell[0]}, m = {cell[1]} | " + " | ".join(shown(found.accuracy(*cell, k)) for k in SHOTS) + " |")
    print("\n| 1 shot | " + " | ".join(f"m = {m}" for m in ROWS) + " |\n|---|" + "--:|" * len(ROWS))
    for tasks in TASKS:
        print(f"| M = {tasks} | " + " | ".join(shown(found.accuracy(tasks, m, 1)) for m in ROWS) + " |")
    same = found.at_total(TOTAL)
    print(f"\nM m = {TOTAL}: " + ", ".join(f"M = {cell[0]}, m = {cell[1]}: {shown(found.accuracy(*cell, 1))}" for cell in same))
    print(f"most tasks minus fewest at this total: {shown(found.gain(same[-1], same[0], 1))}")


def draw(path: Path, found: Verified) -> None:
    """Three panels: along shots, along M, along M at a fixed total."""

    def build(figure: Any) -> None:
        axes = [figure.add_axes((0.07 + i * 0.325, 0.2, 0.245, 0.66)) for i in range(3)]

        def line(ax: Any, along: Any, values: list[Interval], label: str, colour: str) -> None:
            half = [100 * one.half_width for one in values]
            ax.errorbar(along, [100 * one.mean for one in values], yerr=half, marker="o", markersize=3, color=colour, label=label)

        line(axes[0], range(len(SHOTS)), [t_interval(one) for one in found.before], "before", "C7")
        for i, cell in enumerate(((4, 16), (64, 16))):
            line(axes[0], range(len(SHOTS)), [found.accuracy(*cell, k) for k in SHOTS], f"M = {cell[0]}", f"C{i}")
        for i, m in enumerate((2, 16)):
            line(axes[1], range(len(TASKS)), [found.accuracy(tasks, m, 1) for tasks in TASKS], f"m = {m}", f"C{i}")
        same = found.at_total(TOTAL)
        line(axes[2], range(len(same)), [found.accuracy(*cell, 1) for cell in same], "1 shot", "C0")
        for ax, ticks, name in zip(
            axes, (SHOTS, TASKS, [f"{a} x {b}" for a, b in same]), ("shots", "tasks M", f"M x m = {TOTAL}"), strict=True
        ):
            ax.set_xticks(range(len(ticks)), [str(t) for t in ticks])
            ax.set_xlabel(name)
        axes[0].set_ylabel("accuracy of new classes")
        for ax in axes[:2]:
            ax.legend(fontsize=7, frameon=False)

    path.write_bytes(picture(build, height=230, width=760, format="png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = verify(*latent_classes(0), tasks=TASKS, rows=ROWS, shots=SHOTS, seeds=asked.seeds)
    tables(found)
    if asked.figure is not None:
        draw(asked.figure, found)
    print("\n| families | H(phi) | H(phi given theta) | difference | tasks together | given theta |\n|---|--:|--:|--:|--:|--:|")
    known = {"sinusoids, windows of a quarter": (sinusoid.families(1500, 60), 2 * math.log(4))}
    known["latent regression tasks"] = latent.families(latent.LatentTasks(), 3000, 60), math.log(2)
    for name, (made, truth) in known.items():
        e = task_entropy(*made)
        print(f"| {name} | {e.marginal:.2f} | {e.given:.2f} | {e.shared:.2f} ({truth:.2f}) | {e.together:.2f} | {e.together_given:.2f} |")


if __name__ == "__main__":
    main()
