"""Finished cells in the folder of an unfinished run, so that a run which was stopped does not repeat them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fewtune.errors import InputError
from fewtune.evaluation.partial import Partial
from fewtune.studies.mamf.cell import SCHEMA, Finished, Seen

_SAID = b"fewtune"


def packed(finished: Finished) -> bytes:
    """A finished cell as one Parquet file; what is no row stands in the metadata of its schema."""
    features = io.BytesIO()
    arrays: dict[str, Any] = {str(place): seen.features.astype(np.float32) for place, seen in enumerate(finished.seen.values())}
    np.savez_compressed(features, **arrays)
    ratios = {name: seen.ratio for name, seen in finished.seen.items()}
    said = {"ratios": ratios, "notes": list(finished.notes), "features": features.getvalue().hex()}
    buffer = io.BytesIO()
    pq.write_table(finished.rows.replace_schema_metadata({_SAID: json.dumps(said).encode()}), buffer, compression="zstd")
    return buffer.getvalue()


def unpacked(content: bytes) -> Finished:
    """What `packed` wrote. Raises ValueError for anything else."""
    try:
        table = pq.read_table(pa.BufferReader(content))
        said = json.loads((table.schema.metadata or {})[_SAID])
        with np.load(io.BytesIO(bytes.fromhex(said["features"])), allow_pickle=False) as stored:
            features = [stored[str(place)].astype(np.float64) for place in range(len(said["ratios"]))]
        seen = {name: Seen(one, ratio) for (name, ratio), one in zip(said["ratios"].items(), features, strict=True)}
        rows = table.replace_schema_metadata(None)
        if rows.schema.names != SCHEMA.names:
            raise ValueError(f"its columns are {', '.join(rows.schema.names)}")
        return Finished(rows, seen, tuple(said["notes"]))
    except (pa.ArrowException, KeyError, TypeError, EOFError, OSError) as problem:
        raise ValueError(str(problem)) from None


def find(partial: Partial, identity: str) -> Finished | None:
    """The cell of this identity, if it is finished. Raises InputError for a damaged file."""
    path = _path(partial, identity)
    if path is None or not path.exists():
        return None
    try:
        return unpacked(path.read_bytes())
    except ValueError as problem:
        raise InputError(f"{path} is damaged ({problem}): remove it to run this part again.") from None


def keep(partial: Partial, identity: str, finished: Finished) -> Finished:
    """Keep a finished cell, and return it as it will be read."""
    content = packed(finished)
    path = _path(partial, identity)
    if path is not None:
        partial.write(path, content)
    return unpacked(content)


def _path(partial: Partial, identity: str) -> Path | None:
    return None if partial.folder is None else partial.folder / "configurations" / f"{identity}.parquet"
