"""Large arrays of an `.npz` are read from the file where they are used."""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fewtune.data.examples import Examples
from fewtune.data.items import Vectors
from fewtune.data.reading import npz
from fewtune.data.reading.npz import load_npz
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError

X = np.random.default_rng(0).normal(size=(30, 7)).astype(np.float32)
Y = np.arange(30) % 3


@pytest.fixture(autouse=True)
def _map_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAPPED", 1)


def written(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def is_mapped(array: np.ndarray) -> bool:
    while isinstance(array.base, np.ndarray):
        array = array.base
    base = array.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


@pytest.mark.parametrize("x", [X, np.asfortranarray(X), X.astype(">f8"), X[:, :, None, None] > 0], ids=["c", "f", "big", "bool"])
def test_what_is_mapped_equals_what_is_loaded(tmp_path: Path, x: np.ndarray) -> None:
    found = load_npz(written(tmp_path, x=x, y=Y))
    assert is_mapped(found["x"]) and not found["x"].flags.writeable
    assert not is_mapped(found["y"])  # of one axis
    assert found["x"].dtype == x.dtype
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["y"], Y)


def test_compressed_and_small_arrays_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "small.npz", x=X, y=Y)
    assert not is_mapped(load_npz(tmp_path / "small.npz")["x"])
    path = written(tmp_path, x=X, y=Y)
    with zipfile.ZipFile(path) as archive:
        monkeypatch.setattr(npz, "MAPPED", archive.getinfo("x.npy").file_size + 1)
    assert not is_mapped(load_npz(path)["x"])


def test_examples_and_their_features_are_the_same_and_no_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, x=X, y=Y)
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", str(X.nbytes))  # with the labels it would be more
    mapped = read_examples(path)
    assert isinstance(mapped.items, Vectors) and is_mapped(mapped.items.vectors)
    np.testing.assert_array_equal(_features(mapped), X)
    monkeypatch.setattr(npz, "MAPPED", 1 << 40)
    with pytest.raises(InputError, match="memory"):
        read_examples(path)
    monkeypatch.delenv("FEWTUNE_MAX_BYTES")
    loaded = read_examples(path)
    assert loaded.digest() == mapped.digest()
    assert loaded.take([4, 2]).digest() == mapped.take([4, 2]).digest()


def _features(examples: Examples) -> np.ndarray:
    items = examples.items
    assert isinstance(items, Vectors)
    found = RowSpace([examples]).vectors(np.arange(len(examples)))
    assert found is not None
    return found


def test_a_damaged_value_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, x=np.random.default_rng(0).normal(size=(5000, 7)), y=np.arange(5000) % 2)
    content = bytearray(path.read_bytes())
    content[200_000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"data\.npz cannot be read as \.npz: x\.npy is damaged\."):
        load_npz(path)


def test_a_part_that_says_it_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    """Its place beyond the end of the file, and on another part: by its checksum."""
    path = written(tmp_path, x=X, z=X + 1, y=Y)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        z = archive.getinfo("z.npy").header_offset
    for wrong in (len(content) - 40, 0):
        changed = bytearray(content)
        entry = content.index(b"z.npy", content.index(b"PK\x01\x02")) - 46
        assert changed[entry + 42 : entry + 46] == z.to_bytes(4, "little")
        changed[entry + 42 : entry + 46] = wrong.to_bytes(4, "little")
        path.write_bytes(bytes(changed))
        with pytest.raises(InputError, match=r"cannot be read as \.npz"):
            load_npz(path)


def test_rows_that_are_not_finite_are_found_in_blocks(tmp_path: Path) -> None:
    x = np.zeros((40_000, 2), dtype=np.float32)
    x[39_999, 1], x[20_000, 0] = np.nan, np.inf
    with pytest.raises(InputError, match="row 20000 and 1 more rows hold NaN or infinite values"):
        read_examples(written(tmp_path, x=x, y=np.arange(40_000) % 2))


def test_all_rows_in_order_are_the_collection_itself_and_others_a_part(tmp_path: Path) -> None:
    found = read_examples(written(tmp_path, x=X, y=Y))
    assert found.take(np.arange(30)) is found
    assert found.take(np.arange(29)) is not found and found.take(np.arange(30)[::-1]).labels.tolist() == Y[::-1].tolist()
