"""One Parquet file, which may be damaged or hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fewtune.errors import InputError


def opened(path: Path, file: Any) -> Any:
    """The file with its schema. Raises InputError for anything else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.ParquetFile(file)
        found.schema_arrow  # noqa: B018  (a damaged schema is found here)
    except (pa.ArrowException, ValueError, OSError) as problem:
        raise unreadable(path, problem) from None
    return found


def unreadable(path: Path, problem: BaseException, column: str | None = None) -> InputError:
    """Why a file, or a column of it, cannot be read, in one sentence."""
    said = (str(problem).splitlines() or [type(problem).__name__])[0][:200].rstrip(". ")
    what = "" if column is None else f", column {column!r},"
    return InputError(f"{path}{what} cannot be read as Parquet: {said}.")
