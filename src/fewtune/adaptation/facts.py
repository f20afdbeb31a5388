"""What a bundle keeps beside the model: its facts, the backbone's record, the examples it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fewtune.adaptation.finetuned import Finetuned
from fewtune.adaptation.kept import Kept
from fewtune.backbones.backbone import Backbone
from fewtune.data.reading.inputs import taught_size
from fewtune.learners.target import Target
from fewtune.models.held_answers import held_answers
from fewtune.models.support import Support, names_of, texts_of
from fewtune.statistics import Interval


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high, "level": interval.level}


def facts_of(kept: Kept, target: Target, measured: Interval | None, seed: int, finetuned: Finetuned) -> dict[str, Any]:
    """What the bundle's JSON file says of how the model was made."""
    from fewtune.version import __version__

    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    choice = kept.choice
    facts: dict[str, Any] = {
        "fewtune": __version__,
        "torch": torch.__version__,
        "data": target.examples.name,
        "data_digest": target.digest,
        "rows": len(target.support),
        "shots": {name: int(n) for name, n in zip(target.class_names, target.shots(), strict=True)},
        "learner": choice.name,
        "labels_moved": kept.labels_moved,
        "expected_accuracy": _interval(choice.expected),
        "learning_slope": {"value": choice.slope.value, "spread": choice.slope.spread},
        "measured_accuracy": _interval(measured),
        "recall": {name: known(r) for name, r in zip(target.class_names, choice.recall, strict=True)},
        "held_out_accuracy": {c.name: known(c.accuracy) for c in choice.candidates},
        "skipped": dict(target.left_out),
        "not_measured": dict(target.unmeasured),
        "seed": seed,
    }
    if (size := taught_size(target.examples)) is not None:
        facts["picture_size"] = list(size)
    if finetuned.compared is not None:
        facts["finetuning"] = finetuned.facts()
    if finetuned.sources is not None:
        facts["sources"] = finetuned.sources.facts()
    return facts


def support_of(target: Target, kept: Kept, backbone: Backbone, judged: float | None) -> Support:
    """The labelled examples that a model is learned from, with their features by the backbone that is kept.

    `backbone`: as it came. `judged`: the temperature of the held-out answers of the side that is kept, None where it is that of the choice.
    """
    place, rows = torch.from_numpy(target.support), target.support.tolist()
    labels, digests, answers = target.labels[target.support], target.examples.row_digests, kept.choice.answers
    temperature = kept.choice.temperature if judged is None else judged
    return Support(
        features=kept.side.features[place].detach().float().cpu(),
        labels=labels,
        digests=tuple(digests[row] for row in rows),
        names=names_of(target.examples, rows),
        texts=texts_of(target.examples, rows),
        held=None if answers is None else held_answers(answers, labels, temperature),
        apart=target.features[place].detach().float().cpu() if kept.labels_moved and backbone.origin is None else None,
    )
