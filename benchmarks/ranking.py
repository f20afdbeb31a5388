"""A recommender in small: candidates by text, ranked by predicted engagement and satisfaction; one trunk or experts with gates.

    OMP_NUM_THREADS=1 python benchmarks/ranking.py films KIT [--seeds 0 1 2] [--steps 400] [--out FOLDER]
    OMP_NUM_THREADS=1 python benchmarks/ranking.py gates KIT [--seeds 0 1 ... 19] [--steps 200] [--lr 1e-2]
    OMP_NUM_THREADS=1 python benchmarks/ranking.py pairs [--seeds 0 1 2 3] [--steps 400]

`benchmarks/online.py` trains them year by year and counts an online comparison.

`films`: tables/movies.csv of the kit. In go the title (all-MiniLM-L6-v2), year, length and budget (log10; 0 and a flag where it is
missing); out come engagement (votes_log10), satisfaction (rating), seven genres and mpaa. Films before 2000 are learned from, the later
ones answered: the order of time. Candidates for a film are the 50 later films with the nearest titles; the ten with the largest w x
engagement + (1 - w) x satisfaction (both predicted, in standard deviations) are shown, w set by hand. `gates`: how many gates of a mixture
of 8 experts give more than .9 to one expert after training, with and without dropout of experts. `pairs`: two regressions y = w'x + sum_i
sin(a_i w'x + b_i) + noise whose directions w have a given cosine (Ma et al., KDD 2018, section 3.2).

In all of them networks have the width at which a row costs at most as many multiplications as `shared_bottom` with WIDTH units
(`parts.sharing.multiplications`). Prints a JSON line a run. Intervals are 95% t intervals over seeds, of paired differences where it says
so. Seconds are processor seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Texts, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.laid_out import laid_out
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads.head import Parameters
from fewtune.parts.sharing import Mmoe, SharedBottom, multiplications, utilisation, width_for
from fewtune.recipes import read_method
from fewtune.statistics.intervals import Interval, t_interval, wilson_interval
from fewtune.statistics.metrics import METRICS
from fewtune.tasks import label_tasks

GENRES = ("action", "animation", "comedy", "drama", "documentary", "romance", "short")
FILMS = ("votes_log10", "rating", *GENRES, "mpaa")
FIRST_TEST_YEAR, CANDIDATES, SHOWN = 2000, 50, 10
LR = 1e-3
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of engagement
COSINES = (0.0, 0.5, 0.9, 1.0)
Numbers = np.ndarray[Any, np.dtype[Any]]


@final
@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head and its parameters: what it answers to features."""

    head: Any
    parameters: Parameters
    seconds: float

    @torch.no_grad()
    def outputs(self, features: Numbers, task: int) -> Tensor:
        """Outputs [N, outputs of the task]."""
        first = sum(self.head.outputs[:task])
        classes = torch.arange(first, first + self.head.outputs[task])[None]
        state = {"task": torch.tensor([task]), "classes": classes}
        found: Tensor = self.head.score(state, torch.from_numpy(features)[None], self.parameters)[0]
        return found


@final
@dataclass(frozen=True, eq=False)
class Table:
    """Features [N, D] and label columns; `train` are the rows to learn from."""

    features: Numbers
    columns: dict[str, Column]
    train: Numbers

    @property
    def outputs(self) -> tuple[int, ...]:
        return tuple(len(c.names) if c.kind == "class" else 1 for c in self.columns.values())

    def fit(self, text: str, seed: int) -> Fitted:
        """The method that a text spells, trained on the train rows."""
        examples: Examples = make_examples(Vectors(self.features), next(iter(self.columns.values())))
        space = RowSpace([examples.with_columns(self.columns)])
        ground = Ground(load_backbone("precomputed", machine=Machine(device="cpu").resolved()), space)
        method = laid_out(read_method(text), self.outputs, seed)
        began = time.process_time()
        run = train(ground, method.phases, label_tasks(space, list(self.columns), self.train), key(seed))
        parameters = {n: t.detach() for n, t in ground.read(method.head, run.weights).items()}
        return Fitted(method.head, parameters, time.process_time() - began)


