"""Flags of the sources: other labelled data to finetune on."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.data.examples import Examples
    from fewtune.sources.settings import SourceSettings
    from fewtune.tasks.selection import Traced


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """Other labelled data, and how it is used.

    Parameters
    ----------
    source: Path
        Other labelled data: a folder of class folders, a table or an .npz file. Repeat for more. Its test classes and test examples are
        not used; examples that are also in your data are left out. Where your data has two texts (--input), it has the same two columns.
    select: str
        The tasks of it to finetune on: those that are like yours and together cover it (consistency_diversity), those that cover it
        (no_consistency), the 50 most like it (no_diversity), 50 that your examples pick in turn (round_robin), the 50 whose gradients are
        most like those of your examples (gradients), 50 at random (random), or all.
    mode: str
        After a candidate task that is not taken: skip looks at the next one, stop ends the choice.
    gain: str
        How much a task must raise the coverage to be taken; 0.01 is one percent. auto: chosen on validation tasks.
    rates: float
        The learning rates to try. The best is chosen on held-out classes of the sources.
    rows: int
        At most so many examples of each class of the other data.
    """

    source: Annotated[list[Path], Parameter(negative=())] = field(default_factory=list)
    select: Literal["consistency_diversity", "no_consistency", "no_diversity", "round_robin", "gradients", "random", "all"] = (
        "consistency_diversity"
    )
    mode: Literal["skip", "stop"] = "skip"
    gain: str | None = None
    rates: Annotated[list[float] | None, Parameter(consume_multiple=True, negative=())] = None
    rows: int | None = None

    def read(self, two_texts: tuple[str, ...] = ()) -> list[Examples]:
        """The collections. `two_texts`: the columns of texts that belong together, as the target has them."""
        from fewtune.data.reading.read import has_columns, read_examples

        return [read_examples(path, input=two_texts if two_texts and has_columns(path) else None) for path in self.source]

    def check(self) -> None:
        """Raise InputError for flags that say how other data is used where none is given."""
        from fewtune.errors import InputError

        given = [f"--{one.name}" for one in fields(self) if one.name != "source" and getattr(self, one.name) != one.default]
        if given and not self.source:
            raise InputError(f"{given[0]} says how other data is used, but there is none: give --source DATA, or leave {given[0]} out.")

    def settings(self, visits: int = 0) -> SourceSettings:
        from dataclasses import replace

        from fewtune.sources.settings import SourceSettings

        selection, tries = self._selection()
        made = SourceSettings(selection=selection, tries=tries, visits=visits)
        if self.rates is not None:
            made = replace(made, rates=tuple(self.rates))
        return made if self.rows is None else replace(made, most=self.rows)

    def _selection(self) -> tuple[Traced, tuple[float, ...]]:
        """The selection, and the values of p to try."""
        from dataclasses import replace

        from fewtune.errors import InputError
        from fewtune.sources.settings import TRIES
        from fewtune.tasks.selection import CHOICES, ConsistencyDiversity

        chosen = CHOICES[self.select]()
        if not isinstance(chosen, ConsistencyDiversity) or not chosen.diversity:
            if self.gain is not None:
                raise InputError(f"--select {self.select} does not look at coverage: leave --gain out.")
            return chosen, ()
        chosen = replace(chosen, mode=self.mode)
        if self.gain is None:
            return chosen, ()
        if self.gain == "auto":
            return chosen, TRIES
        try:
            return replace(chosen, p=float(self.gain)), ()
        except ValueError:
            raise InputError(f"--gain {self.gain}: expected a number such as 0.01, or auto.") from None


def budget_of(source: str) -> tuple[float, int]:
    """(minutes, visits of a run) of a budget. With `visits` the minutes are infinite; with `minutes` the visits are 0."""
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
    raise InputError(f"--budget {source}: expected minutes=NUMBER or visits=ROWS, for example minutes=5.")


NO_SOURCE_FLAGS = SourceFlags()
