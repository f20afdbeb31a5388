"""Result: one row an episode and method, kept in Parquet. Everything shown later is computed from these rows."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fewtune.errors import InputError
from fewtune.files import read_regular, write_bytes

Right: TypeAlias = Mapping[tuple[int, int, str, int], np.ndarray[Any, np.dtype[np.bool_]]]  # (setting, seed, method, training): [E, Q]
UNTRAINED = -1  # the training seed of a method that has nothing to train
SCHEMA = pa.schema(
    [
        ("study", pa.string()),  # digest of everything the value depends on
        ("target", pa.string()),  # the data that are tested on
        ("backbone", pa.string()),
        ("method", pa.string()),  # as it was asked for
        ("spec", pa.string()),  # the method's full text
        ("setting", pa.int32()),  # number of target, backbone and protocol in the study
        ("seed", pa.int64()),  # of the episodes
        ("training", pa.int64()),  # seed of the training run, or UNTRAINED
        ("episode", pa.int32()),
        ("task", pa.string()),
        ("ways", pa.string()),
        ("shots", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("loss", pa.float64()),  # mean negative log-likelihood of the query, in nats
        ("seconds", pa.float64()),  # the method's time, spread evenly over the episodes it ran together
    ]
)


@final
@dataclass(frozen=True, eq=False)
class Result:
    """The rows as a table with the columns of SCHEMA."""

    table: pa.Table

    def column(self, name: str) -> np.ndarray[Any, Any]:
        values: np.ndarray[Any, Any] = self.table[name].to_numpy(zero_copy_only=False)
        return values

    def where(self, **equal: object) -> Result:
        """The rows whose columns equal these values."""
        keep = np.ones(len(self.table), dtype=bool)
        for name, value in equal.items():
            keep &= self.column(name) == value
        return Result(self.table.filter(pa.array(keep)))

    def distinct(self, name: str) -> list[Any]:
        """The distinct values of a column in order of first appearance."""
        return list(dict.fromkeys(self.table[name].to_pylist()))

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        pq.write_table(self.table, buffer, compression="zstd")
        write_bytes(path, buffer.getvalue())


def make_result(columns: Sequence[Mapping[str, Any]]) -> Result:
    """A result from one mapping of equally long columns for each (method, protocol, seed)."""
    return Result(pa.concat_tables([pa.table(dict(part), schema=SCHEMA) for part in columns]))


def load_result(path: Path) -> Result:
    """Read what `Result.save` wrote."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as problem:
        raise InputError(f"{path} does not hold a result ({problem}).") from None
    if table.schema.names != SCHEMA.names:
        raise InputError(
            f"{path} is not a fewtune result: expected columns {', '.join(SCHEMA.names)}, found {', '.join(table.schema.names)}."
        )
    return Result(table)


def save_right(path: Path, right: Right) -> None:
    """Write which queries were answered correctly to an `.npz` file, a bit a query."""
    arrays = {}
    for number, (place, values) in enumerate(right.items()):
        arrays[f"{number}/place"] = np.array(json.dumps(place))
        arrays[f"{number}/shape"] = np.array(values.shape)
        arrays[f"{number}/bits"] = np.packbits(values)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def load_right(path: Path) -> Right:
    """Read what `save_right` wrote. Raises InputError for another file."""
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as stored:
            found = {}
            for number in range(len(stored.files) // 3):
                setting, seed, method, training = json.loads(str(stored[f"{number}/place"]))
                rows, columns = stored[f"{number}/shape"].tolist()
                bits = np.unpackbits(stored[f"{number}/bits"], count=rows * columns)
                found[setting, seed, method, training] = bits.reshape(rows, columns).astype(bool)
            return found
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise InputError(f"{path} does not hold answers ({problem}): remove it.") from None
