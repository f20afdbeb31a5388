"""Leaks: rows of the sources that are also in the target, exactly or nearly, so that a model would be tested on its training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Examples, Integers
from fewtune.data.near.pairs import near_in_each
from fewtune.data.prompts.shipped import unprompted
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError

How = Literal["content", "perceptual hash", "text", "embedding"]
HOWS: tuple[How, ...] = ("content", "perceptual hash", "text", "embedding")  # the strongest evidence first

SHARE = 0.25
"""An embedding is a leak if its distance is below this share of the usual distance between a target row and its nearest neighbour (median).

Embedding spaces differ, so one threshold is not enough: with the same MobileNetV2, the nearest other photo is at a cosine distance of
0.35 to 0.4, the nearest other character of Omniglot at 0.13. A quarter of the usual distance finds lighter and darker copies, most copies
that are cropped a little, and half of the copies saved as poor JPEG. Grey copies and copies of half the size are further away; the hash
finds those. Of texts, it finds sentences that ask the same in other words.
"""
FARTHEST = 0.1
"""A cosine distance above this is never a leak, even if the target's rows are far from each other."""

MOST = 5  # target rows reported for one source row: it is left out once anyway, so it need not be paired with a whole series
_JUDGED = 2000  # target rows that the usual distance is computed from
_BLOCK = 1 << 22  # cosines at once: 16 MB

Found: TypeAlias = tuple[Integers, Integers, Integers, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]


@final
@dataclass(frozen=True)
class Leak:
    """A row of a source collection (`row` of the collection named `source`) that is also row `target` of the target.

    `how`: the strongest evidence. `distance`: 0 for content, else the number of differing bits (of 64), 1 - Jaccard, or 1 - cosine.
    """

    source: str
    row: int
    target: int
    how: How
    distance: float


def find_leaks(
    target: Examples,
    sources: Sequence[Examples],
    target_rows: Integers | None = None,
    source_rows: Integers | None = None,
    *,
    target_features: Tensor | None = None,
    source_features: Tensor | None = None,
) -> tuple[Leak, ...]:
    """Source rows that are near-duplicates of target rows: each pair once, the strongest evidence first, and for each source row only the
    nearest target rows.

    `target_rows` [n]: by default all. Include the test rows: labels are not used. `source_rows` [m]: rows of the sources as `RowSpace`
    numbers them, by default all. Evidence is the digest of the content, the perceptual hash of images, the shingles of texts and, if both
    are given, features: `target_features` [n, D] and `source_features` [m, D], in the order of `target_rows` and `source_rows` (NaN: not
    known). Vectors only have content and features. Raises InputError for another modality, and for two source collections with the same
    name.
    """
    if not sources:
        return ()
    if len({source.name for source in sources}) < len(sources):
        raise InputError(f"expected source collections with different names, found {', '.join(source.name for source in sources)}.")
    target, sources = unprompted(target), [unprompted(source) for source in sources]
    starts = RowSpace(sources).starts
    target_rows = np.arange(len(target)) if target_rows is None else np.asarray(target_rows, dtype=np.int64)
    source_rows = np.arange(int(starts[-1])) if source_rows is None else np.asarray(source_rows, dtype=np.int64)
    places = [np.flatnonzero((source_rows >= a) & (source_rows < b)) for a, b in pairwise(starts.tolist())]
    local = [source_rows[place] - start for place, start in zip(places, starts, strict=False)]
    found = [_by_content(target, sources, target_rows, local, starts), *_by_look(target, sources, target_rows, local, starts)]
    if target_features is not None and source_features is not None:
        found.append(_by_features(target_rows, source_rows, target_features, source_features))
    return _strongest(found, sources, starts)


def without_leaks(source: Examples, leaks: Sequence[Leak]) -> Examples:
    """A source collection without its leaking rows; the collection itself if it has none."""
    rows = {leak.row for leak in leaks if leak.source == source.name}
    return source.take([row for row in range(len(source)) if row not in rows]) if rows else source


