"""The splits of LM-BFF: sixteen rows of every class, five times, and other rows to label."""

from __future__ import annotations

import numpy as np
import torch

from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.protocol import lm_bff


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
