"""The feature table: every row of a row space, embedded once by a backbone at its starting weights, kept on disk in one file per source."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.cache import default_folder
from fewtune.backbones.features.table_file import Floats, read_table, writing
from fewtune.backbones.own_module import PROBE
from fewtune.data.examples import Examples
from fewtune.data.images import DECODING
from fewtune.data.items import Items, Vectors, not_finite
from fewtune.data.row_space import RowSpace
from fewtune.data.subset import Subset
from fewtune.errors import InputError
from fewtune.progress import Progress
from fewtune.spec import digest
from fewtune.version import __version__

_COMMIT = 3.0  # seconds: the most work that is lost if the process is killed
_NOT_FINITE = "its features are not finite numbers"


@final
@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features [N, D] of every row of a row space, float32 on the CPU; rows in `bad` could not be read (row -> reason) and are NaN.

    With one source on disk, `features` is mapped from the file: do not use it after the file is removed, and do not change it in place.
    """

    features: Float[Tensor, "N D"]
    bad: dict[int, str]


def feature_table(
    backbone: Backbone, space: RowSpace, *, folder: Path | None = None, memory: bool = False, quiet: bool = False
) -> FeatureTable:
    """Features of every row, read from `folder` (by default `default_folder()`) if they are there, else embedded and kept there.

    The key of a table is the digest of the backbone (weights with buffers, preprocessing, precision) and of its source's content, so adding
    a source keeps the tables of the others. An interrupted embedding continues where it stopped. `memory`: nothing is read from or written
    to the disk (also for a user without a home folder). Rows that cannot be read are collected in `bad`. Embeddings that are given directly
    are used as the table, without a copy. Raises InputError for another modality and for a full disk.
    """
    if space.modality != backbone.preparation.modality:
        raise InputError(f"{backbone.name} takes {backbone.preparation.modality}s, but {space.sources[0].name} holds {space.modality}s.")
    parts: list[Tensor] = []
    bad: dict[int, str] = {}
    kept = None if memory else folder or default_folder()
    with Progress(len(space), "embedding", quiet=quiet) as progress:
        for source, start in zip(space.sources, space.starts, strict=False):
            if backbone.structure == "precomputed":
                features, failed = _vectors(source.items)
            elif kept is None:
                features, failed = _in_memory(backbone, source, progress)
            else:
                features, failed = _on_disk(backbone, source, kept, progress)
            parts.append(torch.from_numpy(features))
            bad.update({row + int(start): reason for row, reason in failed.items()})
    if len({part.shape[1] for part in parts}) > 1:
        widths = ", ".join(f"{s.name} has {p.shape[1]}" for s, p in zip(space.sources, parts, strict=True))
        raise InputError(f"expected embeddings of one width, but {widths}.")
    return FeatureTable(parts[0] if len(parts) == 1 else torch.cat(parts), bad)


def features_key(backbone: Backbone) -> str:
    """A digest of all that the features of a row depend on, but its content: the weights, the precision of the passes (features are stored
    in float32), how images are decoded, and the version.

    Another version of fewtune may read or prepare rows differently, so it computes its own tables. The code of your own network can change
    while its weights stay, so its outputs on made-up inputs count too.
    """
    decoding = f" decoding {DECODING}" if backbone.preparation.modality == "image" else ""
    code = f" {backbone.source[PROBE]}" if PROBE in backbone.source else ""
    return digest(f"{backbone.digest()} {backbone.machine.dtype} float32{decoding}{code} fewtune {__version__}")


def table_key(backbone: Backbone, source: Examples) -> str:
    """A digest of all that the features of a collection depend on (`features_key`, and the content of the rows in order): 32 hex
    digits.

    Labels, names, splits and groups do not change the content of a row, so they are not part of it.
    """
    return digest(f"{features_key(backbone)} {source.digest()}")


def _on_disk(backbone: Backbone, source: Examples, folder: Path, progress: Progress) -> tuple[Floats, dict[int, str]]:
    path = folder / f"{table_key(backbone, source)}.npy"
    while True:  # repeats only if another process finished the table, or changed the file
        known = read_table(path, len(source))
        if known is not None:
            progress.skip(len(source))
            return known
        with writing(path, len(source), backbone.width) as table:
            if table is None:
                continue
            progress.skip(table.done)
            committed = time.monotonic()
            for features, failed in _embedded(backbone, source, table.done):
                table.append(features, failed)
                progress.advance(len(features))
                if time.monotonic() - committed > _COMMIT:
                    table.commit()
                    committed = time.monotonic()
            table.finish()
            known = read_table(path, len(source))
            assert known is not None
            return known


def _in_memory(backbone: Backbone, source: Examples, progress: Progress) -> tuple[Floats, dict[int, str]]:
    whole = np.empty((len(source), backbone.width), dtype=np.float32)
    bad: dict[int, str] = {}
    done = 0
    for features, failed in _embedded(backbone, source, 0):
        whole[done : done + len(features)] = features
        done += len(features)
        bad.update(failed)
        progress.advance(len(features))
    return whole, bad


def _embedded(backbone: Backbone, source: Examples, first: int) -> Iterator[tuple[Floats, dict[int, str]]]:
    """Features of the rows from `first` on, in order, chunk by chunk, and the rows that failed."""
    rows = np.arange(first, len(source))
    bad: dict[int, str] = {}
    for chunk, features in backbone.embed_chunks(backbone.start(), RowSpace([source]), rows, bad=bad):
        held = features.cpu().numpy()
        failed = {row: bad.pop(row) for row in list(bad)}
        failed |= {int(chunk[i]): _NOT_FINITE for i in not_finite(held) if int(chunk[i]) not in failed}
        yield held, failed


def _vectors(items: Items) -> tuple[Floats, dict[int, str]]:
    """Embeddings as they are."""
    found = _array(items)
    if not found.flags.writeable:
        with warnings.catch_warnings():  # torch warns about read-only arrays; nothing writes to this one
            warnings.simplefilter("ignore", UserWarning)
            torch.from_numpy(found)
    return found, {int(row): "it holds NaN or infinite values" for row in not_finite(found)}


def _array(items: Items) -> Floats:
    if isinstance(items, Vectors):
        return np.asarray(items.vectors, dtype=np.float32)
    if isinstance(items, Subset) and isinstance(items.whole, Vectors):
        return np.asarray(items.whole.vectors[items.rows], dtype=np.float32)
    return np.stack([np.asarray(items.fetch(row), dtype=np.float32) for row in range(len(items))])
