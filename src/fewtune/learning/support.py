"""An episode's support as a collection of one task, so that the samplers of source phases also work inside `Adapt`."""

from __future__ import annotations

import numpy as np
import torch

from fewtune.errors import InputError
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Outputs, Tasks


def support_tasks(episode: Episodes) -> Tasks:
    """The support rows of one episode [1, ...] as a task; slot k is the class at place k, so drawn labels keep their places.

    A place of padding is a slot without rows of class -1, so that episodes drawn from the task are as wide as the episode.

    A support of float or multi-hot labels is a task of one slot that carries them as targets; that of a label column keeps its kind.
    """
    if len(episode) != 1:
        raise InputError(f"expected one episode, found {len(episode)}.")
    rows, labels = episode.support[0].cpu(), episode.support_label[0].cpu()
    real = rows >= 0
    rows, labels = rows[real], labels[real]
    if labels.ndim == 2:
        one, none = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        outputs = None
        if episode.kind is not None:
            ids = episode.classes[0][episode.classes[0] >= 0].cpu()
            outputs = Outputs(one * int(episode.kind), one * int(ids[0]), one * len(ids))
        bounds = np.array([0, 1])
        return Tasks(rows.numpy(), none, one * len(rows), none, none, bounds, ("support",), labels.numpy(), outputs=outputs)
    order = torch.argsort(labels, stable=True)
    ways = episode.ways
    count = torch.bincount(labels, minlength=ways).numpy()
    start = np.cumsum([0, *count[:-1]])
    classes = episode.classes[0].cpu().numpy()
    return Tasks(rows[order].numpy(), start, count, classes, np.arange(ways), np.array([0, ways]), ("support",))
