"""Ways to answer the label columns: a head on the features for each task, or a network that tasks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.joint.rows import JointRows, JointTask
from fewtune.learning.method import Method
from fewtune.models.joint.model import Fitted, Floats, unit
from fewtune.parts.heads import Logistic, MultiLogistic, Ridge
from fewtune.parts.heads.head import Head
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import KINDS

HEADS: Mapping[str, Mapping[str, Head]] = {
    "class": {"logistic": Logistic(C="loo", normalize=False), "ridge": Ridge(penalty="loo", normalize=False, intercept=True)},
    "float": {"ridge": Ridge(penalty="loo", normalize=False, intercept=True)},
    "multi": {"logistic": MultiLogistic(C="loo", normalize=False)},
}


def fit_head(rows: JointRows, task: JointTask, head: Head, train: Integers) -> Fitted:
    """A head on the features, fitted on the rows of `train` that have a label of the task."""
    mine = np.intersect1d(train, task.train)
    features = unit(rows.features[torch.from_numpy(mine)])[None]
    parameters = head.declare(features.shape[-1])
    with torch.inference_mode():
        state = head.fit(features, support_of(task, mine), None, parameters)
    return Fitted(Method(learner=head), state, parameters)


def support_of(task: JointTask, rows: Integers) -> Episodes:
    """Labelled rows as the support of one episode; classes are integers, other labels floats."""
    ids = torch.arange(task.outputs)[None]
    support, none = torch.from_numpy(rows)[None], torch.zeros(1, 0, dtype=torch.int64)
    if task.column.kind == "class":
        label, kind = torch.from_numpy(task.column.values[rows])[None], None
    else:
        label, kind = torch.from_numpy(task.targets(rows))[None], torch.tensor([KINDS.index(task.column.kind)])
    return Episodes(support, label, none, label[:, :0], ids, torch.zeros(1, dtype=torch.int64), kind)


def outputs_for(rows: JointRows, fitted: Sequence[Fitted], asked: Integers) -> tuple[Floats, ...]:
    """The outputs of every task for some rows, [N, outputs] each; NaN for all other rows."""
    features = rows.features[torch.from_numpy(asked)]
    found = []
    for task, one in zip(rows.tasks, fitted, strict=True):
        outputs = np.full((len(rows), task.outputs), np.nan)
        outputs[asked] = one.outputs(features)
        found.append(outputs)
    return tuple(found)
