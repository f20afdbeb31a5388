"""Images and texts that stay in large Parquet files, beside the same files read whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fewtune.data.items import Texts, Wanted
from fewtune.data.reading import parquet, parquet_rows
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.parquet_rows import StoredImages, StoredTexts
from fewtune.data.reading.read import read_examples
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError

ROWS = 1000


@pytest.fixture(autouse=True)
def _stream_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "STREAMED", 0)
    monkeypatch.setattr(parquet_rows, "BLOCK", 7)


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), grey % 256, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def written(path: Path, columns: dict[str, Any], group: int = 90) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def images(count: int, first: int = 0) -> dict[str, Any]:
    return {"image": [{"bytes": png(first + i), "path": f"{i}.png"} for i in range(count)], "label": [i % 3 for i in range(count)]}


def whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(parquet, "STREAMED", 1 << 40)
    found = read_examples(path)
    monkeypatch.setattr(parquet, "STREAMED", 0)
    return found


@pytest.mark.parametrize("form", ["struct", "binary"])
def test_images_in_any_order_are_those_of_the_whole_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = images(ROWS // 4)
    if form == "binary":
        columns["image"] = [one["bytes"] for one in columns["image"]]
    path = written(tmp_path / "a.parquet", columns)
    found, plain = read_examples(path), whole(path, monkeypatch)
    assert isinstance(found.items, StoredImages) and not isinstance(plain.items, StoredImages)
    assert found.row_digests == plain.row_digests  # in threads
    assert found.labels.tolist() == plain.labels.tolist() and list(found.row_names) == list(plain.row_names)
    for row in np.random.default_rng(0).permutation(len(found))[:60].tolist():
        assert np.array_equal(np.asarray(found.items.fetch(row)), np.asarray(plain.items.fetch(row)))
    assert unreadable(found, deep=True) == {}


def test_texts_in_any_order_are_those_of_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [None if i == 500 else f"text {i} ü" for i in range(ROWS)]
    path = written(tmp_path / "a.parquet", {"text": texts, "label": [f"c{i % 4}" for i in range(ROWS)]})
    found, plain = read_examples(path), whole(path, monkeypatch)
    assert isinstance(found.items, Texts) and isinstance(found.items.texts, StoredTexts)
    assert found.row_digests == plain.row_digests and found.items.texts[3:5] == ["text 3 ü", "text 4 ü"]
    assert [found.items.fetch(row) for row in (999, 0, 500)] == ["text 999 ü", "text 0 ü", ""]
    assert list(unreadable(found)) == [500]
    with pytest.raises(IndexError):
        found.items.texts[ROWS]


def test_rows_in_order_are_read_once_and_few_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet", {"text": [f"text {i}" for i in range(ROWS)], "label": [i % 2 for i in range(ROWS)]})
    opened, plain = [], parquet_rows.opened
    monkeypatch.setattr(parquet_rows, "opened", lambda *given: opened.append(given) or plain(*given))
    found = read_examples(path)
    assert isinstance(found.items, Texts) and isinstance(found.items.texts, StoredTexts)
    opened.clear()
    rows = found.items.texts.rows
    assert [found.items.fetch(row) for row in range(ROWS)] == [f"text {i}" for i in range(ROWS)]
    assert len(opened) <= 1 + ROWS // 90 + 1
    assert sum(map(len, rows._recent.values())) <= parquet_rows.KEPT * 7


def test_paths_numbers_and_lists_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "2.png").write_bytes(png(2))
    found = read_examples(written(tmp_path / "a.parquet", {"path": ["1.png", "2.png"], "label": ["a", "b"]}))
    assert np.asarray(found.items.fetch(1))[0, 0, 0] == 2
    vectors = read_examples(written(tmp_path / "b.parquet", {"embedding": [[1.0, 2.0], [3.0, 4.0]], "label": ["a", "b"]}))
    assert vectors.modality == "vector"
    spelled = read_examples(written(tmp_path / "c.parquet", {"embedding": ["[1, 2]", "[3, 4]"], "label": ["a", "b"]}))
    assert spelled.modality == "vector"


def test_a_folder_of_files_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    written(folder / "train-0.parquet", images(20))
    written(folder / "train-1.parquet", images(10, first=100))
    written(folder / "test-0.parquet", images(5, first=200))
    found = read_examples(folder)
    assert len(found) == 35 and found.name == "shards"
    greys = [int(np.asarray(found.items.fetch(row))[0, 0, 0]) for row in (0, 5, 24, 25, 34)]
    assert greys == [200, 0, 19, 100, 109]  # in natural order of the names: test, train
    assert found.row_split.tolist() == [2] * 5 + [0] * 30
    assert found.row_names[5] == "train-0.parquet:0"
    assert len(read_inputs([folder], (), Wanted("image"))) == 35
    written(folder / "train-2.parquet", {"image": [png(1)], "class": ["a"]})
    with pytest.raises(InputError, match=r"train-2\.parquet has the columns image, class: expected image, label as in test-0\.parquet"):
        read_examples(folder)


def test_a_missing_picture_and_a_file_that_changed_are_told(tmp_path: Path) -> None:
    columns = images(300)
    columns["image"][60] = {"bytes": None, "path": "60.png"}
    path = written(tmp_path / "a.parquet", columns)
    found = read_examples(path)
    assert unreadable(found) == {60: "the picture is missing"}
    fresh = read_examples(path)  # which has no block in memory yet
    written(path, images(40))
    with pytest.raises(InputError, match=r"a\.parquet"):
        fresh.items.fetch(150)


def test_a_block_that_is_too_large_for_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet", {"text": ["x" * 1000] * 600, "label": [0, 1] * 300})
    found = read_examples(path)
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "5000")
    with pytest.raises(InputError, match="would take"):
        found.items.fetch(599)


def test_a_damaged_column_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"text": [f"some text {i}" * 20 for i in range(ROWS)], "label": [0, 1] * (ROWS // 2)})
    found = read_examples(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"cannot be read as Parquet|holds"):
        for row in range(ROWS):
            found.items.fetch(row)
