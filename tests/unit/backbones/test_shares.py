"""A table that several processes make is that of one process, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewtune.backbones.features import shares
from fewtune.backbones.features.feature_table import feature_table, table_key
from fewtune.backbones.features.shares import embed_share, shares_of
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.machine import Machine


def rows(count: int = 37) -> Examples:
    vectors = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    vectors[[5, 30]] = np.nan
    return make_examples(Vectors(vectors), np.arange(count) % 3, name="rows")


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_shares_are_the_rows_in_order_and_whole_chunks(count: int) -> None:
    found = shares_of(rows(), count, 4)
    assert sum(map(len, found)) == 37 and all(len(share) % 4 == 0 for share in found[:-1])
    assert [name for share in found for name in share.row_names] == list(rows().row_names)


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2]])
def test_the_table_is_that_of_one_process(order: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "BLOCK", 5)
    backbone = load_backbone("mlp,inputs=4,width=6", machine=Machine(device="cpu", chunk=4).resolved())
    source = rows()
    whole = feature_table(backbone, RowSpace([source]), folder=tmp_path / "one", quiet=True)
    missing = [embed_share(backbone, source, number, 3, folder=tmp_path / "many", quiet=True) for number in order]
    assert [left for _, left in missing] == [2, 1, 0] and sum(count for count, _ in missing) == 37
    name = f"{table_key(backbone, source)}.npy"
    assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "many").iterdir() if p.suffix == ".npy") == [name]  # the shares are gone
    joined = feature_table(backbone, RowSpace([source]), folder=tmp_path / "many", quiet=True)
    assert joined.bad == whole.bad and set(whole.bad) == {5, 30}
    assert embed_share(backbone, source, 2, 3, folder=tmp_path / "many", quiet=True) == (0, 0)


def test_shares_that_another_process_joined_are_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both see that all shares are there; one joins and removes them before the other has counted."""
    backbone = load_backbone("mlp,inputs=4,width=6", machine=Machine(device="cpu", chunk=4).resolved())
    embed_share(backbone, rows(), 1, 2, folder=tmp_path, quiet=True)

    def and_the_other_joins(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        table = feature_table(*given, **more)
        assert embed_share(backbone, rows(), 1, 2, folder=tmp_path, quiet=True)[1] == 0
        return table

    monkeypatch.setattr(shares, "feature_table", and_the_other_joins)
    count, missing = embed_share(backbone, rows(), 2, 2, folder=tmp_path, quiet=True)
    assert count > 0 and missing == 0


def test_embeddings_are_not_embedded(tmp_path: Path) -> None:
    backbone = load_backbone("precomputed", machine=Machine(device="cpu").resolved())
    with pytest.raises(InputError, match="nothing to embed"):
        embed_share(backbone, rows(), 1, 2, folder=tmp_path)
