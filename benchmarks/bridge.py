"""Multi-task learning and meta-learning: how far apart are the predictions of ANIL and of one body with a head for each task?

Wang, Zhao and Li, "Bridging multi-task learning and meta-learning" (ICML 2021, theorem 2), bound the distance for wide networks by
O(rate * steps + 1 / depth): small inner rates and deep networks make the two the same. Here it is measured on synthetic tasks:

    python benchmarks/bridge.py distance            # a line of JSON for each seed, depth and rate; about 5 CPU minutes
    python benchmarks/bridge.py table FILE          # the table of such lines
    python benchmarks/bridge.py figure FILE OUT.svg # the same drawn
    python benchmarks/bridge.py curves              # error on new tasks against seconds of training; under a CPU minute
    python benchmarks/bridge.py curve-figure FILE OUT.svg

Each of TASKS tasks is a random linear function of points on a sphere, squashed by tanh. Both methods begin with the same fully connected
network of `depth` hidden layers (NTK parametrisation, WIDTH wide, ReLU) and the same head w0, and take the same full-batch gradient steps
on the loss of the same rows: multi-task learning moves the body and a head a task; ANIL moves the body and one head, which takes STEPS
inner steps on each task's support, half of its rows, before the loss (second order). On new tasks both adapt their head (multi-task
learning: w0) by the same inner steps. The distance is the root mean square difference of their query predictions, divided by that of
what training changed (multi-task learning's predictions, minus those at the start, with heads adapted in the same way).
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TASKS, SHOTS, INPUTS, WIDTH, NEW = 8, 8, 8, 256, 20
STEPS, UPDATES, SPEED, EVERY = 1, 800, 1.0, 50
CURVE, SHARED = (2, 0.3), 2  # of the curves: hidden layers and inner rate; how many of the inputs their tasks depend on
DEPTHS, RATES, SEEDS = (1, 2, 4, 8), (0.0, 0.03, 0.1, 0.3, 1.0), (0, 1, 2)


def started(depth: int, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """The weights of the body, standard normal, and of the head."""
    sizes = [INPUTS] + [WIDTH] * depth
    return [torch.randn(n, m, generator=generator) for n, m in pairwise(sizes)], torch.randn(WIDTH, generator=generator)


def body(weights: list[Tensor], x: Tensor) -> Tensor:
    """Features [..., WIDTH]: each layer keeps the mean square of its input (He), however deep."""
    for w in weights:
        x = torch.relu(x @ w) * math.sqrt(2 / w.shape[0])
    return x


def read(head: Tensor, features: Tensor) -> Tensor:
    """head [T, W] or [W], features [T, N, W] -> [T, N]."""
    heads = head.expand(len(features), WIDTH) if head.ndim == 1 else head
    return torch.einsum("tnw,tw->tn", features, heads) / math.sqrt(WIDTH)


def adapted(head: Tensor, features: Tensor, targets: Tensor, rate: float) -> Tensor:
    """Heads [T, W] after STEPS gradient steps on half the squared error, summed over rows, of each task's support."""
    heads = head.expand(len(features), WIDTH)
    for _ in range(STEPS):
        error = read(heads, features) - targets
        heads = heads - rate * torch.einsum("tn,tnw->tw", error, features) / math.sqrt(WIDTH)
    return heads


def drawn(count: int, rows: int, generator: torch.Generator, inputs: int = INPUTS) -> tuple[Tensor, Tensor]:
    """Points [count, rows, INPUTS] and targets [count, rows], which depend on the first `inputs` numbers of a point."""
    x = torch.nn.functional.normalize(torch.randn(count, rows, INPUTS, generator=generator), dim=-1)
    direction = torch.randn(count, INPUTS, generator=generator) * (torch.arange(INPUTS) < inputs)
    return x * math.sqrt(INPUTS), torch.tanh(torch.einsum("tnd,td->tn", x, direction))


