"""A study: methods x protocols x seeds on one pool and backbone, every method on the same episodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.pool import Pool
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import SCHEMA, Result, make_result
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.learning.table import answer_table
from fewtune.spec import digest, text
from fewtune.tasks.episodes import Episodes

Drawn: TypeAlias = dict[tuple[int, int], Episodes]


@final
@dataclass(frozen=True, eq=False)
class Study:
    """What is compared. `methods` by the name they are shown under; `features` [N, D] are the pool's rows through the backbone."""

    pool: Pool
    backbone: Backbone
    features: Tensor
    protocols: tuple[Protocol, ...]
    methods: Mapping[str, Method]

    def text(self) -> str:
        """The full description, one fact a line: what is hashed and kept as `study.txt`."""
        sources = [f"source {s.name} {s.digest()} {digest(str(s.labels.tolist()))}" for s in self.pool.sources]
        names = [f"classes {digest(repr(self.pool.class_names))}"]
        protocols = [f"protocol {text(p)}" for p in self.protocols]
        methods = [f"method {text(m)}" for m in self.methods.values()]
        return "\n".join([f"backbone {self.backbone.name} {self.backbone.digest()}", *sources, *names, *protocols, *methods])

    def draw(self) -> Drawn:
        """The episodes by (protocol number, seed)."""
        return {(i, seed): e for i, p in enumerate(self.protocols) for seed, e in p.draw(self.pool).items()}


def run_study(study: Study) -> tuple[Result, Drawn]:
    """The result, and the episodes by (protocol number, seed)."""
    drawn = study.draw()
    vectors = vectors_by_prompts(study.backbone, study.pool.class_names, study.methods.values())
    tasks = [np.array(p.tasks(study.pool).names, dtype=object) for p in study.protocols]
    identity = digest(study.text())
    columns = []
    for name, method in study.methods.items():
        for (setting, seed), episodes in drawn.items():
            scores = score(method, study.features, episodes, vectors.get(prompts_of(method.learner)))
            protocol = study.protocols[setting]
            constant = {
                "study": identity,
                "method": name,
                "spec": text(method),
                "setting": setting,
                "seed": seed,
                "ways": protocol.ways,
                "shots": protocol.shots,
                "metric": "accuracy",
            }
            columns.append(_columns(constant, tasks[setting], episodes, scores))
    return make_result(columns), drawn


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """One number an episode: `accuracy` in [0, 1], `loss` in nats, and the seconds spent on all of them."""

    accuracy: np.ndarray[Any, np.dtype[np.float64]]
    loss: np.ndarray[Any, np.dtype[np.float64]]
    seconds: float


def score(method: Method, features: Tensor, episodes: Episodes, vectors: Tensor | None) -> Scores:
    """Mean accuracy and loss over each episode's query rows; padding counts for nothing. Ties go to the first class."""
    accuracy, loss = [], []
    began = time.perf_counter()
    with torch.inference_mode():
        for part, logits in answer_table(method.learner, features, episodes, class_vectors=vectors):
            label = episodes.query_label[part].to(logits.device)
            inside = label >= 0
            count = inside.sum(1).clamp_min(1)
            correct = (logits.argmax(-1) == label) & inside
            nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), label.flatten(), ignore_index=-1, reduction="none")
            accuracy.append(correct.sum(1).double() / count)
            loss.append(nats.view(label.shape).double().sum(1) / count)
    seconds = time.perf_counter() - began
    return Scores(torch.cat(accuracy).cpu().numpy(), torch.cat(loss).cpu().numpy(), seconds)


def _columns(constant: Mapping[str, object], task_names: np.ndarray[Any, Any], episodes: Episodes, scores: Scores) -> dict[str, Any]:
    """The columns of SCHEMA for one method on one setting and seed."""
    count = len(episodes)
    columns = {
        "episode": np.arange(count),
        "task": task_names[episodes.task.numpy()],
        "value": scores.accuracy,
        "loss": scores.loss,
        "seconds": [scores.seconds / count] * count,
    }
    return {f.name: columns[f.name] if f.name in columns else [constant[f.name]] * count for f in SCHEMA}
