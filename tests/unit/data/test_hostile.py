"""Files that are damaged, or made to do harm: each is read, or refused in one sentence, and none fills the memory."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fewtune.data import room
from fewtune.data.reading.read import read_examples
from fewtune.data.splits import split_classes
from fewtune.errors import InputError

Y = np.arange(4) % 2


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def stored(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (npy("(" * 9000), r"b.npz cannot be read as .npz: "),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1180591620717411303424,)}\n"),
            "does not hold an array of shape .*, as its header says",
        ),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}\n"), r"does not hold an array of shape \[-4\]"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2)}\n", bytes(31)), r"does not hold an array of shape \[4, 2\]"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}\n"), "holds Python objects, which are never loaded"),
        (b"\x93NUMPY\7\0", "has an unknown version of the array format"),
        (b"", "holds the arrays y: expected x and y"),
        (stored(np.array([b"\xff", b"a", b"b", b"c"])), r"row 0 is not UTF-8 text \(byte 0\)"),
    ],
)
def test_npz(tmp_path: Path, x: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_examples(npz(tmp_path / "b.npz", x=x, y=stored(Y)))


@pytest.mark.parametrize("key", ["group", "split"])
def test_npz_with_more_than_one_value_a_row(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "b.npz", x=np.eye(4), y=Y, **{key: np.zeros((4, 2))})
    with pytest.raises(InputError, match=rf"expected one {key} for each row, found {key}s of shape \[4, 2\]"):
        read_examples(tmp_path / "b.npz")


def test_an_npz_that_unfolds_to_more_than_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "b.npz", x=stored(np.zeros((1000, 1000), np.float32)), y=stored(np.arange(1000) % 2))
    assert path.stat().st_size < 20_000
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "4.1e6")
    assert len(read_examples(path)) == 1000
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "4e6")
    with pytest.raises(
        InputError, match=r"b.npz would take 0.0 GB of memory, more than the limit of 0.0 GB .* set FEWTUNE_MAX_BYTES to allow more"
    ):
        read_examples(path)


@pytest.mark.parametrize("used", [True, False])
def test_a_parquet_column_that_unfolds_to_more_than_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool) -> None:
    rows, long = 50_000, "x" * 10_000
    where = {"text": [long] * rows} if used else {"text": ["a"] * rows, "other": [long] * rows}
    pq.write_table(pa.table({**where, "label": ["u", "v"] * (rows // 2)}), tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").stat().st_size < 200_000
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "2e7")
    if not used:
        assert len(read_examples(tmp_path / "b.parquet")) == rows  # what is not asked for is not read
        return
    with pytest.raises(InputError, match=r"b.parquet would take .* more than the limit of 0.0 GB"):
        read_examples(tmp_path / "b.parquet")


def test_a_parquet_file_of_many_rows_is_refused_by_its_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"text": ["a"] * 100_000, "label": ["u", "v"] * 50_000}), tmp_path / "b.parquet")
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("read before it was weighed"))
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "6e6")
    with pytest.raises(InputError, match=r"b.parquet would take"):
        read_examples(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"text": ["a", "b"], "label": pa.array([2**60, 1], pa.timestamp("us"))}, "b.parquet, column 'label', cannot be read as Parquet"),
        (
            {
                "text": pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 1, 2)), pa.py_buffer(b"\xff\xfe")]),
                "label": ["x", "y"],
            },
            "b.parquet, column 'text', cannot be read as Parquet: .*utf-8",
        ),
        ({"text": [b"\xff", b"b"], "label": ["x", "y"]}, "not UTF-8 text|image bytes|cannot be read"),
    ],
)
def test_parquet_values(tmp_path: Path, table: dict[str, Any], sentence: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=sentence):
        made = read_examples(tmp_path / "b.parquet")
        made.items.fetch(0)


def test_columns_with_dots_in_their_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a.b": ["x", "y"], "a": [{"b": 1}, {"b": 2}], "label": ["u", "v"]}), tmp_path / "b.parquet")
    assert read_examples(tmp_path / "b.parquet", input="a.b").items.fetch(1) == "y"


def test_nested_json(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "e.csv").write_text(f'embedding,label\n"{deep}",x\n"[3]",y\n')
    with pytest.raises(InputError, match=r"the embedding of e.csv:2 is not a list of numbers: '\[\["):
        read_examples(tmp_path / "e.csv")
    (tmp_path / "s.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    (tmp_path / "s.json").write_text(deep)
    with pytest.raises(InputError, match=r"s.json may hold the classes of s.jsonl, but its JSON is nested too deeply to be read"):
        read_examples(tmp_path / "s.jsonl")
    for name in ("d.json", "d.jsonl"):
        (tmp_path / name).write_text(deep)
        with pytest.raises(InputError, match=rf"{name}.* not (a )?JSON"):
            read_examples(tmp_path / name)
    with pytest.raises(InputError, match=r"d.json is not JSON"):
        split_classes(read_examples((np.eye(4), Y)), tmp_path / "d.json")


@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.jsonl", "f.json", "f.parquet", "f.npz"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is not a plain file"):
        read_examples(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is not a plain file"):
        read_examples(tmp_path / name)


def test_pipes_beside_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    os.mkfifo(tmp_path / "s.json")
    assert len(read_examples(tmp_path / "s.jsonl")) == 2
    with pytest.raises(InputError, match="is not a plain file"):
        split_classes(read_examples(tmp_path / "s.jsonl"), tmp_path / "s.json")


def test_numbers_that_are_too_large(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text(json.dumps({"embedding": [10**400], "label": "x"}) + "\n")
    with pytest.raises(InputError, match="is not a list of numbers"):
        read_examples(tmp_path / "e.jsonl")
    with pytest.raises(InputError, match="of row 0 is not a number"):
        read_examples((np.eye(2), [10**400, 1]), kind="float")


def test_free_memory_is_the_least_of_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("memory.max", "1000"), ("memory.current", "700"), ("memory.stat", "anon 1\ninactive_file 50\n")):
        (tmp_path / name).write_text(content)
    assert room._of_group(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max")
    assert room._of_group(tmp_path) is None
    monkeypatch.setattr(room, "_of_system", lambda: 5000)
    monkeypatch.setattr(room, "_of_group", lambda: 4000)
    monkeypatch.setattr(room, "_of_process", lambda: None)
    monkeypatch.delenv("FEWTUNE_MAX_BYTES", raising=False)
    assert room.free_memory() == 4000 and room.byte_limit() == 3000
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "much")
    with pytest.raises(InputError, match=r"FEWTUNE_MAX_BYTES is 'much': expected a number of bytes"):
        room.byte_limit()


def test_a_table_of_a_hundred_thousand_columns(tmp_path: Path) -> None:
    wide = [
        "text,label," + ",".join(f"c{i}" for i in range(100_000)),
        *(f"t{row},{'ab'[row % 2]}," + "1," * 99_999 + "1" for row in range(4)),
    ]
    (tmp_path / "wide.csv").write_text("\n".join(wide) + "\n")
    found = read_examples(tmp_path / "wide.csv")
    assert len(found) == 4 and found.column.names == ("a", "b") and found.items.fetch(3) == "t3"


def test_links_in_circles_and_pipes_among_photos(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (10, 200, 10)).save(tmp_path / name / "1.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b" / "self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    found = read_examples(tmp_path)
    assert len(found) == 2 and {Path(one.name).name for one in found.skipped} == {"loop", "self.png", "pipe.png"}
