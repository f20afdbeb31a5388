"""How two towers are aligned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.errors import InputError, unknown
from fewtune.parts.heads.prompts import check_prompts

AlignLoss: TypeAlias = Literal["softmax", "sigmoid"]
Moving: TypeAlias = Literal["locked", "lora", "all"]


@final
@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """What `align` is told beside data and towers.

    `most`: at most so many rows of each class, and of all rows without a class together; 0: all. `loss`: "softmax" (InfoNCE both ways, as
    CLIP) or "sigmoid" (as SigLIP). `towers`: "locked" trains the projections alone, on features that are read once; "lora" then trains
    low-rank changes of both towers, "all" all of their weights, with the projections. `steps`: updates of the projections at most; fewer
    where texts that were held out say so (0: the closed form alone). `tower_steps`: updates of "lora" and "all". `batch`: rows of an
    update of the projections, `tower_batch` of one of the towers. `lr`: of the projections, relative to the size of their weights;
    `tower_lr` of the towers. `templates`: sentences with one {} for class names, where rows have no captions. `skip_bad`: leave out rows
    that cannot be read. `seed`: of everything that is drawn. Raises InputError for values out of range.
    """

    most: int = 0
    loss: AlignLoss = "softmax"
    towers: Moving = "locked"
    steps: int = 100
    tower_steps: int = 200
    batch: int = 512
    tower_batch: int = 64
    lr: float = 0.01
    tower_lr: float = 1e-5
    templates: tuple[str, ...] = PHOTO_TEMPLATES
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (("loss", self.loss, get_args(AlignLoss)), ("towers", self.towers, get_args(Moving))):
            if value not in known:
                raise unknown(name, value, known)
        if min(self.most, self.steps, self.tower_steps) < 0 or min(self.batch, self.tower_batch) < 2:
            found = f"{self.most}, {self.steps}, {self.tower_steps}, {self.batch} and {self.tower_batch}"
            raise InputError(f"expected most, steps and tower_steps of at least 0, batch and tower_batch of at least 2, found {found}.")
        if not all(0 < lr < math.inf for lr in (self.lr, self.tower_lr)):
            raise InputError(f"expected lr and tower_lr above 0, found {self.lr:g} and {self.tower_lr:g}.")
        object.__setattr__(self, "templates", check_prompts(self.templates))
