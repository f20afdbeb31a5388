"""What `read_examples` was asked for, as one value that the readers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.data.items import Wanted
from fewtune.data.reading.labels import Kind


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a source is read; `read_examples` describes each option.

    `label`, `input`, `group`, `split`: columns of a table; None means the column with a usual name. `kind`: what labels are. `labelled`:
    whether labels are needed. `wanted`: what the model reads, for inputs without labels. `name`: of the collection; None means its own.
    """

    label: str | None = None
    input: str | None = None
    group: str | None = None
    split: str | None = None
    kind: Kind = "class"
    labelled: bool = True
    wanted: Wanted | None = None
    name: str | None = None
