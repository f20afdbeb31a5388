"""A folder of shards: Parquet files or tar archives of one collection, such as `train-00000-of-00004.parquet`, and nothing else to read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from fewtune.data.examples import Skipped
from fewtune.data.reading.order import IMAGE_SUFFIXES, SPLIT_WORDS, ignored, natural
from fewtune.data.reading.parquet import read_parquet
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.reading.tar import read_tar
from fewtune.errors import InputError

TAR = frozenset({".tar"})
PARQUET = frozenset({".parquet", ".pq"})


def shards_in(folder: Path) -> list[Path]:
    """The shards of a folder, in natural order; none where it has folders or images of its own. Raises InputError for two kinds of them."""
    try:
        entries = [entry for entry in folder.iterdir() if not ignored(entry.name)]
    except OSError as problem:
        raise InputError(f"{folder} cannot be read: {problem.strerror}.") from None
    if any(entry.is_dir() or entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries):
        return []
    found = sorted((entry for entry in entries if entry.suffix.lower() in TAR | PARQUET), key=lambda entry: natural(entry.name))
    if len({entry.suffix.lower() in TAR for entry in found}) > 1:
        raise InputError(f"{folder} holds tar archives and Parquet files: expected one kind, so move the others away.")
    return found


def read_shards(shards: list[Path], name: str | None = None) -> tuple[Table, tuple[Skipped, ...]]:
    """The table of all shards, and what was passed over. Without a column `split`, shards called train-..., val-..., test-... are such."""
    table, skipped = read_tar(*shards, name=name) if shards[0].suffix.lower() in TAR else (read_parquet(*shards, name=name), ())
    words = {shard.name: re.split(r"[^a-z]", shard.name.casefold())[0] for shard in shards}
    if "split" in table.columns or not all(SPLIT_WORDS.get(word, -1) >= 0 for word in words.values()):
        return table, skipped
    split = [words[table.where(row).rpartition(":")[0]] for row in range(table.count)]
    columns = table.columns
    joined = Lazy([*columns, "split"], lambda column: split if column == "split" else columns[column])
    return replace(table, columns=joined), skipped
