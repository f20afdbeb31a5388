"""What the head's weight decay and rate do upstream: upstream and downstream accuracy, margins and norms.

Reference: Abnar, Dehghani, Neyshabur, Sedghi, "Exploring the limits of large scale pre-training", ICLR 2022, section 4 (a larger decay or
smaller rate of the head pushes what is learned down into the layers below: upstream accuracy falls, downstream accuracy may rise).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.statistics.intervals import Interval, wilson_interval
from fewtune.studies.starts.finetuning import HEAD, Finetuning, Flags, Seen, Weights, finetuned
from fewtune.transfer import RankTrend, depth_probe, group_margins, layer_norms, margins, rank_trend

Knob = Literal["head_decay", "head_rate"]
MARGIN_ROWS = 64  # rows whose margins at the groups are taken


@final
@dataclass(frozen=True, eq=False)
class HeadRun:
    """One value of the knob. `upstream`: accuracy on upstream test rows by the head. `downstream`: of a new head on the features, by the
    name of the target. `head_margin`: the median over upstream test rows of the distance to the nearest boundary of the head, in features;
    `layer_margins`: the same at each group, over the size of its output. `norms`: of the weights by group; `head_norm`: of the head's.
    """

    value: float
    upstream: Interval
    downstream: Mapping[str, Interval]
    head_margin: float
    layer_margins: Mapping[str, float]
    norms: Mapping[str, float]
    head_norm: float


def head_study(
    backbone: Backbone,
    train: Examples,
    test: Examples,
    targets: Mapping[str, tuple[Examples, Examples]],
    settings: Finetuning,
    knob: Knob,
    values: Sequence[float],
    *,
    seed: int = 0,
) -> list[HeadRun]:
    """Train the backbone upstream with each value of the head's weight decay or rate, and look at what it learned.

    `train`, `test`: upstream rows of the same classes. `targets`: by name, (a few rows, rows to judge by) of another task. Everything but
    the knob is that of `settings`. Raises InputError for fewer than two values.
    """
    if len(values) < 2 or knob not in ("head_decay", "head_rate"):
        raise InputError(f"expected two or more values of head_decay or head_rate, found {len(values)} of {knob}.")
    found = []
    for value in values:
        how = replace(settings, watch=settings.steps, **{knob: value})  # type: ignore[arg-type]
        run = finetuned(Seen(train, backbone), asked := Seen(test, backbone), how, key(seed, "heads"))
        found.append(_looked_at(value, run.weights, backbone, asked, run.right[-1], targets))
    return found


def trends(runs: Sequence[HeadRun]) -> dict[str, RankTrend]:
    """How what is measured goes with the knob, over the runs: "upstream", "downstream NAME", "head_margin", "head_norm", "margin at
    GROUP"."""
    at = [run.value for run in runs]
    measured = {"upstream": [run.upstream.mean for run in runs]}
    measured |= {f"downstream {name}": [run.downstream[name].mean for run in runs] for name in runs[0].downstream}
    measured |= {part: [getattr(run, part) for run in runs] for part in ("head_margin", "head_norm")}
    measured |= {f"margin at {title}": [run.layer_margins[title] for run in runs] for title in runs[0].layer_margins}
    return {name: rank_trend(at, seen) for name, seen in measured.items()}


def _looked_at(
    value: float, weights: Weights, backbone: Backbone, asked: Seen, right: Flags, targets: Mapping[str, tuple[Examples, Examples]]
) -> HeadRun:
    own = {n: t for n, t in weights.items() if not n.startswith(HEAD)}
    head, labels = weights[f"{HEAD}weight"], torch.from_numpy(asked.labels).to(weights[f"{HEAD}weight"].device)

    def features(examples: Examples) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([backbone.forward(own, batch) for batch in Seen(examples, backbone).batches()])

    seen = features(asked.examples)
    at_head = margins(seen @ head.T + weights[f"{HEAD}bias"], labels, head)
    some = np.arange(min(MARGIN_ROWS, len(labels)))
    by_group = group_margins(backbone, own, (head, weights[f"{HEAD}bias"]), asked.inputs(some), labels[: len(some)])
    downstream = {}
    for name, (few, test) in targets.items():
        probe = depth_probe({"features": (features(few), features(test))}, few.labels, test.labels)
        downstream[name] = probe["features"].accuracy
    return HeadRun(
        value=value,
        upstream=wilson_interval(int(right.sum()), len(right)),
        downstream=downstream,
        head_margin=float(at_head.median()),
        layer_margins={title: float(values.median()) for title, values in by_group.items()},
        norms=layer_norms(own, backbone.groups),
        head_norm=float(head.double().norm()),
    )
