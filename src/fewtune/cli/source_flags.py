"""Flags of the sources, the other labelled data to finetune on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.data.examples import Examples
    from fewtune.sources.settings import SourceSettings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """Other labelled data, and how it is used.

    Parameters
    ----------
    source: Path
        Other labelled data: a folder of class folders, a table or an .npz file; repeat for more. Its test classes and test rows are never
        touched, rows that the target has too are left out.
    select: str
        Which of its tasks are finetuned on: those that are like the target and cover it (consistency_diversity), one of the two alone
        (no_diversity, no_consistency), as many at random (random), or all.
    mode: str
        What follows on a candidate that is not taken: skip, the next one is looked at; stop, none is.
    gain: str
        By how much a task must raise the coverage to be taken, 0.01 being a hundredth; auto: chosen on validation tasks.
    finetune: str
        The recipe that learns from the chosen tasks, by default multitask with episodes like the target's.
    rates: float
        The learning rates that are tried on held-out classes of the sources.
    budget: str
        minutes=10: for everything after the data were read; visits=6000: the rows that each training run may look at, whatever the time.
    rows: int
        Rows of each class of the other data, at most.
    """

    source: Annotated[list[Path], Parameter(negative=())] = field(default_factory=list)
    select: Literal["consistency_diversity", "no_diversity", "no_consistency", "random", "all"] = "consistency_diversity"
    mode: Literal["skip", "stop"] = "skip"
    gain: str | None = None
    finetune: str | None = None
    rates: Annotated[list[float] | None, Parameter(consume_multiple=True, negative=())] = None
    budget: str = "minutes=10"
    rows: int | None = None

    def read(self) -> list[Examples]:
        """The collections. Raises InputError for flags that mean nothing without one."""
        from fewtune.data.reading.read import read_examples

        return [read_examples(path) for path in self.source]

    def settings(self) -> SourceSettings:
        from dataclasses import replace

        from fewtune.errors import InputError
        from fewtune.sources.settings import TRIES, SourceSettings
        from fewtune.tasks.selection import CHOICES

        minutes, visits = budget_of(self.budget)
        selection = replace(CHOICES[self.select](), mode=self.mode)
        tries: tuple[float, ...] = ()
        if self.gain is not None:
            if not selection.diversity:
                raise InputError(f"--select {self.select} does not look at coverage: leave --gain out.")
            try:
                selection = selection if self.gain == "auto" else replace(selection, p=float(self.gain))
            except ValueError:
                raise InputError(f"--gain {self.gain}: expected a number such as 0.01, or auto.") from None
            tries = TRIES if self.gain == "auto" else ()
        made = SourceSettings(selection=selection, tries=tries, recipe=self.finetune, minutes=minutes, visits=visits)
        if self.rates is not None:
            made = replace(made, rates=tuple(self.rates))
        return made if self.rows is None else replace(made, most=self.rows)


def budget_of(source: str) -> tuple[float, int]:
    """(minutes, visits) of a budget; what is not given is without bounds, or left to the time."""
    from fewtune.errors import InputError

    name, _, value = source.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if name == "minutes" and number > 0:
        return number, 0
    if name == "visits" and number >= 1 and number.is_integer():
        return float("inf"), int(number)
    raise InputError(f"--budget {source}: expected minutes=NUMBER or visits=ROWS, for example minutes=10.")


NO_SOURCE_FLAGS = SourceFlags()
