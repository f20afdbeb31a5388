"""A backbone that is finetuned on label columns together with the network that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.joint.rows import JointRows
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.models.finetuned_weights import Moved, what_moved
from fewtune.models.joint.scaling import Floats, Scaling
from fewtune.parts.plan import resolve
from fewtune.parts.rates import Cosine
from fewtune.recipes.sharing import shared_bottom

FINETUNED = "finetuned"  # the way that is tried beside the networks on frozen features
CHUNK = 64  # rows that are embedded at once


def usual_finetuning() -> Method:
    """What is tried where nothing else is asked for: the last three groups of the backbone, gently, below a network of its own rate."""
    return shared_bottom(steps=150, lr=1e-3, moves="all", last=3, backbone_lr=Cosine(lr=1e-4))


@final
@dataclass(frozen=True, eq=False)
class Beside:
    """Embeddings of rows as the features of a model: on one scale, with the rows' `numbers` [N, M] beside them."""

    scaling: Scaling
    numbers: Floats

    @property
    def width(self) -> int:
        return len(self.scaling.mean)

    def __call__(self, features: Tensor, rows: Tensor) -> Tensor:
        """Embeddings [*, W] of rows [*] as features [*, width]; rows of -1 are zero."""
        flat = rows.reshape(-1).cpu()
        made = self.scaling(features.reshape(len(flat), -1), self.numbers[flat.clamp_min(0).numpy()])
        return torch.where((rows >= 0)[..., None], made.reshape(*rows.shape, -1), 0.0)


@final
@dataclass(frozen=True, eq=False)
class Below:
    """A backbone as training left it: `ground`, where it was trained, and its `weights`."""

    ground: Ground
    weights: Mapping[str, Tensor]

    def features(self, rows: Tensor) -> Tensor:
        """Features [N, D] of rows [N], on the CPU."""
        with torch.inference_mode():
            return torch.cat([self.ground.embed(self.weights, part[None])[0].float().cpu() for part in torch.split(rows, CHUNK)])

    def moved(self) -> Moved | None:
        """What training changed in the backbone."""
        return what_moved(self.ground.backbone, self.weights)


def can_move(rows: JointRows) -> bool:
    """Whether there is a backbone with weights."""
    return rows.backbone is not None and bool(rows.backbone.groups)


def base_ground(rows: JointRows, method: Method) -> Ground:
    """Where the backbone of these rows is trained; what no step changes is computed once a row, for all runs on it.

    Raises InputError where there is no backbone to train.
    """
    if rows.backbone is None or not can_move(rows):
        raise InputError('moves="all" trains the backbone, but this table has none with weights: take moves="network".')
    ground = Ground(rows.backbone, RowSpace([rows.table.examples]))
    weights = ground.start()
    return ground.holding(weights, moving_below(ground, weights, method))


def moving_below(ground: Ground, weights: Mapping[str, Tensor], method: Method) -> set[str]:
    """The backbone's weights that a method trains."""
    plans = (resolve(phase.plan, ground.movable(weights), ground.backbone.groups) for phase in phases_of(method.phases))
    return {name for plan in plans for name in plan.moving if name in ground.names}


def on_rows(ground: Ground, rows: JointRows) -> Ground:
    """The same ground for features on the scale of `rows`."""
    return replace(ground, finish=Beside(rows.scaling, rows.table.numbers))
