"""Vectors are gathered at once where they lie in one array, and row by row elsewhere, with the same result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace


def made(seed: int = 0) -> Examples:
    return make_examples(Vectors(np.random.default_rng(seed).normal(size=(90, 5)).astype(np.float32)), [0, 1] * 45, name=f"s{seed}")


@pytest.mark.parametrize("name", ["precomputed", "mlp,width=4,inputs=5"])
def test_at_once_is_row_by_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(name)
    rows = torch.tensor([[80, 3, 3], [-1, 7, 20]])
    whole, part = RowSpace([made()]), RowSpace([made().take(np.arange(89, -1, -1))])
    found = [backbone.embed(backbone.start(), space, rows) for space in (whole, part)]
    monkeypatch.setattr(RowSpace, "vectors", lambda self, rows: None)  # noqa: ARG005
    for space, one in zip((whole, part), found, strict=True):
        assert torch.equal(backbone.embed(backbone.start(), space, rows), one)
    assert not found[0][1, 0].any()


def test_several_sources_have_no_array() -> None:
    both = RowSpace([made(), made(1)])
    assert both.vectors(np.arange(3)) is None
    backbone = load_backbone("precomputed")
    features = backbone.embed(backbone.start(), both, np.array([0, 95]))
    assert torch.equal(features[1], torch.from_numpy(np.asarray(made(1).items.fetch(5))))
