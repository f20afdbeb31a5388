"""How good is `adapt` on few labelled texts beside SetFit and scikit-learn, and what does it cost?

    OMP_NUM_THREADS=1 python benchmarks/peers.py KIT --out peers.jsonl [--sets trec6 cr] [--shots 8] [--draws 3] [--minutes 60]

The draws are those of benchmarks/adapting.py: `shots` labelled texts of each class (at most 10 classes), up to 40 other texts of each
class to be measured on. All start from the same all-MiniLM-L6-v2 in float32, on one core:

    saved        `fewtune.adapt` with one repeat of the folds and no limit of time (a busy machine must not decide what is tried)
    SetFit       its default recipe: one epoch of pairs, then logistic regression (pip install 'fewtune[peers]')
    LogisticRegression, LogisticRegressionCV    scikit-learn on the frozen features

One JSON line a draw, seed by seed; it stops before a draw that would begin after so many `--minutes` of processor time. Seconds are
processor seconds for learning and answering.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adapting import drawn, peers
from heads import TEXTS, opened
from sklearn.linear_model import LogisticRegression

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.models.predict import Running, predict_examples
from fewtune.sides.settings import OwnSettings
from fewtune.statistics import t_interval

SYSTEMS = ("saved", "SetFit", "LogisticRegression", "LogisticRegressionCV")
WEIGHTS = "weights/all-minilm-l6-v2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(TEXTS))
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    done = {(x["set"], x["shots"], x["seed"]) for x in map(json.loads, given.out.read_text().splitlines())} if given.out.exists() else set()
    with given.out.open("a") as out:
        for seed in range(given.draws):
            for name in given.sets:
                if (name, given.shots, seed) in done or time.process_time() > 60 * given.minutes:
                    continue
                out.write(
                    json.dumps({"set": name, "shots": given.shots, "seed": seed, **measured(given.kit, name, given.shots, seed)}) + "\n"
                )
                out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def measured(kit: Path, name: str, shots: int, seed: int) -> dict[str, Any]:
    """Accuracies of one draw, and the processor seconds of each system."""
    examples, backbone = opened(kit, name)
    target, rest = drawn(examples, "test", shots, seed)
    found: dict[str, Any] = {"ways": len(np.unique(target.labels))}
    for system, run in (
        ("saved", lambda: adapted(target, rest, backbone, seed)),
        ("SetFit", lambda: set_fit(target, rest, kit / WEIGHTS, seed)),
    ):
        found[system], found[f"{system} s"] = timed(run)
    found |= peers(target, rest, backbone, None)
    return found


def timed(run: Callable[[], float]) -> tuple[float, float]:
    """What it returns, and the processor seconds that it took."""
    began = time.process_time()
    found = run()
    return found, round(time.process_time() - began, 1)


def names_of(examples: Examples) -> list[str]:
    return [examples.class_names[c] for c in examples.labels]


def adapted(target: Examples, rest: Examples, backbone: Backbone, seed: int) -> float:
    """Accuracy of the model that `adapt` saves."""
    settings = AdaptSettings(minutes=math.inf, seed=seed, own=OwnSettings(repeats=1))
    outcome = adapt_examples(target, backbone, settings=settings)
    answers = predict_examples(outcome.bundle, rest, threshold=0.0, running=Running(backbone=outcome.backbone))
    return float(np.mean([answer.label == truth for answer, truth in zip(answers, names_of(rest), strict=True)]))


def set_fit(target: Examples, rest: Examples, weights: Path, seed: int) -> float:
    """Accuracy of SetFit by its default recipe."""
    try:
        from datasets import Dataset
        from sentence_transformers import SentenceTransformer
        from setfit import SetFitModel, Trainer, TrainingArguments
    except ImportError as problem:
        raise SystemExit(f"SetFit is missing ({problem}): pip install 'fewtune[peers]'") from None
    texts, questions = ([examples.items.fetch(i) for i in range(len(examples))] for examples in (target, rest))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        body = SentenceTransformer(str(weights), model_kwargs={"dtype": torch.float32}, device="cpu")  # the file holds float16: slow here
        model = SetFitModel(model_body=body, model_head=LogisticRegression())
        trainer = Trainer(
            model=model,
            args=TrainingArguments(output_dir=folder, seed=seed, report_to="none", save_strategy="no", show_progress_bar=False),
            train_dataset=Dataset.from_dict({"text": texts, "label": names_of(target)}),
        )
        trainer.train()
        answers = model.predict(questions)
    return float(np.mean([str(answer) == truth for answer, truth in zip(answers, names_of(rest), strict=True)]))


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A line a set, then the means over sets: accuracies, differences to what is saved with intervals over draws, seconds."""
    out = ["| set | draws | " + " | ".join(SYSTEMS) + " | seconds of adapt | of SetFit |", "|---" * (len(SYSTEMS) + 4) + "|"]
    for name in dict.fromkeys(x["set"] for x in lines):
        mine = [x for x in lines if x["set"] == name]
        means = " | ".join(f"{100 * np.mean([x[s] for x in mine]):.1f}" for s in SYSTEMS)
        ours, theirs = (np.mean([x[f"{s} s"] for x in mine]) for s in SYSTEMS[:2])
        out.append(f"| {name} | {len(mine)} | {means} | {ours:.0f} | {theirs:.0f} |")
    for other in SYSTEMS[1:]:
        gap = t_interval(np.array([100 * (x["saved"] - x[other]) for x in lines]))
        out.append(f"saved - {other}: {gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f}) over {len(lines)} draws")
    return "\n".join(out)


if __name__ == "__main__":
    main()
