"""Trace: what a selection looked at, and what it decided. One row a candidate, in the order looked at; kept in Parquet."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np

from fewtune.data.examples import Integers
from fewtune.files import write_bytes
from fewtune.tasks.selection.evidence import Evidence
from fewtune.tasks.task import Tasks

if TYPE_CHECKING:
    import pyarrow as pa  # takes long to import

COLUMNS = {  # and their types, as Arrow names them
    "candidate": "int64",  # its place among the candidates
    "name": "string",
    "source": "string",
    "similarity": "double",  # to the target, by the score that ranks candidates; NaN if it was not computed
    "coverage": "double",  # of the chosen tasks together with this one; NaN if it was not computed
    "gain": "double",  # coverage over the coverage without it, less 1; NaN for the first
    "taken": "bool",
    "reason": "string",
}


@final
@dataclass(frozen=True)
class Look:
    """One candidate as it was looked at: see COLUMNS."""

    candidate: int
    name: str
    source: str
    similarity: float
    coverage: float
    gain: float
    taken: bool
    reason: str


Looks: TypeAlias = tuple[Look, ...]


@final
@dataclass(frozen=True, eq=False)
class Trace:
    """The candidates in the order looked at; those after a stop were not looked at and are not here."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> np.ndarray[Any, np.dtype[Any]]:
        values: np.ndarray[Any, np.dtype[Any]] = self.table[name].to_numpy(zero_copy_only=False)
        return values

    @property
    def taken(self) -> Integers:
        """The places of the chosen candidates, in the order they were taken."""
        places: Integers = self.column("candidate")[self.column("taken").astype(bool)]
        return places

    def save(self, path: Path) -> None:
        """Write the rows as Parquet, whole or not at all."""
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(self.table, buffer, compression="zstd")
        write_bytes(path, buffer.getvalue())


@runtime_checkable
class Traced(Protocol):
    """A selection that tells every decision: what `adapt` can use."""

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks: ...

    def trace(self, tasks: Tasks, evidence: Evidence | None = None) -> Trace: ...


def make_trace(looks: Looks | list[Look]) -> Trace:
    """A trace of these looks, in this order."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    return Trace(pa.table({name: [getattr(look, name) for look in looks] for name in COLUMNS}, schema=schema))
