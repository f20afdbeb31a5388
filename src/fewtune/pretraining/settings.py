"""How a backbone is pretrained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.data.views.views import IDENTITY, VIEWS, MaskWords, View, simclr
from fewtune.errors import InputError, unknown
from fewtune.parts.heads.prompts import check_prompts
from fewtune.spec import parse

ObjectiveName: TypeAlias = Literal["contrastive", "simclr", "supervised", "mlm"]
OBJECTIVES: tuple[str, ...] = get_args(ObjectiveName)
LOSSES = {
    "contrastive": ("softmax", "sigmoid"),
    "simclr": ("nt_xent", "one_negative", "population"),
    "supervised": ("cross_entropy",),
    "mlm": ("masked_words",),
}
"""What each objective may minimise; the first is the usual one."""


@final
@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What `pretrain` is told beside data and backbone.

    `objective`: "contrastive" pairs rows with their captions (or class names); "simclr" pairs two views of each photo; "supervised" learns
    the classes; "mlm" fills in masked words of texts. `loss`: one of the objective's ("" is the usual one). `visits`: rows to look at in
    training (each view of a photo counts), or `minutes` of it (one of the two). `batch`: rows that are compared with one another, or
    averaged over. `groups`: batches of an update; with torchrun they are shared out, so give a multiple of the processes. `lr`: the highest
    learning rate (0: 1e-3 from random weights, 1e-4 from others). `warmup`: the share of the steps in which it rises. `temperature`: of
    simclr, which divides cosines. `view`: how photos are seen in training, a view or its text (None: as they are, and `simclr()` for
    simclr). `share`: of the words of a text that mlm asks for. `templates`: sentences with one {} for class names. `checkpoints`: how many
    are kept on the way, evenly spaced. `probe`: measure a probe at the start, at each of them and at the end. `skip_bad`: leave out rows
    that cannot be read. `memory`: GiB of prepared images kept. `seed`: of everything that is drawn. Raises InputError for values out of
    range.
    """

    objective: ObjectiveName = "contrastive"
    loss: str = ""
    visits: int = 0
    minutes: float = 0.0
    batch: int = 128
    groups: int = 1
    lr: float = 0.0
    warmup: float = 0.05
    temperature: float = 0.5
    view: View | str | None = None
    share: float = 0.15
    templates: tuple[str, ...] = PHOTO_TEMPLATES
    checkpoints: int = 4
    probe: bool = True
    skip_bad: bool = False
    memory: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        if self.loss and self.loss not in LOSSES[self.objective]:
            raise unknown(f"loss of {self.objective}", self.loss, LOSSES[self.objective])
        if self.visits < 0 or not 0 <= self.minutes < math.inf or bool(self.visits) == bool(self.minutes):
            found = f"{self.visits} visits and {self.minutes:g} minutes"
            raise InputError(f"the budget is visits (rows to look at) or minutes, one of the two, above 0; found {found}.")
        if self.batch < 2 or self.groups < 1 or self.checkpoints < 0:
            raise InputError(
                f"expected batch of at least 2, groups of at least 1 and checkpoints of at least 0, found {self.batch}, {self.groups} and "
                f"{self.checkpoints}."
            )
        if not 0 <= self.lr < math.inf or not 0 <= self.warmup < 1:
            raise InputError(f"expected lr of at least 0 and warmup of at least 0 and below 1, found {self.lr:g} and {self.warmup:g}.")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"the temperature divides cosines: expected a number above 0, found {self.temperature:g}.")
        object.__setattr__(self, "templates", check_prompts(self.templates))
        object.__setattr__(self, "view", self._view())

    def _view(self) -> View:
        """The view as a value."""
        if self.view is None:
            usual: dict[str, View] = {"simclr": simclr(), "mlm": MaskWords(share=self.share)}
            return usual.get(self.objective, IDENTITY)
        if self.objective == "mlm":
            raise InputError("mlm masks words: leave out the view, and set their share by share=0.15.")
        found = parse(self.view, {one.__name__: one for one in (*VIEWS, simclr)}) if isinstance(self.view, str) else self.view
        if not isinstance(found, VIEWS):
            raise InputError(f"{self.view!r} is no view: expected one of {', '.join(v.__name__ for v in VIEWS)} or simclr.")
        return found

    @property
    def seen(self) -> View:
        """How photos are seen in training."""
        assert isinstance(self.view, (*VIEWS, MaskWords))
        return self.view

    @property
    def minimised(self) -> str:
        """The loss by its name."""
        return self.loss or LOSSES[self.objective][0]