def descend(loss: Callable[[], Tensor], moving: list[Tensor], speed: float, look: Callable[[int], None] | None) -> float:
    """Plain gradient descent with momentum; the last loss. `look` is called every EVERY updates."""
    leaves = [t.requires_grad_() for t in moving]
    optimizer = torch.optim.SGD(leaves, lr=speed, momentum=0.9)
    for number in range(UPDATES):
        if look is not None and number % EVERY == 0:
            look(number)
        optimizer.zero_grad()
        now = loss()
        now.backward()
        optimizer.step()
    return float(now.detach())


def trained(
    seed: int, depth: int, rate: float | None, watch: Callable[[int, list[Tensor]], None] | None = None, inputs: int = INPUTS
) -> tuple[list[Tensor], Tensor, float, float]:
    """(body, head for new tasks, last loss, seconds): ANIL with an inner rate, or multi-task learning (None)."""
    generator = torch.Generator().manual_seed(seed)
    x, y = drawn(TASKS, 2 * SHOTS, generator, inputs)
    weights, head = started(depth, generator)
    speed, began = SPEED / (depth + 1), time.process_time()
    look = None if watch is None else lambda number: watch(number, weights)
    if rate is None:
        heads = head.expand(TASKS, WIDTH).clone()
        last = descend(lambda: (read(heads, body(weights, x)) - y).square().sum() / (2 * y.numel()), [*weights, heads], speed, look)
        return weights, head, last, time.process_time() - began
    own = head.clone()

    def outer() -> Tensor:
        features = body(weights, x)
        fitted = adapted(own, features[:, :SHOTS], y[:, :SHOTS], rate)
        return (read(fitted, features) - y).square().sum() / (2 * y.numel())

    last = descend(outer, [*weights, own], speed, look)
    return weights, own, last, time.process_time() - began


def answers(weights: list[Tensor], head: Tensor, seed: int, rate: float) -> Tensor:
    """Query predictions [NEW, SHOTS] on new tasks, after the same inner steps."""
    x, y = drawn(NEW, 2 * SHOTS, torch.Generator().manual_seed(1000 + seed))
    with torch.no_grad():
        features = body(weights, x)
        return read(adapted(head, features[:, :SHOTS], y[:, :SHOTS], rate), features[:, SHOTS:])


def distance(seed: int) -> Iterator[dict[str, float]]:
    """A row for each depth and rate."""
    for depth in DEPTHS:
        body_, head_ = started(depth, _after_tasks(seed))
        tasks, base, last, seconds = trained(seed, depth, None)
        for rate in RATES:
            anil, own, loss, took = trained(seed, depth, rate)
            ours, theirs, before = answers(tasks, base, seed, rate), answers(anil, own, seed, rate), answers(body_, head_, seed, rate)
            yield {
                "seed": seed,
                "depth": depth,
                "rate": rate,
                "distance": float((ours - theirs).norm() / (ours - before).norm()),
                "loss_mtl": last,
                "loss_anil": loss,
                "seconds_mtl": round(seconds, 2),
                "seconds_anil": round(took, 2),
            }


def curves(seed: int) -> Iterator[dict[str, float | str]]:
    """Error on new tasks against CPU seconds of training, of both methods with CURVE's depth and rate.

    Their tasks depend on SHARED of the inputs, which a body can learn. The error: root mean square of ridge regression on the features of
    each new task's support, over that of the targets.
    """
    yield from _curve(seed, "multi-task learning", None)
    yield from _curve(seed, "ANIL", CURVE[1])


def _curve(seed: int, method: str, rate: float | None) -> list[dict[str, float | str]]:
    rows: list[dict[str, float | str]] = []
    spent, since = 0.0, time.process_time()

    def watch(number: int, weights: list[Tensor]) -> None:
        nonlocal spent, since
        spent += time.process_time() - since
        rows.append({"seed": seed, "method": method, "update": number, "seconds": round(spent, 3), "error": new_error(weights, seed)})
        since = time.process_time()

    trained(seed, CURVE[0], rate, watch, SHARED)
    return rows


