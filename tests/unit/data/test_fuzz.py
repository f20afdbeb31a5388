"""Whatever the bytes of a file, reading gives Examples or one InputError, never another exception."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewtune.data.audit import inspect_examples
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked
from fewtune.errors import InputError

few = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "label", "x", "split", "path", "classes"]), inner),
    max_leaves=6,
)
CELLS = st.text(alphabet='ab01,;\t"\n\r -|[]{}\u00e9\u0000\u200b', max_size=6)


def reads(path: Path) -> None:
    """Read what lies there; an InputError of one line is as good as an answer."""
    for labelled in (True, False):
        try:
            inspect_examples(read_asked(path, Asked(labelled=labelled)))
        except InputError as problem:
            assert str(problem)


def reads_bytes(name: str, content: bytes, **beside: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for other, more in beside.items():
            (Path(folder) / f"data.{other}").write_bytes(more)
        (Path(folder) / name).write_bytes(content)
        reads(Path(folder) / name)


def damaged(content: bytes, places: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(content)
    for at, value in places:
        changed[at % len(changed)] = value
    return bytes(changed[: len(changed) - cut % (len(changed) // 2)])


PLACES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)
CUT = st.integers(0, 3) | st.integers(0, 10_000)


@few
@given(st.lists(st.lists(CELLS, max_size=3), max_size=6), st.sampled_from([",", "\t", ";"]), st.sampled_from(["csv", "tsv"]))
def test_separated_values(rows: list[list[str]], separator: str, suffix: str) -> None:
    lines = [separator.join(row) for row in [["text", "label"], *rows]]
    reads_bytes(f"data.{suffix}", "\n".join(lines).encode("utf-8", "surrogatepass"))


@few
@given(st.binary(max_size=80), st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet", "npz"]))
def test_any_bytes(content: bytes, suffix: str) -> None:
    reads_bytes(f"data.{suffix}", content)


@few
@given(st.lists(JSON, max_size=4), JSON)
def test_json_lines_and_the_file_beside_them(records: list[object], beside: object) -> None:
    lines = "\n".join(json.dumps(record) for record in records)
    reads_bytes("data.jsonl", lines.encode(), json=json.dumps(beside).encode())
    reads_bytes("data.json", json.dumps(records).encode())


@few
@given(st.lists(st.fixed_dictionaries({"text": JSON, "label": JSON}), min_size=1, max_size=4))
def test_json_lines_with_the_usual_columns(records: list[object]) -> None:
    reads_bytes("data.jsonl", "\n".join(json.dumps(record) for record in records).encode())


@few
@given(PLACES, CUT)
def test_damaged_parquet(places: list[tuple[int, int]], cut: int) -> None:
    made = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": ["x", "y", None]}), made)
    reads_bytes("data.parquet", damaged(made.getvalue(), places, cut))


def test_damaged_parquet_footer() -> None:
    """One bit of each byte of what the file says it holds: pyarrow ends the process where it is asked for some of it."""
    made = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": ["x", "y", None]}), made)
    whole = made.getvalue()
    for at in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
        reads_bytes("data.parquet", whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])


@few
@given(PLACES, CUT, st.booleans())
def test_damaged_npz(places: list[tuple[int, int]], cut: int, packed: bool) -> None:
    made = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(made, x=np.eye(4, dtype=np.float32), y=np.array(["a", "b", "a", "b"]))
    reads_bytes("data.npz", damaged(made.getvalue(), places, cut))


@few
@given(st.lists(st.tuples(st.text(alphabet="aA .\u00e9\u200b-1", min_size=1, max_size=5), st.binary(max_size=6)), max_size=5))
def test_folders(files: list[tuple[str, bytes]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        for number, (name, content) in enumerate(files):
            if name not in (".", ".."):
                (folder / name).mkdir(exist_ok=True)
                (folder / name / f"{number}.txt").write_bytes(content)
        reads(folder)
    finally:
        shutil.rmtree(folder)
