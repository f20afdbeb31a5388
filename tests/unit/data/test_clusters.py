"""Clusters as classes to train on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from fewtune.data.clusters import clustered
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows


def blobs() -> tuple[Examples, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 15)
    x = (6 * np.eye(4, 5)[truth] + random.standard_normal((60, 5)) * 0.5).astype(np.float32)
    return make_examples(Vectors(x), [None] * 60, name="blobs"), x, truth


def test_clusters_of_separate_rows_are_their_classes() -> None:
    examples, x, truth = blobs()
    (made,) = clustered(examples, x, 4)
    assert adjusted_rand_score(truth, made.labels) == 1.0
    assert made.name == "blobs@clusters-1" and made.class_names == ("cluster 1", "cluster 2", "cluster 3", "cluster 4")
    assert made.row_names == examples.row_names and "label" in made.columns
    episodes = Sampled(ways=3, shots=2, queries=4).draw(class_rows(RowSpace([made])), key(0), 0, 5)
    for e in range(5):  # an episode's class is one blob
        assert all(len({*truth[episodes.support[e][episodes.support_label[e] == k].numpy()]}) == 1 for k in range(3))


def test_partitions_group_rows_in_other_ways_by_their_seed() -> None:
    examples, x, _ = blobs()
    noise = np.concatenate([x, 5 * np.random.default_rng(1).standard_normal((60, 5))], axis=1)
    made = clustered(examples, noise, 5, partitions=3, least=1)
    assert [one.name for one in made] == [f"blobs@clusters-{n}" for n in (1, 2, 3)]
    rand = [adjusted_rand_score(made[0].labels, other.labels) for other in made[1:]]
    assert max(rand) < 0.9
    again = clustered(examples, noise, 5, partitions=3, least=1)
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(made, again, strict=True))
    other = clustered(examples, noise, 5, partitions=3, least=1, seed=1)
    assert not np.array_equal(made[2].labels, other[2].labels)


def test_rows_without_features_and_small_clusters_are_left_out() -> None:
    examples, x, _ = blobs()
    x[0] = np.nan
    x[1] = 1e3  # alone
    (made,) = clustered(examples, x, 5)
    assert len(made) == 58 and not {examples.row_names[0], examples.row_names[1]} & {*made.row_names}
    for clusters, features in ((1, x), (60, x), (4, x[:3])):
        with pytest.raises(InputError):
            clustered(examples, features, clusters)


def test_rows_that_judge_are_no_part_of_any_cluster() -> None:
    examples, x, truth = blobs()
    by_row = replace(examples, row_split=np.arange(60) % 3 - (np.arange(60) % 3 == 0))  # none, validation, test
    (made,) = clustered(by_row, x, 4)
    assert [*made.row_names] == [examples.row_names[r] for r in range(0, 60, 3)]
    named = make_examples(Vectors(x), [f"c{k}" for k in truth], name="blobs")
    (made,) = clustered(replace(named, class_split=np.array([0, 1, 2, -1])), x, 2)
    assert [*made.row_names] == [named.row_names[r] for r in np.flatnonzero(np.isin(truth, (0, 3)))]


def test_features_of_no_width_are_refused() -> None:
    examples, x, _ = blobs()
    with pytest.raises(InputError, match="expected features"):
        clustered(examples, x[:, :0], 2)
