"""The store of decoded images: content, reuse, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Files, Pixels, Texts
from fewtune.data.store import decoded_store
from fewtune.errors import InputError


def folder_of_images(tmp_path: Path, count: int = 5) -> Examples:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (20 + i, 31, 3), dtype=np.uint8)).save(path)
    return make_examples(Files(paths), [i % 2 for i in range(count)])


def test_rows_are_what_pillow_makes_of_them(tmp_path: Path) -> None:
    examples = folder_of_images(tmp_path)
    short = decoded_store(examples, 16, tmp_path / "store", workers=3)
    square = decoded_store(examples, 16, tmp_path / "store", resize="square")
    assert isinstance(short.items, Pixels) and isinstance(short.items.pixels, np.memmap) and short.items.pixels.shape == (5, 16, 16, 3)
    assert short.labels.tolist() == examples.labels.tolist() and short.row_names == examples.row_names
    for row in range(5):
        image = Image.open(tmp_path / f"{row}.png")
        side = 20 + row
        middle = image.resize((16, 16), Image.Resampling.BICUBIC, box=((31 - side) / 2, 0, (31 + side) / 2, side))
        assert np.array_equal(np.asarray(short.items.fetch(row)), np.asarray(middle))
        assert np.array_equal(np.asarray(square.items.fetch(row)), np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)))
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_a_store_is_used_again_and_mended(tmp_path: Path) -> None:
    examples = folder_of_images(tmp_path)
    decoded_store(examples, 8, tmp_path / "store")
    (path,) = (tmp_path / "store").iterdir()
    first = path.stat().st_mtime_ns
    decoded_store(make_examples(examples.items, None, name="other name"), 8, tmp_path / "store")  # the content is what counts
    assert path.stat().st_mtime_ns == first
    content = path.read_bytes()
    path.write_bytes(content[:200])
    again = decoded_store(examples, 8, tmp_path / "store")
    assert path.read_bytes() == content and again.items.fetch(4).size == (8, 8)
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    decoded_store(make_examples(examples.items), 8, tmp_path / "store")
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_a_bad_row_leaves_nothing_behind(tmp_path: Path) -> None:
    examples = folder_of_images(tmp_path)
    (tmp_path / "3.png").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"3\.png cannot be read as an image"):
        decoded_store(examples, 8, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds texts: expected images"):
        decoded_store(make_examples(Texts(["a"])), 8, tmp_path)
    with pytest.raises(InputError, match="cannot resize to 0"):
        decoded_store(folder_of_images(tmp_path), 0, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot be written to .*file"):
        decoded_store(folder_of_images(tmp_path), 8, tmp_path / "file")
