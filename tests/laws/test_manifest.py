"""Whatever bit of a record is flipped, it is noticed; and what is sealed stays the same when it is read and sealed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fewtune
from fewtune.errors import InputError
from fewtune.files import new_folder, read_record, sealed, written
from fewtune.models.bundle import load_bundle

KEYS = st.text(st.characters(codec=None, exclude_categories=())).filter(lambda key: key != "digest")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_sealed_record_seals_to_itself(record: dict[str, Any]) -> None:
    content = sealed(record)
    read = json.loads(content)
    assert sealed(read) == content
    assert len(read.pop("digest")) == 64 and sealed(read) == content


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path: Path) -> None:
    with new_folder(tmp_path / "run") as folder:
        record = {"names": ["kr\udce9is", "日本", "e"], "temperature": 1e-05, "threshold": 0.30000000000000004, "on": True, "n": -1}
        (folder / "fewtune.json").write_bytes(sealed(record))
    path = tmp_path / "run" / "fewtune.json"
    whole = path.read_bytes()
    assert written(tmp_path / "run") == {}
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert written(tmp_path / "run") is None, (bit, bytes(content))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    y = np.repeat(["ant", "bee", "cat"], 5)
    x = (random.normal(size=(3, 7))[np.repeat(np.arange(3), 5)] + 0.6 * random.normal(size=(15, 7))).astype(np.float32)
    path = tmp_path_factory.mktemp("flips") / "run"
    fewtune.adapt((x, y), method="centroid").save(path)
    return path


def test_a_model_with_any_byte_of_its_record_changed_is_refused_in_one_sentence(run: Path) -> None:
    path = run / "fewtune.json"
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << int(random.integers(8))
        path.write_bytes(content)
        with pytest.raises(InputError) as refused:
            load_bundle(run)
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)
    load_bundle(run)


def test_every_file_is_listed_with_its_digest(run: Path) -> None:
    record, whole = read_record(run)
    assert whole and set(record["files"]) == {"README.md", "head.safetensors", "support.safetensors", "report.html"}


def test_an_edited_card_and_report_do_no_harm(run: Path) -> None:
    before = load_bundle(run)
    for name in ("README.md", "report.html"):
        (run / name).write_text("mine")
    after = load_bundle(run)
    assert after.card == "mine" and after.class_names == before.class_names and after.temperature == before.temperature
