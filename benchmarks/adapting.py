"""What does finetuning bring, and does `adapt` take it? The frozen model, every side, their ensembles, and what is saved.

    OMP_NUM_THREADS=1 python benchmarks/adapting.py KIT --out adapting.jsonl [--sets trec6 pacs] [--shots 8] [--draws 3] [--sources]

Every draw takes `shots` labelled examples of each class (at most 10 classes; test classes where a set has them), adapts on them with one
repeat of the folds, and is measured on up to 40 other examples of each class, which nothing else sees. With --sources, the other half of
the set's classes (its training classes) are other labelled data. One JSON line a draw; at the end a table: accuracy of the frozen model,
points that each side adds, and the share of the best side's gain that the saved model takes.

scikit-learn's LogisticRegression() and LogisticRegressionCV() on the frozen features stand beside them, and where it is installed
(pip install 'autogluon.tabular[lightgbm,catboost,xgboost]') AutoGluon's TabularPredictor with `--autogluon`
seconds. --answers FOLDER keeps, for each draw, what every way answered to the held-out labelled examples and to the others:
`benchmarks/calibrating.py` reads that.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heads import IMAGES, TEXTS, cross_validated, opened, usable
from sklearn.linear_model import LogisticRegression

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.kept import Kept, kept_model
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.examples import NO_SPLIT, SPLITS, Examples
from fewtune.data.row_space import RowSpace
from fewtune.models.fitting import fit_head
from fewtune.sides.compared import Compared
from fewtune.sides.job import Workplace
from fewtune.sides.route import FROZEN, remembered, side_of
from fewtune.sides.settings import OwnSettings
from fewtune.sources.settings import SourceSettings
from fewtune.sources.stages import SOURCES

MOST_CLASSES, MOST_ASKED = 10, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=[*IMAGES, *TEXTS])
    parser.add_argument("--part", choices=("train", "test"), default="test")
    parser.add_argument("--shots", nargs="+", type=int, default=[8])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--recipes", nargs="+", default=[])
    parser.add_argument("--sources", action="store_true")
    parser.add_argument("--visits", type=int, default=4800)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--budget", type=float, default=1e6, help="minutes for one `adapt`, as its --budget; no limit by default")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no draw begins after so many minutes of processor time")
    parser.add_argument("--autogluon", type=int, default=0, help="seconds for AutoGluon on the frozen features; 0: without it")
    parser.add_argument("--answers", type=Path, help="a folder for the answers of every way, one file a draw")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    done = {(x["set"], x["shots"], x["seed"]) for x in map(json.loads, given.out.read_text().splitlines())} if given.out.exists() else set()
    with given.out.open("a") as out:
        for shots in given.shots:
            for seed in range(given.draws):
                for name in given.sets:
                    if (name, shots, seed) in done or time.process_time() > 60 * given.minutes:
                        continue
                    examples, backbone = opened(given.kit, name)
                    keep = given.answers and given.answers / f"{name}-{shots}-{seed}.npz"
                    line = measured(examples, backbone, shots, seed, given, keep)
                    out.write(json.dumps({"set": name, "shots": shots, "seed": seed, **line}) + "\n")
                    out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def drawn(examples: Examples, part: str, shots: int, seed: int) -> tuple[Examples, Examples]:
    """(the labelled examples, the others that are asked)."""
    random = np.random.default_rng([seed, shots])
    taken = random.permutation(usable(examples, part, shots))[:MOST_CLASSES]
    rows, asked = [], []
    for c in taken:
        mine = random.permutation(np.flatnonzero(examples.labels == c))
        rows += mine[:shots].tolist()
        asked += mine[shots : shots + MOST_ASKED].tolist()
    target, rest = examples.take(np.array(rows)), examples.take(np.array(asked))
    return replace(target, row_split=np.full(len(target), NO_SPLIT)), rest


def measured(
    examples: Examples, backbone: Backbone, shots: int, seed: int, given: argparse.Namespace, keep: Path | None = None
) -> dict[str, Any]:
    """Accuracies of one draw on the rest, by side, and the seconds of the work."""
    target, rest = drawn(examples, given.part, shots, seed)
    sources = others(examples) if given.sources else []
    settings = AdaptSettings(
        minutes=given.budget,
        seed=seed,
        own=OwnSettings(repeats=given.repeats, recipes=tuple(given.recipes)),
        sources=SourceSettings(visits=given.visits),
    )
    began = time.process_time()
    outcome = adapt_examples(target, backbone, sources=sources, settings=settings, at=Workplace(cache=given.cache, quiet=True))
    found: dict[str, Any] = {"seconds": round(time.process_time() - began, 1), "ways": len(outcome.class_names)}
    found |= accuracies(outcome, rest, keep)
    found |= peers(target, rest, backbone, given.cache, given.autogluon)
    if outcome.choice.expected is not None:
        found["expected"] = [outcome.choice.expected.mean, outcome.choice.expected.low, outcome.choice.expected.high]
    return found


def others(examples: Examples) -> list[Examples]:
    """The training classes of a set as other labelled data; none where it has no class splits."""
    inside = np.flatnonzero(examples.class_split == SPLITS["train"])
    if len(inside) < 5 or not (examples.class_split == SPLITS["test"]).any():
        return []
    rows = np.flatnonzero(np.isin(examples.labels, inside))
    return [replace(examples.take(rows), name=f"{examples.name} others")]


BY_SOURCES = "frozen, the learner of the sources"


def ways_of(outcome: Outcome) -> tuple[dict[str, Kept], str]:
    """(the model of every way as if it had been kept, the name of the one that is kept)."""
    finetuning, compared = outcome.finetuning, outcome.finetuning.compared
    if compared is None:  # judged on classes of the sources, or not at all
        frozen, used, how = finetuning.frozen, finetuning.sources, AdaptSettings()
        found = {FROZEN: Kept(frozen.side, frozen.choice)}
        if used is not None and used.best is not None:
            found[BY_SOURCES] = Kept(frozen.side, frozen.choose(frozen.side, how, used.best.name))
        if used is not None and used.after is not None:
            advised = None if used.guard is None else used.guard.advised
            found[SOURCES] = Kept(used.after, frozen.choose(used.after, how, advised))
        return found, SOURCES if used is not None and used.kept else BY_SOURCES if BY_SOURCES in found else FROZEN
    routes = {name: remembered(route) for name, route in finetuning.routes.items()}
    found = {}
    for name in (FROZEN, *compared.rivals):
        forced = Compared(compared.held, compared.related)
        forced.__dict__["kept"] = name
        found[name] = kept_model(replace(finetuning, compared=forced, routes=routes), AdaptSettings())
    return found, compared.kept


def accuracies(outcome: Outcome, rest: Examples, keep: Path | None = None) -> dict[str, Any]:
    """Of the frozen model, of every rival as if it had been kept, and of what is kept. `keep`: the file for all answers."""
    compared, target = outcome.finetuning.compared, outcome.target
    place = {name: i for i, name in enumerate(outcome.class_names)}
    truth = np.array([place[rest.class_names[c]] for c in rest.labels])
    labels = target.labels[target.support]
    found: dict[str, Any] = {}
    answers: dict[str, Any] = {"truth": truth, "labels": labels}
    ways, kept = ways_of(outcome)
    for name, model in ways.items():
        method, side = model.choice.method, model.side
        state, parameters = fit_head(method, side.features, target.support, labels, len(place), side.vectors(method, outcome.class_names))
        features = side_of(side.backbone, RowSpace([rest]), np.arange(len(rest))).features
        logits = method.head.score(state, features[None], parameters)[0].double().numpy()
        found[name] = float((logits.argmax(-1) == truth).mean())
        answers |= {f"{name}: logits": logits, f"{name}: temperature": model.choice.temperature}
        if compared is not None:
            held = compared.held[name] if name in compared.held else compared.rivals[name]
            answers |= {f"{name}: held": held.logits, f"{name}: fold": held.fold}
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(keep, **answers)
    shown = FROZEN if compared is not None and not compared.shown else kept
    found |= {"kept": kept, "saved": found[kept], "shown": shown, "saved if shown": found[shown]}
    if compared is not None:
        found["p"], found["gain"] = compared.gain.p, compared.gain.mean
        evidence = compared.evidence
        found["evidence"] = {n: [float(m), float(e)] for n, m, e in zip(evidence.names, evidence.mean, evidence.error, strict=True)}
    return found


def peers(target: Examples, rest: Examples, backbone: Backbone, cache: Path | None, autogluon: int = 0) -> dict[str, float]:
    """scikit-learn on the same frozen features, and AutoGluon with so many seconds; what divides the rows, from two labels a class on."""
    X, Z = (feature_table(backbone, RowSpace([e]), folder=cache, quiet=True).features.numpy() for e in (target, rest))
    names = {name: i for i, name in enumerate(target.class_names)}
    y, t = target.labels, np.array([names[rest.class_names[c]] for c in rest.labels])
    place = np.unique(y, return_inverse=True)[1]
    answers = {
        "LogisticRegression": lambda: LogisticRegression(max_iter=1000).fit(X, y).predict(Z),
        "LogisticRegressionCV": lambda: cross_validated(place).fit(X, y).predict(Z),
        "AutoGluon": lambda: auto_gluon(X, y, Z, autogluon),
    }
    if np.bincount(place).min() < 2:
        del answers["LogisticRegressionCV"], answers["AutoGluon"]
    elif not autogluon:
        del answers["AutoGluon"]
    return {name: float((answer() == t).mean()) for name, answer in answers.items()}


def auto_gluon(X: Any, y: Any, Z: Any, seconds: int) -> Any:
    """The classes [A] that AutoGluon's TabularPredictor gives, with its default preset on one core."""
    try:
        import pandas
        from autogluon.tabular import TabularPredictor
    except ImportError as problem:
        raise SystemExit(f"AutoGluon is missing ({problem}): pip install 'autogluon.tabular[lightgbm,catboost,xgboost]'") from None
    known = pandas.DataFrame(X).add_prefix("f").assign(label=[f"class {c}" for c in y])
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(label="label", path=folder, verbosity=0).fit(known, time_limit=seconds, num_cpus=1)
        found = predictor.predict(pandas.DataFrame(Z).add_prefix("f"))
    return found.str.removeprefix("class ").astype(int).to_numpy()


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A line a set: the frozen model, the points of every side beyond it, what was saved."""
    out = []
    for shots in sorted({x["shots"] for x in lines}):
        out.append(f"{shots} a class: accuracy of frozen; points beyond it (mean, 95% interval over draws)")
        mine = [x for x in lines if x["shots"] == shots]
        sides = [
            c
            for c in dict.fromkeys(k for x in mine for k in x)
            if isinstance(mine[0].get(c, 0.0), float) and c not in ("p", "gain", "evidence", "seconds", FROZEN)
        ]
        for name in dict.fromkeys(x["set"] for x in mine):
            draws = [x for x in mine if x["set"] == name]
            cells = []
            for side in sides:
                gains = [100 * (x[side] - x[FROZEN]) for x in draws if side in x]
                if gains:
                    half = 1.96 * np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else float("nan")
                    cells.append(f"{side} {np.mean(gains):+.1f} ± {half:.1f}")
            out.append(f"  {name} {100 * np.mean([x[FROZEN] for x in draws]):.1f}: " + "; ".join(cells))
        best = [max([x[s] for s in sides if s in x and not s.startswith(("saved", "Logistic", "AutoGluon"))] + [x[FROZEN]]) for x in mine]
        for saved in ("saved", "saved if shown"):
            gain = sum(x[saved] - x[FROZEN] for x in mine)
            whole = sum(b - x[FROZEN] for b, x in zip(best, mine, strict=True))
            worst = min(mine, key=lambda x: x[saved] - x[FROZEN])
            share = gain / whole if whole else float("nan")
            out.append(
                f"  {saved}: share of the best side's gain {share:.2f}; worst draw {worst['set']} seed {worst['seed']} "
                f"{100 * (worst[saved] - worst[FROZEN]):+.1f}"
            )
    return "\n".join(out)


if __name__ == "__main__":
    main()
