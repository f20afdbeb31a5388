"""How data is read, as one value that the readers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from fewtune.data.items import Wanted
from fewtune.data.reading.labels import Kind
from fewtune.errors import InputError
from fewtune.words import option


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """How data is read; `read_examples` describes what a user may ask for.

    `label`, `input`, `group`, `split`: columns of a table; None means the column with a usual name. `label` may be several columns, `input`
    two of texts, and an `input` of "" means that there is none. `kind`: what labels are; `kinds`: those of some columns, by name. `name`:
    of the collection; None means its own. The rest is for other rooms. `labelled`: whether labels are needed. `wanted`: what the model
    reads, if inputs without labels could be several things. `recursive`: whether files deeper than a class folder count.
    """

    label: str | tuple[str, ...] | None = None
    input: str | tuple[str, ...] | None = None
    group: str | None = None
    split: str | None = None
    kind: Kind = "class"
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    name: str | None = None
    labelled: bool = True
    wanted: Wanted | None = None
    recursive: bool = True

    def check_names(self, called: str, own: Mapping[str, str | None], roles: Sequence[str] = ("label", "input", "group", "split")) -> None:
        """Raise InputError where a column is named of data that has none. `own`: what this data itself calls its label, input, group or
        split, which may be named."""
        for role in roles:
            given = getattr(self, role)
            if given and given != own.get(role):
                named = given if isinstance(given, str) else " ".join(given)
                raise InputError(
                    f"{called} has no columns, so {option(f'--{role} {named}', f'{role}={given!r}')} names nothing: leave it out."
                )

    @property
    def folder_label(self) -> str | None:
        """The label of a folder, which has no columns."""
        return self.label if isinstance(self.label, str) else None

    @property
    def called(self) -> str:
        """The name of a collection that has none of its own."""
        return self.name or "data"
