"""How good is `adapt` on few labelled texts beside SetFit and scikit-learn, and what does it cost?

    OMP_NUM_THREADS=1 python benchmarks/peers.py KIT --out peers.jsonl [--sets trec6 cr] [--shots 8] [--draws 3] [--minutes 60]

The draws are those of benchmarks/adapting.py: `shots` labelled texts of each class (at most 10 classes), up to 40 other texts of each
class to be measured on. All start from the same all-MiniLM-L6-v2 in float32, on one core:

    saved        `fewtune.adapt` with one repeat of the folds and no limit of time (a busy machine must not decide what is tried)
    contrastive  `contrastive(on='support')` as shipped, finetuned once on all labelled texts: nothing is compared or chosen
    SetFit       its default recipe: one epoch of pairs, then logistic regression (pip install 'fewtune[peers]')
    LogisticRegression, LogisticRegressionCV    scikit-learn on the frozen features

--systems leaves some of the first three out. One JSON line a draw, seed by seed; it stops before a draw that would begin after so many
`--minutes` of processor time. Seconds are processor seconds for learning and answering.
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
from fewtune.data.row_space import RowSpace
from fewtune.learners.target import usable_target
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt
from fewtune.models.fitting import fit_head
from fewtune.models.predict import Running, predict_examples
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.route import side_of
from fewtune.sides.settings import OwnSettings
from fewtune.statistics import t_interval

OWN, BASES = "contrastive", ("LogisticRegression", "LogisticRegressionCV")
SYSTEMS = ("saved", OWN, "SetFit")  # with processor seconds
WEIGHTS = "weights/all-minilm-l6-v2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(TEXTS))
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
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
                line = measured(given.kit, name, given.shots, seed, given.systems)
                out.write(json.dumps({"set": name, "shots": given.shots, "seed": seed, **line}) + "\n")
                out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def measured(kit: Path, name: str, shots: int, seed: int, systems: Sequence[str]) -> dict[str, Any]:
    """Accuracies of one draw, and the processor seconds of each system."""
    examples, backbone = opened(kit, name)
    target, rest = drawn(examples, "test", shots, seed)
    found: dict[str, Any] = {"ways": len(np.unique(target.labels))}
    runs = {
        "saved": lambda: adapted(target, rest, backbone, seed),
        OWN: lambda: contrastive(target, rest, backbone, seed),
        "SetFit": lambda: set_fit(target, rest, kit / WEIGHTS, seed),
    }
    for system in systems:
        found[system], found[f"{system} s"] = timed(runs[system])
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


def contrastive(target: Examples, rest: Examples, backbone: Backbone, seed: int) -> float:
    """Accuracy of the recipe alone, with its own head."""
    method = own_method("contrastive(on='support')")
    known = usable_target(target, backbone, cache=None, skip_bad=False, quiet=True)
    tuner = OwnTuner(known, RowSpace([known.examples], remember=1 << 30), backbone, method, seed)
    side = tuner.made(known.support).side
    labels, ways = known.labels[known.support], len(known.class_names)
    assert isinstance(method.learner, Adapt)
    head = method.learner.then
    state, parameters = fit_head(Method(learner=head), side.features, known.support, labels, ways, None)
    features = side_of(side.backbone, RowSpace([rest]), np.arange(len(rest))).features
    answers = head.score(state, features[None], parameters)[0].argmax(-1)
    return float(np.mean([known.class_names[a] == truth for a, truth in zip(answers.tolist(), names_of(rest), strict=True)]))


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
    """A line a set, then the means over draws: accuracies, differences with intervals over draws and over sets, seconds."""
    timed, sets = [s for s in SYSTEMS if s in lines[0]], list(dict.fromkeys(x["set"] for x in lines))
    shown = [*timed, *BASES]
    out = ["| set | draws | " + " | ".join([*shown, *(f"{s}, s" for s in timed)]) + " |", "|---" * (len(shown) + len(timed) + 2) + "|"]
    for name in sets:
        mine = [x for x in lines if x["set"] == name]
        cells = [f"{100 * np.mean([x[s] for x in mine]):.1f}" for s in shown]
        cells += [f"{np.mean([x[f'{s} s'] for x in mine]):.0f}" for s in timed]
        out.append(f"| {name} | {len(mine)} | " + " | ".join(cells) + " |")
    for ours, theirs in ((a, b) for i, a in enumerate(timed) for b in shown[i + 1 :]):
        gaps = {name: [100 * (x[ours] - x[theirs]) for x in lines if x["set"] == name] for name in sets}
        draws, by_set = t_interval(np.concatenate(list(gaps.values()))), t_interval(np.array([np.mean(gaps[name]) for name in sets]))
        out.append(
            f"{ours} - {theirs}: {draws.mean:+.1f} ({draws.low:+.1f} to {draws.high:+.1f}) over {len(lines)} draws; "
            f"{by_set.mean:+.1f} ({by_set.low:+.1f} to {by_set.high:+.1f}) over {len(sets)} sets"
        )
    return "\n".join(out)


if __name__ == "__main__":
    main()