def new_error(weights: list[Tensor], seed: int, penalty: float = 0.1) -> float:
    """Of ridge regression on features, fitted on the support of new tasks and measured on their query."""
    x, y = drawn(NEW, 2 * SHOTS, torch.Generator().manual_seed(1000 + seed), SHARED)
    with torch.no_grad():
        features = body(weights, x) / math.sqrt(WIDTH)
        support, query = features[:, :SHOTS], features[:, SHOTS:]
        kernel = support @ support.mT + penalty * torch.eye(SHOTS)
        said = (query @ support.mT @ torch.linalg.solve(kernel, y[:, :SHOTS, None]))[..., 0]
        return float((said - y[:, SHOTS:]).norm() / y[:, SHOTS:].norm())


def curve_figure(rows: list[dict[str, float]], out: Path) -> None:
    """Error on new tasks against seconds, a line a seed."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5, 3.4), layout="constrained")
    axes = drawing.add_subplot()
    for colour, name in (("C0", "multi-task learning"), ("C1", "ANIL")):
        for place, seed in enumerate(SEEDS):
            mine = [row for row in rows if (row["method"], row["seed"]) == (name, seed)]
            label = name if place == 0 else None
            axes.plot([row["seconds"] for row in mine], [row["error"] for row in mine], color=colour, label=label)
    axes.set(xlabel="CPU seconds of training", ylabel="error on new tasks", ylim=(0, None))
    axes.legend(frameon=False)
    FigureCanvasSVG(drawing).print_svg(out)


def _after_tasks(seed: int) -> torch.Generator:
    """The generator as it is when `trained` draws the network."""
    generator = torch.Generator().manual_seed(seed)
    drawn(TASKS, 2 * SHOTS, generator)
    return generator


def table(rows: list[dict[str, float]]) -> str:
    """Mean distance over seeds, ± half the 95% t interval: depths down, rates across."""
    from fewtune.statistics import t_interval

    lines = ["| hidden layers | " + " | ".join(f"rate {rate:g}" for rate in RATES) + " |", "|--:|" + "--:|" * len(RATES)]
    for depth in DEPTHS:
        cells = []
        for rate in RATES:
            over = t_interval([row["distance"] for row in rows if (row["depth"], row["rate"]) == (depth, rate)])
            cells.append(f"{over.mean:.2f} ± {over.half_width:.2f}")
        lines.append(f"| {depth} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(rows: list[dict[str, float]], out: Path) -> None:
    """Distance against the inner rate, a line a depth; a point a seed."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5, 3.4), layout="constrained")
    axes = drawing.add_subplot()
    for depth in DEPTHS:
        mine = [[row["distance"] for row in rows if (row["depth"], row["rate"]) == (depth, rate)] for rate in RATES]
        line = axes.plot(range(len(RATES)), [np.mean(one) for one in mine], label=f"{depth} hidden layers")[0]
        for place, one in enumerate(mine):
            axes.plot([place] * len(one), one, ".", color=line.get_color(), alpha=0.5)
    axes.set_xticks(range(len(RATES)), [f"{rate:g}" for rate in RATES])
    axes.set(xlabel="inner rate of ANIL", ylabel="distance of predictions", ylim=(0, None))
    drawing.legend(loc="outside upper center", ncols=2, frameon=False)
    FigureCanvasSVG(drawing).print_svg(out)


def read_rows(file: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    match words:
        case ["distance"]:
            for seed in SEEDS:
                for row in distance(seed):
                    print(json.dumps(row), flush=True)
        case ["curves"]:
            for seed in SEEDS:
                for one in curves(seed):
                    print(json.dumps(one), flush=True)
        case ["curve-figure", file, out]:
            curve_figure(read_rows(file), Path(out))
        case ["table", file]:
            print(table(read_rows(file)))
        case ["figure", file, out]:
            figure(read_rows(file), Path(out))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
