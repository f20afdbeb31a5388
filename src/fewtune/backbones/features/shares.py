"""A feature table made by several processes: each embeds a share of the rows, and the last one joins them, block by block."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.cache import default_folder
from fewtune.backbones.features.feature_table import feature_table, table_key
from fewtune.backbones.features.table_file import read_table, writing
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.words import option

BLOCK = 1 << 16  # rows copied at once: 96 MiB at 384 features


def shares_of(source: Examples, count: int, chunk: int) -> list[Examples]:
    """The rows in `count` shares, in order. Shares begin at whole chunks, so passes see the same rows together as in one table."""
    chunks = -(-len(source) // chunk)
    bounds = [min(len(source), chunk * (chunks * number // count)) for number in range(count + 1)]
    return [source.take(np.arange(first, last)) for first, last in pairwise(bounds) if last > first]


def embed_share(
    backbone: Backbone, source: Examples, number: int, count: int, *, folder: Path | None = None, quiet: bool = False
) -> tuple[int, int]:
    """Embed share `number` of `count` (from 1): (rows that were embedded, shares that are not in the folder yet).

    Whoever finds all shares there joins them to the table of the whole, the same bytes as one process writes, and removes them. Memory: a
    chunk of the model's passes, and BLOCK rows. Raises InputError for a backbone that embeds nothing, and for another modality.
    """
    if backbone.structure == "precomputed":
        raise InputError("these are embeddings already: there is nothing to embed.")
    place, shares = folder or default_folder(), shares_of(source, count, backbone.machine.chunk)
    if place is None:
        raise InputError(f"there is no folder to keep features in: give {option('--cache FOLDER')}.")
    path = place / f"{table_key(backbone, source)}.npy"
    if read_table(path, len(source)) is not None:
        return 0, 0
    rows = 0
    if number <= len(shares):  # there may be fewer chunks than shares
        rows = len(shares[number - 1])
        feature_table(backbone, RowSpace([shares[number - 1]]), folder=place, quiet=quiet)
    tables = [place / f"{table_key(backbone, share)}.npy" for share in shares]
    missing = sum(not table.exists() for table in tables)
    if missing and path.exists():
        return rows, 0  # another process has joined them since
    if not missing and len(shares) > 1:
        _join(path, tables, [len(share) for share in shares], backbone.width)
    return rows, 0 if path.exists() else missing  # another process may have joined the shares by now


def _join(path: Path, tables: list[Path], sizes: list[int], width: int) -> None:
    """Write the table of the whole from those of the shares, and remove these."""
    with writing(path, sum(sizes), width) as table:
        if table is None:
            return
        starts = np.cumsum([0, *sizes]).tolist()
        for one, first, size in zip(tables, starts, sizes, strict=False):
            known = read_table(one, size)
            if known is None:
                raise InputError(f"{one} is damaged or was removed: embed the shares again.")
            features, bad = known
            for at in range(max(0, table.done - first), size, BLOCK):  # rows that an interrupted joining wrote stay
                block = features[at : at + BLOCK]
                failed = {first + row: reason for row, reason in bad.items() if at <= row < at + len(block)}
                table.append(block, failed)
        table.finish()
    for one in tables:
        with contextlib.suppress(OSError):
            one.unlink()