def embedding_threshold(features: Tensor) -> float:
    """The largest cosine distance at which a row counts as a copy of one of these [n, D] (see SHARE); 0 for fewer than two rows."""
    unit = _unit(features)
    some = torch.unique(torch.linspace(0, len(unit) - 1, min(len(unit), _JUDGED)).round().long())
    if len(unit) < 2:
        return 0.0
    nearest = []
    for part in some.split(max(1, _BLOCK // len(unit))):
        cosines = unit[part] @ unit.T
        cosines[torch.arange(len(part)), part] = -1.0
        nearest.append(1 - cosines.amax(1))
    return float(min(FARTHEST, SHARE * max(0.0, float(torch.cat(nearest).median()))))


def _by_content(target: Examples, sources: Sequence[Examples], rows: Integers, local: Sequence[Integers], starts: Integers) -> Found:
    known: dict[bytes, list[int]] = {}
    for row, digest in zip(rows.tolist(), target.take(rows).row_digests, strict=True):
        if len(mine := known.setdefault(digest, [])) < MOST:
            mine.append(row)
    pairs = [
        (int(start) + row, other)
        for source, mine, start in zip(sources, local, starts, strict=False)
        for row, digest in zip(
            mine.tolist(), source.take(mine).row_digests, strict=True
        )  # of these rows only, because files are read for it
        for other in known.get(digest, ())
    ]
    return _found(np.array(pairs, dtype=np.int64).reshape(-1, 2), 0, np.zeros(len(pairs)))


def _by_look(target: Examples, sources: Sequence[Examples], rows: Integers, local: Sequence[Integers], starts: Integers) -> list[Found]:
    how = HOWS.index("text" if target.modality == "text" else "perceptual hash")
    near = near_in_each(target, rows, list(zip(sources, local, strict=True)))
    return [_found(np.stack([p.second + start, p.first], 1), how, p.distance) for p, start in zip(near, starts, strict=False)]


def _by_features(target_rows: Integers, source_rows: Integers, target: Tensor, sources: Tensor) -> Found:
    if len(target) != len(target_rows) or len(sources) != len(source_rows):
        raise InputError(
            f"expected features of {len(target_rows)} target and {len(source_rows)} source rows, found {len(target)} and {len(sources)}."
        )
    within = embedding_threshold(target)
    unit = _unit(target)
    pairs, distance = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0)]
    step = max(1, _BLOCK // max(1, len(unit)))
    for start in range(0, len(sources), step):
        apart = 1 - _unit(sources[start : start + step]).to(unit) @ unit.T
        i, j = (index.cpu().numpy() for index in torch.nonzero(apart <= within, as_tuple=True))
        pairs.append(np.stack([source_rows[start + i], target_rows[j]], 1))
        distance.append(apart[i, j].double().clamp_min(0).cpu().numpy())
    return _found(np.concatenate(pairs), HOWS.index("embedding"), np.concatenate(distance))


def _unit(features: Tensor) -> Tensor:
    """Rows of length 1 in float32. Rows with NaN become 0, at a distance of 1 from all others."""
    return torch.nn.functional.normalize(torch.nan_to_num(features.float(), nan=0.0, posinf=0.0, neginf=0.0), dim=1)


def _found(pairs: Integers, how: int, distance: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Found:
    return pairs[:, 0], pairs[:, 1], np.full(len(pairs), how), distance.astype(np.float64)


def _strongest(found: Sequence[Found], sources: Sequence[Examples], starts: Integers) -> tuple[Leak, ...]:
    row, target, how, distance = (np.concatenate([f[i] for f in found]) for i in range(4))
    order = np.lexsort((target, distance, how, row))
    row, target, how, distance = row[order], target[order], how[order], distance[order]
    # stable: if a pair has several proofs, the first is the strongest
    _, first = np.unique(np.stack([row, target]), axis=1, return_index=True)
    first.sort()
    row, target, how, distance = row[first], target[first], how[first], distance[first]
    rank = np.arange(len(row)) - np.searchsorted(row, row, "left")
    kept = np.flatnonzero(rank < MOST)
    kept = kept[np.lexsort((target[kept], row[kept], distance[kept], how[kept]))]
    source = np.searchsorted(starts, row, "right") - 1
    return tuple(
        Leak(sources[source[k]].name, int(row[k] - starts[source[k]]), int(target[k]), HOWS[how[k]], float(distance[k])) for k in kept
    )
