"""ERM against MAML at growing budgets: on linear regression tasks with known risks, and on sinusoids. Prints tables; draws a figure.

    OMP_NUM_THREADS=1 python benchmarks/erm_maml.py [--runs 50] [--seeds 0 1 2 3 4] [--points 5000 20000 80000 320000] [--figure PATH]

Latent tasks: `fewtune.studies.latent.race`. Sinusoids: `fewtune.studies.sinusoid.race`, 10 shots, ten steps on a test support.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fewtune.statistics import Interval, paired_interval, t_interval
from fewtune.studies import latent, sinusoid


def plus_minus(interval: Interval, digits: int = 3) -> str:
    return f"{interval.mean:.{digits}f} ± {interval.half_width:.{digits}f}"


def latent_table(found: latent.Race) -> list[str]:
    """The risk after the step at each budget, the bound of each method, and where they cross."""
    lines = ["| rows | ERM | MAML | MAML - ERM | bound of ERM | bound of MAML |", "|--:|--:|--:|--:|--:|--:|"]
    for budget, erm, maml, gap in zip(found.budgets, found.erm.intervals(), found.maml.intervals(), found.gaps, strict=True):
        bounds = [curve.floor + curve.constant / math.sqrt(budget) for curve in (found.erm, found.maml)]
        lines.append(f"| {budget:,} | {plus_minus(erm)} | {plus_minus(maml)} | {plus_minus(gap)} | {bounds[0]:.3f} | {bounds[1]:.3f} |")
    lines.append(
        f"floors {found.erm.floor:.3f} and {found.maml.floor:.3f}, constants {found.erm.constant:.2f} and {found.maml.constant:.2f}"
    )
    lines.append(f"MAML is ahead from {found.crossing} rows on; the bounds cross at {found.bound:.0f}")
    return lines


def sinusoid_table(runs: Sequence[sinusoid.Run], budgets: Sequence[int]) -> list[str]:
    """The mean squared error after ten steps at each budget, 95% intervals over seeds."""
    lines = ["| points | ERM | MAML | MAML - ERM |", "|--:|--:|--:|--:|"]
    each = len(budgets)
    by = {m: np.array([run.error for run in runs if run.method == m]).reshape(-1, each).T for m in ("pretrained", "maml")}
    for place, budget in enumerate(budgets):
        erm, maml = by["pretrained"][place], by["maml"][place]
        gap = paired_interval(maml - erm)
        lines.append(f"| {budget:,} | {plus_minus(t_interval(erm), 2)} | {plus_minus(t_interval(maml), 2)} | {plus_minus(gap, 2)} |")
    return lines


def draw(path: Path, found: latent.Race, runs: Sequence[sinusoid.Run], budgets: Sequence[int]) -> None:
    """Two panels of error over budget; the bounds are dashed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for curve, name, colour in ((found.erm, "ERM", "C1"), (found.maml, "MAML", "C0")):
        left.plot(found.budgets, curve.risks.mean(1), marker="o", color=colour, label=name)
        left.plot(found.budgets, [curve.floor + curve.constant / math.sqrt(b) for b in found.budgets], "--", color=colour, linewidth=1)
    left.set(xscale="log", xlabel="rows looked at", ylabel="risk after one step", title="latent tasks (dashed: floor + C / sqrt(rows))")
    for method, name, colour in (("pretrained", "ERM", "C1"), ("maml", "MAML", "C0")):
        errors = np.array([run.error for run in runs if run.method == method]).reshape(-1, len(budgets))
        half = [t_interval(column).half_width for column in errors.T]
        right.errorbar(budgets, errors.mean(0), yerr=half, marker="o", color=colour, label=name)
    right.set(xscale="log", xlabel="points looked at", ylabel="error after ten steps", title="sinusoids")
    left.legend()
    right.legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    torch.set_num_threads(1)
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--runs", type=int, default=50)
    found.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    found.add_argument("--points", nargs="+", type=int, default=[5_000, 20_000, 80_000, 320_000])
    found.add_argument("--figure", type=Path)
    options = found.parse_args()
    race = latent.race(runs=options.runs)
    print("\n".join(latent_table(race)), flush=True)
    runs = sinusoid.race(options.points, seeds=options.seeds)
    print("\n".join(sinusoid_table(runs, options.points)), flush=True)
    if options.figure is not None:
        draw(options.figure, race, runs, options.points)


if __name__ == "__main__":
    main()
