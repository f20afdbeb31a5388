"""The recommender of `ranking.py` trained continuously, in the order of time, and two networks in a counted online comparison.

    OMP_NUM_THREADS=1 python benchmarks/online.py KIT [--seeds 0 1 2] [--steps 400] [--more 40] [--out FOLDER]

Networks learn from the films before 1990 (`--steps` updates). Then the years come one by one, 1990 to 2005. The films of a year are
answered before anything is learned from them; afterwards `fixed` stays as it is, `continuous` makes `--more` updates on the films of that
year alone, `replayed` as many on rows drawn from all films so far, and `anew` is trained from the beginning on all of them, every fifth
year. Quality: the mean over columns of Spearman's correlation, area under the curve, and accuracy, as in `ranking.py`; `compute`:
multiplications of training, three passes (one forward, two backward) of a row each.

The online comparison: every film of a year is one visit. By the toss of a coin (keyed by year and film) its page is made by arm A (one
trunk) or by arm B (8 experts at no more multiplications), both trained continuously with replay. The page shows ten of the 50 films of that
year with the nearest titles, by half engagement and half satisfaction, predicted. A shown film counts as a success if its true score is
in the upper quarter of its year. Said are the successes of either arm, and the difference with its 95% interval over visits.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from ranking import CANDIDATES, LR, SHOWN, Fitted, Numbers, Table, contenders, films, judged, say, shown
from torch import Tensor

from fewtune.keys import key
from fewtune.statistics.intervals import t_interval

FIRST, LAST, BATCH, PASSES = 1990, 2006, 32, 3
ARMS = {"A": "shared_bottom", "B": "mmoe 8"}


@final
@dataclass(frozen=True, eq=False)
class Years:
    """The films with the rows of each year; what numbers are scaled by: the films before the first year."""

    table: Table
    year: Numbers

    def before(self, year: int) -> Numbers:
        return np.flatnonzero(self.year < year)

    def of(self, year: int) -> Numbers:
        return np.flatnonzero(self.year == year)


def updated(years: Years, fitted: Fitted, rows: Numbers, steps: int, seed: int) -> Fitted:
    """The network after more updates (Adam, 32 rows a column) on some rows; every column counts alike."""
    table, random = years.table, np.random.default_rng(seed)
    parameters = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in fitted.parameters.items()}
    optimizer = torch.optim.Adam([t for t in parameters.values() if t.requires_grad], lr=LR)
    for _ in range(steps):
        losses = [
            loss
            for task in range(len(table.columns))
            if (loss := column_loss(table, fitted.head, parameters, task, rows, random)) is not None
        ]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    return Fitted(fitted.head, {n: t.detach() for n, t in parameters.items()}, fitted.seconds)


def column_loss(table: Table, head: Any, parameters: Any, task: int, rows: Numbers, random: np.random.Generator) -> Tensor | None:
    """The loss of one column on a batch of labelled rows; None where none of them has a label."""
    column = list(table.columns.values())[task]
    mine = rows[column.known[rows]]
    if not len(mine):
        return None
    batch = mine[random.integers(len(mine), size=min(BATCH, len(mine)))]
    first = sum(head.outputs[:task])
    state = {"task": torch.tensor([task]), "classes": torch.arange(first, first + head.outputs[task])[None]}
    outputs = head.score(state, torch.from_numpy(table.features[batch])[None], parameters)[0]
    values = column.values[batch]
    if column.kind == "class":
        return torch.nn.functional.cross_entropy(outputs, torch.from_numpy(values))
    known = column.values[table.train, 0]
    return (outputs[:, 0] - torch.from_numpy((values[:, 0] - known.mean()) / known.std()).float()).square().mean()


def run(years: Years, seeds: Sequence[int], steps: int, more: int) -> None:
    """Four ways to stay up to date, and the counted comparison."""
    table = years.table
    kinds = contenders(table.outputs, table.features.shape[1], 256, 0, steps)
    for name in ARMS.values():
        text, cost = kinds[name]
        found: dict[str, list[float]] = {}
        for seed in seeds:
            for way, each in qualities(years, text, seed, more).items():
                found.setdefault(way, []).append(float(np.mean(each)))
        counted = computed(steps, more, len(table.columns) * cost)
        for way, values in found.items():
            gain = t_interval([a - b for a, b in zip(values, found["fixed"], strict=True)])
            said = {"quality": shown(t_interval(values)), "minus_fixed": shown(gain, 4), "compute": counted[way]}
            say(study="continuous", network=name, way=way, **said)
    for seed in seeds:
        say(study="online", seed=seed, **compared(years, {arm: kinds[name][0] for arm, name in ARMS.items()}, seed, more))


def qualities(years: Years, text: str, seed: int, more: int) -> dict[str, list[float]]:
    """The quality of each way in each year, on the films of that year, from which nothing is learned before."""
    table = years.table
    now = dict.fromkeys(("fixed", "continuous", "replayed", "anew"), table.fit(text, seed))
    found: dict[str, list[float]] = {way: [] for way in now}
    for year in range(FIRST, LAST):
        rows = years.of(year)
        for way, fitted in now.items():
            found[way].append(float(np.nanmean(list(judged(table, fitted, rows).values()))))
        now["continuous"] = updated(years, now["continuous"], rows, more, 1000 * seed + year)
        now["replayed"] = updated(years, now["replayed"], years.before(year + 1), more, 1000 * seed + year)
        if (year - FIRST) % 5 == 4:  # every fifth year: it costs as much as all the rest
            now["anew"] = Table(table.features, table.columns, years.before(year + 1)).fit(text, seed)
    return found


def computed(steps: int, more: int, cost: int) -> dict[str, int]:
    """Multiplications of training until the last year, of a network that takes `cost` for a row of each column."""
    updates = {"fixed": steps, "continuous": steps + more * (LAST - FIRST), "replayed": steps + more * (LAST - FIRST)}
    updates["anew"] = steps * (1 + (LAST - FIRST) // 5)
    return {way: count * PASSES * BATCH * cost for way, count in updates.items()}


def compared(years: Years, texts: dict[str, str], seed: int, more: int) -> dict[str, Any]:
    """What both arms get over all years: successes, films shown, and the difference of the rates of success over visits."""
    table = years.table
    now = {arm: table.fit(text, seed) for arm, text in texts.items()}
    rates: dict[str, list[float]] = {arm: [] for arm in now}
    for year in range(FIRST, LAST):
        rows = years.of(year)
        good = successes(table, rows)
        for arm, visitors in assigned(year, len(rows)).items():
            rates[arm] += pages(table, now[arm], rows, visitors, good)
        for arm, fitted in now.items():
            now[arm] = updated(years, fitted, years.before(year + 1), more, 1000 * seed + year)
    a, b = (np.array(rates[arm]) for arm in ("A", "B"))
    error = 1.96 * float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    gap = float(b.mean() - a.mean())
    counts = {arm: f"{round(SHOWN * sum(rates[arm]))} of {SHOWN * len(rates[arm])}" for arm in rates}
    return {**counts, "B_minus_A": f"{gap:+.4f} ({gap - error:+.4f} to {gap + error:+.4f})"}


def assigned(year: int, count: int) -> dict[str, Numbers]:
    """The visits of each arm in a year, by a coin that knows only year and place."""
    coin = key(0, "online", year).uniform(np.arange(count, dtype=np.uint64)) < 0.5
    return {"A": np.flatnonzero(coin), "B": np.flatnonzero(~coin)}


def successes(table: Table, rows: Numbers) -> Numbers:
    """Whether the true score of each film is in the upper quarter of these."""
    score = sum(_standard(table, table.columns[name].values[:, 0])[rows] for name in ("votes_log10", "rating"))
    found: Numbers = score >= np.quantile(score, 0.75)
    return found


def pages(table: Table, fitted: Fitted, rows: Numbers, visitors: Numbers, good: Numbers) -> list[float]:
    """The share of successes among what is shown to each visitor."""
    titles = table.features[rows, :384]
    likeness = titles[visitors] @ titles.T
    likeness[np.arange(len(visitors)), visitors] = -np.inf
    near = np.argsort(-likeness, axis=1, kind="stable")[:, : min(CANDIDATES, len(rows) - 1)]
    score = sum(fitted.outputs(table.features[rows], task)[:, 0].numpy() for task in (0, 1))
    order = np.take_along_axis(near, np.argsort(-score[near], axis=1, kind="stable"), 1)[:, :SHOWN]
    found: list[float] = good[order].mean(1).tolist()
    return found


def _standard(table: Table, values: Numbers) -> Numbers:
    scaled: Numbers = (values - values[table.train].mean()) / values[table.train].std()
    return scaled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--more", type=int, default=40)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    table, year = films(given.kit, out, first_test_year=FIRST)
    run(Years(table, year), given.seeds, given.steps, given.more)


if __name__ == "__main__":
    main()
