"""Classes without labels: rows are clustered by their features, and each cluster is a class to train on (CACTUs)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from fewtune.data.examples import NO_SPLIT, TEST, TRAIN, VALIDATION, Column, Examples
from fewtune.errors import InputError
from fewtune.keys import key

CLUSTER = "cluster"  # the label column of the clusters


def clustered(
    examples: Examples, features: npt.ArrayLike, clusters: int = 50, *, partitions: int = 1, least: int = 2, seed: int = 0
) -> list[Examples]:
    """The same rows with k-means clusters of their features as classes, once for each of `partitions`: sources for meta-learning that need
    no labels. No label is looked at.

    `features` [N, D], in the order of the rows. Rows and classes for validation and test are left out, as are rows with NaN and clusters of
    fewer than `least` rows. The first
    partition is of the features as they are; every other one multiplies each feature by a number uniform in [0, 1), so that it groups
    rows in another way. The collections are called "NAME@clusters-1", ..., all their classes are for training, and the rows keep their
    other label columns. Raises InputError for features of other rows, and for fewer than 2 clusters or more clusters than rows.
    Reference: Hsu, Levine, Finn, "Unsupervised learning via meta-learning", ICLR 2019 (CACTUs: k-means, random scalings).
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(examples) or not x.shape[1]:
        raise InputError(f"expected features [{len(examples)}, width], one row for each row of {examples.name}, found shape {x.shape}.")
    judging = np.isin(examples.row_split, (VALIDATION, TEST)) | np.isin(examples.split_by_class(), (VALIDATION, TEST))
    rows = np.flatnonzero(np.isfinite(x).all(1) & ~judging)
    if clusters < 2 or clusters > len(rows) or partitions < 1 or least < 1:
        raise InputError(
            f"clusters are from 2 to the number of rows to learn from that have features ({len(rows)}), partitions and least at least 1, "
            f"found {clusters}, {partitions} and {least}."
        )
    found = []
    for number in range(partitions):
        place = key(seed, "clusters", number)
        scale = np.ones(x.shape[1]) if number == 0 else place.child("scale").uniform(np.arange(x.shape[1], dtype=np.uint64))
        fitted = KMeans(clusters, n_init=1, random_state=place.value % 2**32).fit_predict(x[rows] * scale)
        found.append(_named(examples, rows, fitted, number + 1, least))
    return found


def _named(examples: Examples, rows: npt.NDArray[np.int64], fitted: npt.NDArray[np.int32], number: int, least: int) -> Examples:
    """The rows of the clusters that are large enough, numbered again."""
    kept = np.flatnonzero(np.bincount(fitted) >= least)
    if len(kept) < 2:
        raise InputError(f"fewer than two clusters of {examples.name} have {least} rows: ask for fewer clusters.")
    inside = np.isin(fitted, kept)
    part = examples.take(rows[inside])
    labels = np.searchsorted(kept, fitted[inside]).astype(np.int64)
    column = Column("class", labels, tuple(f"cluster {c + 1}" for c in range(len(kept))))
    return replace(
        part,
        name=f"{examples.name}@clusters-{number}",
        columns={**part.columns, CLUSTER: column},
        target=CLUSTER,
        class_split=np.full(len(kept), TRAIN, dtype=np.int64),
        row_split=np.full(len(part), NO_SPLIT, dtype=np.int64),
    )
