"""How well weights answer episodes: by a head on features computed once, or by adapting on each episode."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.keys import Key, key
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.learning.declared import for_testing, inner_moving
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.on_features import answer_table
from fewtune.learning.phase import Adapt, Learner
from fewtune.parts.heads.head import Head
from fewtune.progress import Progress
from fewtune.tasks.episodes import Episodes

Floats = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """One number an episode: `accuracy` in [0, 1], `loss` in nats, and the seconds spent on all of them. `right` [E, Q]: whether each
    query was answered correctly; padding was not.
    """

    accuracy: Floats
    loss: Floats
    seconds: float
    right: np.ndarray[Any, np.dtype[np.bool_]]


def score_table(
    head: Head, features: Tensor, episodes: Episodes, vectors: Tensor | None, parameters: Mapping[str, Tensor] | None = None
) -> Scores:
    """A head on features [N, D] by row: mean accuracy and loss over each episode's query; padding counts for nothing."""
    parts = []
    began = time.perf_counter()
    given = None if parameters is None else dict(parameters)
    with torch.inference_mode():
        for part, logits in answer_table(head, features, episodes, class_vectors=vectors, parameters=given):
            parts.append(_judged(logits, episodes[part]))
    return _scores(parts, began)


def score_each(
    ground: Ground,
    learner: Learner,
    weights: Mapping[str, Tensor],
    batches: Sequence[Episodes],
    *,
    at: Key | None = None,
    quiet: bool = True,
) -> list[Scores]:
    """How well a learner answers some batches of episodes by `weights`, which all batches share.

    A head's features are computed once a row. A learner that adapts does so on each episode anew, from these weights.
    """
    here = at or key(0, "testing")
    held = for_testing(ground, learner, {n: t.detach() for n, t in weights.items()})
    if not isinstance(learner, Adapt):
        return _by_table(ground, learner, held, batches)
    still = ground.holding(held, inner_moving(ground, learner, held))
    found = []
    with Progress(sum(map(len, batches)), "testing", quiet=quiet) as progress:
        for number, episodes in enumerate(batches):
            began, parts = time.perf_counter(), []
            for e in range(len(episodes)):
                one = episodes[e : e + 1]
                with torch.no_grad():
                    parts.append(_judged(respond(still, learner, held, one, here.child(number, e)).logits, one))
                progress.advance(1)
            found.append(_scores(parts, began))
    return found


def _by_table(ground: Ground, head: Head, weights: Mapping[str, Tensor], batches: Sequence[Episodes]) -> list[Scores]:
    """Every row that is asked for is embedded once, with the current weights."""
    began = time.perf_counter()
    rows = np.unique(np.concatenate([t.numpy().reshape(-1) for e in batches for t in (e.support, e.query)]))
    rows = rows[rows >= 0]
    with torch.no_grad():
        features = ground.embed(weights, torch.from_numpy(rows)[None])[0]
        vectors = None
        if head.reads_classes:
            vectors = class_vectors(ground.backbone, ground.held(weights), ground.space.class_names, prompts_of(head))
    place = np.full(int(rows[-1]) + 2, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    parameters = ground.read(head, weights)
    spent = (time.perf_counter() - began) / len(batches)
    found = []
    for episodes in batches:
        moved = replace(episodes, support=torch.from_numpy(place[episodes.support]), query=torch.from_numpy(place[episodes.query]))
        scores = score_table(head, features, moved, vectors, parameters)
        found.append(replace(scores, seconds=scores.seconds + spent))
    return found


def _scores(parts: Sequence[tuple[Tensor, Tensor, Tensor]], began: float) -> Scores:
    accuracy, loss, right = (torch.cat(values).numpy() for values in zip(*parts, strict=True))
    return Scores(accuracy, loss, time.perf_counter() - began, right)


def _judged(logits: Tensor, episodes: Episodes) -> tuple[Tensor, Tensor, Tensor]:
    """(accuracy, loss) of each episode, float64, and whether each query is right, on the CPU. Ties go to the first class."""
    label = episodes.query_label.to(logits.device)
    inside = label >= 0
    count = inside.sum(1).clamp_min(1)
    correct = (logits.argmax(-1) == label) & inside
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), label.flatten(), ignore_index=-1, reduction="none")
    return (correct.sum(1).double() / count).cpu(), (nats.view(label.shape).double().sum(1) / count).cpu(), correct.cpu()
