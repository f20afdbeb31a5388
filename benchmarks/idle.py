"""How idle the workers of a study are: 1,000 cells on 100 workers, by simulation of the very order in which workers look at cells.

    python benchmarks/idle.py

A cell takes a time that differs between methods and machines (log-normal, of the given spread) and workers differ in speed by a tenth. A
worker that finds no cell ready looks again after POLL seconds. Idle is the share of the workers' time, until the last cell is done, in
which they compute nothing. The values of a sweep are waited for by the training runs of their method.
"""

from __future__ import annotations

import heapq

import numpy as np

from fewtune.evaluation.cells import Cell
from fewtune.evaluation.workers import POLL, Spent, order_of

WORKERS, MINUTES, REPEATS = 100, 10.0, 5


def cells(methods: int, sweep: int, seeds: int) -> list[Cell]:
    """Methods with a sweep of some values and some training seeds, each on several targets."""
    found = []
    for number in range(1000 // (methods * (sweep + seeds))):
        for method in range(methods):
            found += [Cell(number, f"m{method}", f"lr={value}", 0) for value in range(sweep)]
            found += [Cell(number, f"m{method}", None, seed) for seed in range(seeds)]
    return found


def idle(all_cells: list[Cell], spread: float, seed: int) -> float:
    """The idle share of one simulated study."""
    random = np.random.default_rng(seed)
    of_method = {name: random.lognormal(0, spread) for name in {cell.method for cell in all_cells}}
    seconds = {cell: 60 * MINUTES * of_method[cell.method] * random.lognormal(0, 0.1) for cell in all_cells}
    speed = random.lognormal(0, 0.1, WORKERS)
    needed = {
        c: [d for d in all_cells if (d.study, d.method) == (c.study, c.method) and d.variant] if c.variant is None else []
        for c in all_cells
    }
    orders = [order_of(all_cells, worker + 1, WORKERS) for worker in range(WORKERS)]
    waiting, ended, running, spent = set(all_cells), {}, {}, Spent()
    events = [(0.0, worker) for worker in range(WORKERS)]
    heapq.heapify(events)
    busy, last = 0.0, 0.0
    while waiting:
        now, worker = heapq.heappop(events)
        orders[worker] = [cell for cell in orders[worker] if cell in waiting]
        for cell in [c for c, end in running.items() if end <= now]:
            spent.add(cell, seconds[cell])
            del running[cell]
        can = [c for c in orders[worker] if all(ended.get(d, np.inf) <= now for d in needed[c])]
        if not can:
            heapq.heappush(events, (now + POLL * 20, worker))  # a coarser look, so that the simulation is quick
            continue
        ready = spent.longest_first(can)[0]
        waiting.remove(ready)
        takes = seconds[ready] * speed[worker]
        ended[ready] = running[ready] = now + takes
        busy, last = busy + takes, max(last, now + takes)
        heapq.heappush(events, (now + takes, worker))
    return 1 - busy / (WORKERS * last)


def main() -> None:
    print("| cells | spread of methods' times | idle, mean of 5 | highest |")
    print("|---|--:|--:|--:|")
    for title, made in (
        ("10 methods, sweep of 2, 3 seeds, 20 targets", cells(10, 2, 3)),
        ("20 methods, no sweep, 5 seeds, 10 targets", cells(20, 0, 5)),
    ):
        for spread in (0.0, 0.3, 0.6):
            found = [idle(made, spread, seed) for seed in range(REPEATS)]
            print(f"| {title} ({len(made)}) | {spread} | {100 * np.mean(found):.1f}% | {100 * max(found):.1f}% |", flush=True)


if __name__ == "__main__":
    main()
