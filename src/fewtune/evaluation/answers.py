"""How well weights answer episodes: by a head on features computed once, or by adapting on each episode."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.fast import taken
from fewtune.keys import Key, key
from fewtune.learning.declared import for_testing, inner_moving
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.judged import can_judge, judge_table
from fewtune.learning.on_features import answer_table
from fewtune.learning.phase import Adapt, Learner
from fewtune.parts.heads.head import Head
from fewtune.progress import Progress
from fewtune.statistics.metrics import Metric
from fewtune.tasks.episodes import Episodes

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """One number an episode: `accuracy` in [0, 1], `loss` in nats, and the seconds spent on all of them. `right` [E, Q]: whether each
    query was answered correctly; padding was not. `value`: the metric that was asked for (None: kept before there were others).
    """

    accuracy: Floats
    loss: Floats
    seconds: float
    right: np.ndarray[Any, np.dtype[np.bool_]]
    value: Floats | None = None

    @property
    def judged(self) -> Floats:
        """The metric that was asked for, accuracy where none was."""
        return self.accuracy if self.value is None else self.value


def score_table(
    head: Head,
    features: Tensor,
    episodes: Episodes,
    vectors: Tensor | None,
    parameters: Mapping[str, Tensor] | None = None,
    metric: Metric | None = None,
    fast: bool | None = None,
) -> Scores:
    """A head on features [N, D] by row: mean accuracy and loss over each episode's query; padding counts for nothing. `metric`: of classes,
    measured on the query of each episode (by default accuracy). `fast`: as in `Machine`, where kernels can do it."""
    parts = []
    began = time.perf_counter()
    given = None if parameters is None else dict(parameters)
    if metric is None and taken(fast, episodes.query.numel()) and can_judge(head, features, episodes):
        accuracy, loss, right = judge_table(head, features, episodes, vectors, given)
        if bool(loss.isfinite().all()):
            return _scores([(accuracy, loss, right, None)], began)
    with torch.inference_mode():
        for part, logits in answer_table(head, features, episodes, class_vectors=vectors, parameters=given):
            parts.append(_judged(logits, episodes[part], metric))
    return _scores(parts, began)


def score_each(
    ground: Ground,
    learner: Learner,
    weights: Mapping[str, Tensor],
    batches: Sequence[Episodes],
    *,
    at: Key | None = None,
    metric: Metric | None = None,
    quiet: bool = True,
) -> list[Scores]:
    """How well a learner answers some batches of episodes by `weights`, which all batches share.

    A head's features are computed once a row. A learner that adapts does so on each episode anew, from these weights.
    """
    here = at or key(0, "testing")
    held = for_testing(ground, learner, {n: t.detach() for n, t in weights.items()})
    if not isinstance(learner, Adapt):
        return _by_table(ground, learner, held, batches, metric)
    still = ground.holding(held, inner_moving(ground, learner, held))
    found = []
    with Progress(sum(map(len, batches)), "testing", quiet=quiet) as progress:
        for number, episodes in enumerate(batches):
            began, parts = time.perf_counter(), []
            for e in range(len(episodes)):
                one = episodes[e : e + 1]
                with torch.no_grad():
                    parts.append(_judged(respond(still, learner, held, one, here.child(number, e)).logits, one, metric))
                progress.advance(1)
            found.append(_scores(parts, began))
    return found


def _by_table(
    ground: Ground, head: Head, weights: Mapping[str, Tensor], batches: Sequence[Episodes], metric: Metric | None
) -> list[Scores]:
    """Every row that is asked for is embedded once, with the current weights."""
    began = time.perf_counter()
    rows = np.unique(np.concatenate([t.numpy().reshape(-1) for e in batches for t in (e.support, e.query)]))
    rows = rows[rows >= 0]
    with torch.no_grad():
        features = ground.embed(weights, torch.from_numpy(rows)[None])[0]
        vectors = None
        if head.reads_classes:
            vectors = ground.vectors_of(head, weights, ground.space.class_names)
    place = np.full(int(rows[-1]) + 2, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    parameters = ground.read(head, weights)
    spent = (time.perf_counter() - began) / len(batches)
    found = []
    for episodes in batches:
        moved = replace(episodes, support=torch.from_numpy(place[episodes.support]), query=torch.from_numpy(place[episodes.query]))
        scores = score_table(head, features, moved, vectors, parameters, metric, ground.backbone.machine.fast)
        found.append(replace(scores, seconds=scores.seconds + spent))
    return found


def _scores(parts: Sequence[tuple[Tensor, Tensor, Tensor, Tensor | None]], began: float) -> Scores:
    accuracy, loss, right = (torch.cat([part[i] for part in parts]).numpy() for i in range(3))  # type: ignore[misc]
    values = [part[3] for part in parts if part[3] is not None]
    return Scores(accuracy, loss, time.perf_counter() - began, right, torch.cat(values).numpy() if values else None)


def _judged(logits: Tensor, episodes: Episodes, metric: Metric | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """(accuracy, loss) of each episode, float64, whether each query is right, and the metric if one is asked for, on the CPU.

    Ties go to the first class. The largest logit serves both the answer and the loss, log sum exp(z - max) + max - z[label].
    """
    label = episodes.query_label.to(logits.device)
    inside = label >= 0
    count = inside.sum(1).clamp_min(1)
    value = None if metric is None else torch.tensor(_values(metric, logits, label, episodes), dtype=torch.float64)
    best, place = logits.max(-1)
    right = (place == label) & inside
    of_label = logits.gather(-1, label.clamp_min(0)[..., None]).squeeze(-1)
    nats = (logits - best[..., None]).exp_().sum(-1).log_() + (best - of_label)
    if not bool(inside.all()):
        nats = nats.masked_fill(~inside, 0.0)
    return (right.sum(1).double() / count).cpu(), (nats.double().sum(1) / count).cpu(), right.cpu(), value


def _values(metric: Metric, logits: Tensor, label: Tensor, episodes: Episodes) -> list[float]:
    """The metric of each episode's logits [Q, K]; classes and labels of -1 pad."""
    found = []
    for one, true, classes in zip(logits.double().cpu(), label.cpu(), episodes.classes.cpu(), strict=True):
        found.append(metric.of(torch.softmax(one[:, classes >= 0], dim=-1).numpy(), true.numpy()))
    return found