def contenders(outputs: Sequence[int], inputs: int, width: int, tower: int, steps: int) -> dict[str, tuple[str, int]]:
    """name -> (method, multiplications a row): one trunk, mixtures of 4 and 8 experts at no more multiplications, and networks apart."""
    plain = SharedBottom(outputs=tuple(outputs), width=width, tower=tower)
    most = multiplications(plain, inputs)
    found = {"shared_bottom": (f"shared_bottom(width={width}, tower={tower}, steps={steps}, lr={LR})", most)}
    for experts in (4, 8):
        mixture = Mmoe(outputs=tuple(outputs), experts=experts, tower=tower)
        fits = width_for(mixture, inputs, most)
        text = f"mmoe(experts={experts}, width={fits}, tower={tower}, steps={steps}, lr={LR})"
        found[f"mmoe {experts}"] = (text, multiplications(replace(mixture, width=fits), inputs))
    apart = max(1, width // len(outputs))
    cost = len(outputs) * inputs * apart + sum(outputs) * apart
    return found | {"independent": (f"independent(width={apart}, steps={steps}, lr={LR})", cost)}


def shown(interval: Interval, digits: int = 3) -> str:
    return f"{interval.mean:.{digits}f} ± {(interval.high - interval.low) / 2:.{digits}f}"


def rounded(values: Tensor) -> Any:
    return values.double().numpy().round(2).tolist()


def say(**row: object) -> None:
    print(json.dumps(row), flush=True)


def films(kit: Path, cache: Path, first_test_year: int = FIRST_TEST_YEAR) -> tuple[Table, Numbers]:
    """(all films, their years); the embeddings of their titles are kept in a file."""
    with (kit / "tables" / "movies.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stored = cache / "movies_minilm.npy"
    if not stored.exists():
        backbone = load_backbone(f"hf:{kit / 'weights' / 'all-minilm-l6-v2'}", machine=Machine(device="cpu").resolved())
        space = RowSpace([make_examples(Texts([row["title"] for row in rows]))])
        with torch.no_grad():
            np.save(stored, backbone.embed(backbone.start(), space, np.arange(len(rows))).numpy())
    titles = np.load(stored)
    titles = titles / np.linalg.norm(titles, axis=1, keepdims=True)
    year, length = (np.array([float(row[name]) for row in rows]) for name in ("year", "length"))
    budget = np.array([np.log10(float(row["budget"]) + 1) if row["budget"] else np.nan for row in rows])
    train = np.flatnonzero(year < first_test_year)
    numbers = np.stack([year, np.log10(length), budget], 1)
    numbers = (numbers - np.nanmean(numbers[train], 0)) / np.nanstd(numbers[train], 0)
    features = np.concatenate([titles * titles.shape[1] ** 0.5, np.nan_to_num(numbers), np.isnan(budget)[:, None]], 1)
    columns = {name: Column("float", np.array([[float(row[name])] for row in rows])) for name in FILMS[:2]}
    columns |= {name: Column("class", np.array([int(row[name]) for row in rows]), ("no", "yes")) for name in GENRES}
    ratings = sorted({row["mpaa"] for row in rows} - {""})
    columns["mpaa"] = Column("class", np.array([ratings.index(row["mpaa"]) if row["mpaa"] else -1 for row in rows]), tuple(ratings))
    return Table(features.astype(np.float32), columns, train), year


def judged(table: Table, fitted: Fitted, rows: Numbers) -> dict[str, float]:
    """Spearman's rank correlation of numbers, area under the curve of yes or no, accuracy of mpaa, on rows that are labelled."""
    found = {}
    for task, (name, column) in enumerate(table.columns.items()):
        out, truth = fitted.outputs(table.features[rows], task), column.values[rows]
        if column.kind == "float":
            found[name] = METRICS["spearman"].of(out[:, 0].numpy(), truth[:, 0])
        else:
            found[name] = METRICS["accuracy" if name == "mpaa" else "auc"].of(out.softmax(1).double().numpy(), truth)
    return found


def run_films(kit: Path, seeds: Sequence[int], steps: int, out: Path) -> None:
    table, _ = films(kit, out)
    later = np.setdiff1d(np.arange(len(table.features)), table.train)
    kinds, fronts, use = contenders(table.outputs, table.features.shape[1], 256, 0, steps), {}, None
    for name, (text, cost) in kinds.items():
        found, ranked, seconds = [], [], 0.0
        for seed in seeds:
            fitted = table.fit(text, seed)
            found.append(judged(table, fitted, later))
            engaged, satisfied = (fitted.outputs(table.features[later], task)[:, 0].numpy() for task in (0, 1))
            ranked.append([ranking(table, later, w * engaged + (1 - w) * satisfied) for w in WEIGHTS])
            seconds += fitted.seconds
            if name == "mmoe 8" and use is None:
                use = utilisation(fitted.head, fitted.parameters, torch.from_numpy(table.features[later]))
        scores = {task: shown(t_interval([one[task] for one in found])) for task in table.columns}
        mean = shown(t_interval([float(np.mean(list(one.values()))) for one in found]))
        fronts[name] = np.array(ranked)  # [seeds, weights, 2]
        front = {w: [shown(t_interval(fronts[name][:, place, side]), 2) for side in (0, 1)] for place, w in enumerate(WEIGHTS)}
        say(study="films", network=name, method=text, multiplications=cost, seconds=round(seconds / len(seeds), 1), mean=mean, **scores)
        say(study="front", network=name, engagement_and_satisfaction_of_the_shown=front)
    alike = [ranking(table, later, None)[side] for side in (0, 1)]
    best = [[round(x, 2) for x in ranking(table, later, w * truth(table, later, 0) + (1 - w) * truth(table, later, 1))] for w in WEIGHTS]
    say(study="front", by_title_alone=[round(x, 2) for x in alike], by_the_true_labels=best)
    assert use is not None
    say(study="use of experts", share=rounded(use.share), entropy=rounded(use.entropy))
    drawn(out, fronts, alike, use.share.numpy())


def truth(table: Table, rows: Numbers, task: int) -> Numbers:
    """The labels in standard deviations of the films that are learned from."""
    values = table.columns[FILMS[task]].values[:, 0]
    scaled: Numbers = (values[rows] - values[table.train].mean()) / values[table.train].std()
    return scaled


def ranking(table: Table, later: Numbers, score: Numbers | None, asked: int = 300) -> list[float]:
    """(engagement, satisfaction) of what is shown, true, in standard deviations: a mean over `asked` films. None: nearest titles first."""
    titles = table.features[later, :384]
    chosen = key(0, "ranking").generator().choice(len(later), asked, replace=False)
    likeness = titles[chosen] @ titles.T
    likeness[np.arange(asked), chosen] = -np.inf
    near = np.argsort(-likeness, axis=1, kind="stable")[:, :CANDIDATES]
    order = near if score is None else np.take_along_axis(near, np.argsort(-score[near], axis=1, kind="stable"), 1)
    return [float(truth(table, later, task)[order[:, :SHOWN]].mean()) for task in (0, 1)]


def drawn(out: Path, fronts: dict[str, Numbers], alike: Sequence[float], share: Numbers) -> None:
    """front.svg: what the weights by hand give; experts.svg: which task uses which expert."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 4))
    for name, front in fronts.items():
        axes.plot(*front.mean(0).T, marker="o", markersize=4, label=name)
    axes.plot(*alike, "k^", label="nearest titles")
    axes.set(xlabel="engagement of the ten shown (standard deviations)", ylabel="satisfaction")
    axes.legend(fontsize=8)
    figure.savefig(out / "front.svg", bbox_inches="tight")
    figure, axes = pyplot.subplots(figsize=(5, 3.5))
    image = axes.imshow(share, cmap="Blues", vmin=0, aspect="auto")
    axes.set_yticks(range(len(FILMS)), FILMS, fontsize=8)
    axes.set(xlabel="expert", title="share of each expert in a task's gate")
    figure.colorbar(image)
    figure.savefig(out / "experts.svg", bbox_inches="tight")


def run_gates(kit: Path, seeds: Sequence[int], steps: int, lr: float, out: Path) -> None:
    table, _ = films(kit, out)
    rows = torch.from_numpy(table.features[table.train[:2000]])
    for dropout in (0.0, 0.1):
        gates, runs, entropy, seconds = 0, 0, [], 0.0
        for seed in seeds:
            fitted = table.fit(f"mmoe(experts=8, width=16, steps={steps}, lr={lr}, dropout={dropout})", seed)
            use = utilisation(fitted.head, fitted.parameters, rows)
            gates, runs = gates + int(use.polarised.sum()), runs + bool(use.polarised.any())
            entropy.append(float(use.entropy.mean()))
            seconds += fitted.seconds
        every, some = wilson_interval(gates, len(seeds) * len(FILMS)), wilson_interval(runs, len(seeds))
        say(
            study="gates", dropout=dropout, lr=lr, steps=steps, seeds=len(seeds), seconds=round(seconds, 1),
            polarised_gates=f"{100 * every.mean:.1f}% ({100 * every.low:.1f} to {100 * every.high:.1f})",
            runs_with_one=f"{100 * some.mean:.0f}% ({100 * some.low:.0f} to {100 * some.high:.0f})", entropy=shown(t_interval(entropy), 2),
        )  # fmt: skip


def pair(cosine: float, seed: int, count: int = 6000, width: int = 100) -> Table:
    """Two tasks on the same rows; the last third is not learned from."""
    g = np.random.default_rng((seed, int(100 * cosine)))
    axes = np.linalg.qr(g.normal(size=(width, 2)))[0]
    first, second = axes[:, 0], cosine * axes[:, 0] + (1 - cosine**2) ** 0.5 * axes[:, 1]
    a, b = g.uniform(0.5, 2.5, 4), g.uniform(0, 2 * np.pi, 4)
    x = g.normal(size=(count, width))
    values = []
    for direction in (first, second):
        line = x @ direction
        values.append(line + np.sin(a * line[:, None] + b).sum(1) + 0.1 * g.normal(size=count))
    columns = {f"y{i}": Column("float", one[:, None]) for i, one in enumerate(values)}
    return Table(x.astype(np.float32), columns, np.arange(2 * count // 3))


def run_pairs(seeds: Sequence[int], steps: int) -> None:
    for cosine in COSINES:
        errors: dict[str, list[float]] = {}
        labels, kinds = [], contenders((1, 1), 100, 112, 8, steps)
        for seed in seeds:
            table = pair(cosine, seed)
            later = np.setdiff1d(np.arange(len(table.features)), table.train)
            values = [column.values[:, 0] for column in table.columns.values()]
            labels.append(float(np.corrcoef(*values)[0, 1]))
            for name, (text, _) in kinds.items():
                fitted = table.fit(text, seed)
                r2 = [1 - METRICS["r2"].of(_unscaled(fitted, table, later, t), values[t][later]) for t in (0, 1)]
                errors.setdefault(name, []).append(float(np.mean(r2)))
        base = np.array(errors["shared_bottom"])
        say(
            study="pairs", cosine=cosine, correlation_of_labels=shown(t_interval(labels), 2),
            multiplications={name: cost for name, (_, cost) in kinds.items()},
            unexplained_variance={name: shown(t_interval(found)) for name, found in errors.items()},
            less_than_shared_bottom={n: shown(t_interval(np.array(f) - base)) for n, f in errors.items() if n != "shared_bottom"},
        )  # fmt: skip


def _unscaled(fitted: Fitted, table: Table, rows: Numbers, task: int) -> Numbers:
    values = list(table.columns.values())[task].values[table.train, 0]
    found: Numbers = fitted.outputs(table.features[rows], task)[:, 0].double().numpy() * values.std() + values.mean()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["films", "gates", "pairs"])
    parser.add_argument("kit", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    if given.study == "pairs":
        run_pairs(given.seeds or range(4), given.steps or 400)
    elif given.kit is None:
        parser.error("name the folder of the benchmark kit")
    elif given.study == "films":
        run_films(given.kit, given.seeds or range(3), given.steps or 400, out)
    else:
        run_gates(given.kit, given.seeds or range(20), given.steps or 200, given.lr, out)


if __name__ == "__main__":
    main()
