"""How `adapt` is asked to work: everything but the data and the backbone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from fewtune.errors import InputError
from fewtune.sides.compared import Rule
from fewtune.sides.settings import Finetune, OwnSettings, check_words
from fewtune.sources.settings import SourceSettings


@final
@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """How a model is made.

    `finetune`: what may move the backbone. "auto": your own labels, and other data where it is given, each as the time allows; "own" or
    "sources": that alone; "all": every method there is for own labels, one of them in settings that are chosen for the target, the greedy
    mean of all sides, and ridge on the features of two; "never": nothing. `keep`: a finetuned side is kept where it is "likely" best on
    examples that it never saw, or only where that is "shown" at 95%. `own`, `sources`: how. `minutes`: for everything after the data were
    read. `prompts`: templates of the learners that read class names, such as "a photo of a {}"; by default those of the label column, or
    common ones. `threshold` in [0, 1]: an answer with a lower probability abstains; None: below which held-out answers were more often
    wrong than right. `folds` (at least 2): of the splits that choose. `skip_bad`: leave out examples that cannot be read instead of
    refusing them. `seed`: of the splits, the candidate tasks and the training. Raises InputError for values out of range.
    """

    finetune: Finetune = "auto"
    keep: Rule = "likely"
    own: OwnSettings = field(default_factory=OwnSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)
    minutes: float = 5.0
    prompts: tuple[str, ...] = ()
    threshold: float | None = None
    folds: int = 5
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"expected a threshold between 0 and 1, found {self.threshold:g}.")
        check_words(self.finetune, self.keep)
        if not self.minutes > 0:
            raise InputError(f"expected a budget above 0 minutes, found {self.minutes:g}.")
        if self.folds < 2:
            raise InputError(f"expected at least 2 folds, found {self.folds}.")
