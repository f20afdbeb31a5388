"""The files of a comparison that people and programs read, beside its rows: summary, page, and the table of a paper."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from fewtune.evaluation.summary import Summary
from fewtune.files import add_to_manifest, refuse_foreign, write_bytes
from fewtune.report.paper_table import paper_table
from fewtune.report.tables import Table, to_csv, to_json, to_records

SUMMARY, PAGE, PAPER = "summary", "report.html", "table.tex"
STUDY_FILES = (f"{SUMMARY}.json", f"{SUMMARY}.csv", f"{SUMMARY}.parquet", PAGE, PAPER)


def write_study_files(folder: Path, full: Table, shown: Table, summary: Summary, page: Callable[[], str]) -> None:
    """Write them, and the page, into the folder of a run, and list them in its manifest; a folder that has them already stays as it is.

    `summary.json`, `.csv` and `.parquet` hold the same rows, one for each method and setting; the columns are the keys of
    `compare --format json`.
    """
    files = [folder / name for name in STUDY_FILES]
    if all(file.is_file() for file in files):
        return
    refuse_foreign(folder, files)
    contents = [
        (to_json(full) + "\n").encode("utf-8", "replace"),
        (to_csv(full) + "\n").encode("utf-8", "replace"),
        _parquet(full),
        page().encode("utf-8", "replace"),
        (paper_table(summary, shown.caption, shown.notes) + "\n").encode("utf-8", "replace"),
    ]
    for file, content in zip(files, contents, strict=True):
        write_bytes(file, content)
    add_to_manifest(folder, files)


def _parquet(table: Table) -> bytes:
    """The records of a table as Parquet; `ways` and `shots`, which may be ranges, are text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [{**record, "ways": str(record["ways"]), "shots": str(record["shots"])} for record in to_records(table)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), buffer, compression="zstd")
    return buffer.getvalue()
