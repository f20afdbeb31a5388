"""Training: what a study says about source phases; and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.errors import InputError
from fewtune.keys import check_seeds

Sweep: TypeAlias = tuple[tuple[str, tuple[float, ...]], ...]


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """How methods that learn are treated, all alike.

    `seeds`: training runs. `visits`: rows that source phases may look at (0: each method's own steps). `sweep`: options and the values that
    are tried for each, chosen on `validation` episodes a setting by the first seed. `adapted`: test episodes for learners that move
    weights on each. `candidates`: tasks a source that methods which choose their tasks choose from. `watch`: steps between looks at the
    validation episodes (0: none). `within` "group": a source task is a group of a data set, not all of it.
    """

    seeds: tuple[int, ...] = (0,)
    visits: int = 0
    sweep: Sweep = ()
    adapted: int = 100
    validation: int = 100
    watch: int = 0
    candidates: int = 100
    within: Literal["all", "group"] = "all"

    def __post_init__(self) -> None:
        check_seeds(self.seeds, "training seeds")
        if min(self.seeds) < 0:  # UNTRAINED is -1
            raise InputError(f"expected training seeds of 0 or more, found {min(self.seeds)}.")
        if self.visits < 0 or self.adapted < 1 or self.validation < 1 or self.watch < 0 or self.candidates < 1:
            raise InputError(
                f"expected visits >= 0, adapted >= 1, validation >= 1, watch >= 0 and candidates >= 1, "
                f"found {self.visits}, {self.adapted}, {self.validation}, {self.watch} and {self.candidates}."
            )


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one training run of a method took. `visits`: rows looked at. `memory`: bytes at the peak (0: unknown)."""

    method: str
    seed: int
    chosen: str
    visits: int
    steps: int
    seconds: float
    memory: int
