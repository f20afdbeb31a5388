"""The splits of LM-BFF: sixteen rows of every class, five times, and other rows to label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.api.benches import make_protocols
from fewtune.api.comparing import compare
from fewtune.api.settings import CompareSettings
from fewtune.cli.compare_flags import EpisodeFlags
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.protocol import LM_BFF_SEEDS, lm_bff


def test_five_splits_of_sixteen_labels_a_class() -> None:
    labels = np.arange(300) % 3
    space = RowSpace([make_examples(Vectors(np.zeros((300, 2), dtype=np.float32)), labels)])
    drawn = lm_bff(ways=3, queries=20).draw(space, torch.zeros(300, 2))
    assert list(drawn) == [13, 21, 42, 87, 100]
    for split in drawn.values():
        assert split.support.shape == (1, 48) and split.query.shape == (1, 60)
        assert np.bincount(split.support_label[0].numpy()).tolist() == [16] * 3 and not set(split.support[0].tolist()) & set(
            split.query[0].tolist()
        )
        held = labels[split.support[0].numpy()]
        assert (split.classes[0].numpy()[split.support_label[0].numpy()] == held).all()
    assert len({tuple(sorted(split.support[0].tolist())) for split in drawn.values()}) == 5


def test_the_protocol_is_asked_for_by_its_name() -> None:
    labels = np.arange(300) % 3
    few = make_examples(Vectors(np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)), labels)
    settings = CompareSettings(queries=20, protocol="lm_bff")
    found = make_protocols(few, 5, (1, 5), settings)
    assert [(p.sampler.ways, p.sampler.shots, p.seeds, p.episodes) for p in found] == [(3, n, LM_BFF_SEEDS, 1) for n in (16, 32)]  # type: ignore[union-attr]
    assert compare(few, methods=["centroid"], settings=settings).rows
    with pytest.raises(InputError, match="unknown protocol 'lmbff'"):
        CompareSettings(protocol="lmbff")
    with pytest.raises(InputError, match="leave episode, or the saved episodes, out"):
        CompareSettings(protocol="lm_bff", episode="Varied()")
    with pytest.raises(InputError, match="--protocol lm_bff says which episodes are drawn: leave --shots out"):
        EpisodeFlags(protocol="lm_bff", shots=[3]).check()
    with pytest.raises(InputError):
        make_protocols(few.take(np.arange(60)), 5, (1,), settings)
