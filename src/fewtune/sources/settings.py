"""SourceSettings: how other labelled data is used."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from fewtune.errors import InputError
from fewtune.sources.advice import RATES, at_rates
from fewtune.sources.source_rows import MOST_ROWS
from fewtune.tasks.selection import ConsistencyDiversity, Traced, seeded

CANDIDATES = 100  # tasks a source, as Xu et al. take
SELECTION = ConsistencyDiversity(mode="skip")
TRIES = (-0.05, -0.02, 0.0, 0.02, 0.05)  # values of p


@final
@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """How other labelled data is used.

    `selection`: which candidate tasks are finetuned on, by default in `skip` mode (on the benchmark kit `stop` ended after four tasks or
    fewer in 11 runs of 20, little to finetune on); with `tries`, the p of these whose tasks do best on validation tasks. `recipe`: the
    text of a method that learns from a source; by default multitask finetuning by episodes like the target's. `visits`: rows that each
    run may look at instead of what the time allows, so that the outcome does not depend on the machine. `most`: rows of a class.
    """

    selection: Traced = SELECTION
    tries: tuple[float, ...] = ()
    recipe: str | None = None
    visits: int = 0
    rates: tuple[float, ...] = RATES
    candidates: int = CANDIDATES
    most: int = MOST_ROWS

    def __post_init__(self) -> None:
        if self.tries and not (isinstance(self.selection, ConsistencyDiversity) and self.selection.diversity):
            raise InputError("values of p are tried for a selection that looks at coverage: leave `tries` out.")
        if self.visits < 0 or self.candidates < 1:
            raise InputError(f"expected visits >= 0 and candidates >= 1, found {self.visits} and {self.candidates}.")
        if self.most < 2:
            raise InputError(f"expected at least 2 rows a class (one to show, one to ask), found {self.most}.")
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise InputError(f"expected learning rates above 0, found {', '.join(f'{rate:g}' for rate in self.rates) or 'none'}.")
        if self.recipe is not None:  # now rather than after the sources were read
            at_rates(self.recipe, self.rates)

    def seeded(self, seed: int) -> SourceSettings:
        """The same settings, with this seed for a selection that draws at random and has none of its own."""
        return replace(self, selection=seeded(self.selection, seed))
