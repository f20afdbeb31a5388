"""How data is read, as one value that the readers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.data.items import Wanted
from fewtune.data.reading.labels import Kind


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """How data is read; `read_examples` describes what a user may ask for.

    `label`, `input`, `group`, `split`: columns of a table; None means the column with a usual name. `kind`: what labels are. `name`: of the
    collection; None means its own. The rest is for other rooms. `labelled`: whether labels are needed. `wanted`: what the model reads, if
    inputs without labels could be several things. `recursive`: whether files deeper than a class folder count.
    """

    label: str | None = None
    input: str | None = None
    group: str | None = None
    split: str | None = None
    kind: Kind = "class"
    name: str | None = None
    labelled: bool = True
    wanted: Wanted | None = None
    recursive: bool = True

    @property
    def called(self) -> str:
        """The name of a collection that has none of its own."""
        return self.name or "data"
