"""Prompts and masked language models on the kit's text sets: zero-shot, prompt-based finetuning, and both after other sets.

    FEWTUNE_KIT=... OMP_NUM_THREADS=1 python benchmarks/prompting.py --out prompting.jsonl         # one JSON object a line; goes on
    FEWTUNE_KIT=... python benchmarks/prompting.py --pilot                                         # the learning rates
    python benchmarks/prompting.py --table prompting.jsonl

Each set is once the target, and the six others are the sources (rows that are also among the target's test rows are left out). A split has
16 labelled rows of each class; test rows are at most 600 of the set's test split (a fifth of a set without one). Every split has its own
training seed on the sources too. `dev`: as LM-BFF, 16 more rows of each class choose the learning rate. --alone: without other sets.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.data.examples import Examples
from fewtune.data.near.leaks import find_leaks
from fewtune.data.prompts import LabelWords, Template, prompted, shipped
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.task_choice import ROWS, Reserved, evidence_of
from fewtune.keys import key
from fewtune.learning.declared import for_testing
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.train import train
from fewtune.parts.rates import Cosine
from fewtune.recipes import logistic, multitask_prompt_finetuning, prompt_finetuning, prompt_zero_shot
from fewtune.statistics import paired_interval
from fewtune.tasks.candidates import few_rows
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.selection import consistency_diversity
from fewtune.tasks.task import source_tasks

KIT = Path(os.environ.get("FEWTUNE_KIT", "../shared/kit"))
SEEDS = (13, 21, 42, 87, 100)  # LM-BFF's
SHOTS, TEST = 16, 600
RATE, RATES = 3e-4, (1e-4, 3e-4, 1e-3)  # of all methods (see docs/reproductions.md), and those that `dev` chooses among
WORDS = {  # of the sets that LM-BFF does not have; ours, not tuned
    "tweet_emotion4": ("{text} It was [MASK] .", {"anger": ("anger",), "joy": ("joy",), "optimism": ("hope",), "sadness": ("sadness",)}),
    "agnews4": (
        "[MASK] news : {text}",
        {"world": ("world",), "sports": ("sports",), "business": ("business",), "science and technology": ("technology",)},
    ),
}
SETS = ("sst2", "sst5", "cr", "subj", "trec6", *WORDS)


def asked(name: str) -> tuple[Template, LabelWords]:
    """How a set is asked."""
    if name in WORDS:
        return Template(WORDS[name][0]), LabelWords(WORDS[name][1])
    made = shipped(name)
    assert made is not None
    return made.template, made.words


@dataclass(frozen=True)
class Target:
    """One set in its template, with the rows to label and those to learn from."""

    name: str

    @cached_property
    def bare(self) -> Examples:
        return read_examples(KIT / "text" / f"{self.name}.jsonl")

    @cached_property
    def examples(self) -> Examples:
        return prompted(self.bare, *asked(self.name))

    @cached_property
    def test(self) -> np.ndarray:
        split = self.bare.row_split
        rows = np.flatnonzero(split == 2) if (split == 2).any() else np.flatnonzero(key(0, "test").generator().random(len(split)) < 0.2)
        return np.sort(key(1, "test").generator().permutation(rows)[:TEST])

    def support(self, seed: int, each: int = SHOTS, skip: int = 0) -> np.ndarray:
        known = np.setdiff1d(np.flatnonzero(self.bare.labels >= 0), self.test)
        free = np.setdiff1d(known, np.flatnonzero(self.bare.row_split == 2))
        order = key(seed, "support").generator().permutation(free if len(free) else known)  # the kit's AG News is a test file alone
        labels = self.bare.labels[order]
        return np.concatenate([order[labels == c][skip : skip + each] for c in range(len(self.bare.class_names))])


def episode(target: Target, support: np.ndarray, query: np.ndarray) -> Episodes:
    labels = target.bare.labels
    tensors = [torch.from_numpy(np.ascontiguousarray(part))[None] for part in (support, labels[support], query, labels[query])]
    return Episodes(*tensors, torch.arange(len(target.bare.class_names))[None], torch.zeros(1, dtype=torch.int64))


def right(ground: Ground, learner: Any, weights: dict[str, torch.Tensor], one: Episodes, seed: int) -> np.ndarray:
    """Whether each query row is answered right."""
    held = for_testing(ground, learner, {n: t.detach() for n, t in weights.items()})
    with torch.no_grad():
        logits = respond(ground, learner, held, one, key(seed, "testing")).logits
    return (logits.argmax(-1) == one.query_label)[0].numpy()


def sources_of(target: Target) -> tuple[RowSpace, int]:
    """The other sets, without rows that are also among the test rows, and how many those are."""
    others = [Target(name) for name in SETS if name != target.name]
    leaks = find_leaks(target.bare.take(target.test), [other.bare for other in others])
    gone = {name: {leak.row for leak in leaks if leak.source == name} for name in SETS}
    kept = [o.examples.take([r for r in range(len(o.bare)) if r not in gone[o.name]]) for o in others]
    return RowSpace(kept), sum(map(len, gone.values()))


def run(target: Target, backbone: Backbone, steps: int, seed: int, *, dev: bool, alone: bool) -> list[dict[str, Any]]:
    """Every method on one split of one set."""
    here = Ground(backbone, RowSpace([target.examples]))
    source, gone = (None, 0) if alone else sources_of(target)
    start, finetuned = here.start(), prompt_finetuning(lr=Cosine(lr=RATE))
    support = target.support(seed)
    one, rows = episode(target, support, target.test), []

    def judge(method: str, learner: Any, weights: dict[str, torch.Tensor], began: float) -> None:
        answers = right(here, learner, weights, one, seed)
        row = {"set": target.name, "split": seed, "method": method, "accuracy": round(float(answers.mean()), 4), "left_out": gone}
        rows.append(row | {"seconds": round(time.process_time() - began, 1), "rows": len(answers), "steps": steps})

    judge("zero-shot", prompt_zero_shot().learner, start, time.process_time())
    judge("logistic on the mask", logistic().learner, start, time.process_time())
    judge("prompt-FT", finetuned.learner, start, time.process_time())
    for chosen in () if source is None else (False, True):
        tasks = source_tasks(source)
        began = time.process_time()
        method = multitask_prompt_finetuning(steps=steps, lr=Cosine(lr=RATE), selection=consistency_diversity() if chosen else None)
        phases = method.phases
        if chosen:
            with torch.no_grad():
                seen = here.embed(start, torch.from_numpy(support)[None])[0]
            features = torch.zeros(len(target.bare), seen.shape[1])
            features[torch.from_numpy(support)] = seen
            evidence = evidence_of(backbone, source, features, Reserved(support, target.bare.labels[support]))
            sampler: Any = phases[0].sampler
            assert isinstance(sampler, Chosen)
            phases = (replace(phases[0], sampler=sampler.resolved(few_rows(tasks, source, ROWS), evidence)),)
        trained = train(Ground(backbone, source), phases, tasks, key(seed, "multitask"))
        said = " of selected sets" if chosen else ""
        judge(f"multitask{said}, zero-shot", method.learner, trained.weights, began)
        judge(f"multitask{said}, prompt-FT", finetuned.learner, trained.weights, began)
    if dev:
        began, other = time.process_time(), episode(target, support, target.support(seed, SHOTS, SHOTS))
        tried = {lr: prompt_finetuning(lr=Cosine(lr=lr)).learner for lr in RATES}
        scores = {lr: right(here, learner, start, other, seed).mean() for lr, learner in tried.items()}
        judge("prompt-FT, rate by 16 dev rows a class", tried[max(scores, key=scores.__getitem__)], start, began)
    return rows


def pilot(backbone: Backbone) -> None:
    """Prompt-FT by rate on rows that are in no test split."""
    for name in ("sst2", "trec6", "agnews4"):
        target = Target(name)
        here, support = Ground(backbone, RowSpace([target.examples])), target.support(0)
        one = episode(target, support, target.support(0, 60, SHOTS))
        for lr in RATES:
            for steps in (50, 100, 200):
                began, learner = time.process_time(), prompt_finetuning(lr=Cosine(lr=lr), steps=steps).learner
                found = right(here, learner, here.start(), one, 0).mean()
                print(name, lr, steps, round(float(found), 3), round(time.process_time() - began, 1), flush=True)


def table(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    methods, sets = list(dict.fromkeys(r["method"] for r in rows)), list(dict.fromkeys(r["set"] for r in rows))
    by = {(r["set"], r["split"], r["method"]): 100 * r["accuracy"] for r in rows}
    splits = sorted({r["split"] for r in rows})
    print("| method |", " | ".join(sets), "| mean | minus prompt-FT |")
    for method in methods:
        cells = [[by[s, p, method] for p in splits if (s, p, method) in by] for s in sets]
        means = [f"{np.mean(c):.1f} ± {np.std(c, ddof=1):.1f}" if len(c) > 1 else "" for c in cells]
        gaps = np.array([np.mean([by[s, p, method] - by[s, p, "prompt-FT"] for p in splits if (s, p, method) in by]) for s in sets])
        between = "" if method == "prompt-FT" else "[{0.low:+.1f}, {0.high:+.1f}]".format(paired_interval(gaps))
        mean = np.mean([np.mean(c) for c in cells])
        print(f"| {method} |", " | ".join(means), f"| {mean:.1f} | {gaps.mean():+.1f} {between} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default=f"hf:{KIT / 'weights' / 'bert-tiny-mlm'}")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        return table(given.table)
    backbone = load_backbone(TextOptions(template="{text} It was [MASK] .").onto(given.backbone))
    if given.pilot:
        return pilot(backbone)
    known = given.out.read_text().splitlines() if given.out and given.out.is_file() else []
    done = {(row["split"], row["set"]) for row in map(json.loads, known)}
    for seed, name in itertools.product(SEEDS[: given.splits], given.sets):
        if (seed, name) in done:
            continue
        lines = [json.dumps(row) for row in run(Target(name), backbone, given.steps, seed, dev=given.dev, alone=given.alone)]
        print(*lines, sep="\n", flush=True)
        if given.out:
            with given.out.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
    return None


if __name__ == "__main__":
    main()
