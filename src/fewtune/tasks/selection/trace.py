"""Trace: what a selection looked at, and what it decided. One row a candidate, in the order looked at; kept in Parquet."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fewtune.data.examples import Integers
from fewtune.files import write_bytes
from fewtune.tasks.selection.evidence import Evidence
from fewtune.tasks.task import Tasks

SCHEMA = pa.schema(
    [
        ("candidate", pa.int64()),  # its place among the candidates
        ("name", pa.string()),
        ("source", pa.string()),
        ("similarity", pa.float64()),  # to the target, by the score that ranks candidates; NaN if it was not computed
        ("coverage", pa.float64()),  # of the chosen tasks together with this one; NaN if it was not computed
        ("gain", pa.float64()),  # coverage over the coverage without it, less 1; NaN for the first
        ("taken", pa.bool_()),
        ("reason", pa.string()),
    ]
)


@final
@dataclass(frozen=True)
class Look:
    """One candidate as it was looked at: the columns of SCHEMA."""

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
    return Trace(pa.table({name: [getattr(look, name) for look in looks] for name in SCHEMA.names}, schema=SCHEMA))
