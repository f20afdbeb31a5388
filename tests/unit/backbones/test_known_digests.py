"""Digests that are remembered while files do not change."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from torch import nn

from fewtune.backbones import known_digests
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.known_digests import known_digest, known_sha256

OLD = 1_600_000_000 * 10**9  # ns


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "weights.bin"
    _write(made, b"one")
    return made


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose sha256 was computed, in order."""
    seen: list[Path] = []

    def counted(path: Path) -> str:
        seen.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(known_digests, "sha256", counted)
    return seen


def _write(path: Path, content: bytes, at: int = OLD) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(at, at))


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_read_once(file: Path, computed: list[Path]) -> None:
    assert known_sha256(file) == _sum(b"one")
    assert known_sha256(file) == _sum(b"one")
    assert len(computed) == 1


def test_a_file_of_the_same_size_and_time_is_read_again(file: Path, computed: list[Path]) -> None:
    known_sha256(file)
    _write(file, b"two")  # the same length, and its time set back
    assert known_sha256(file) == _sum(b"two")
    other = file.with_name("other")
    _write(other, b"six")
    other.replace(file)  # another inode under the same name
    assert known_sha256(file) == _sum(b"six")
    assert len(computed) == 3


@pytest.mark.parametrize("place", range(5))
def test_every_part_of_the_state_counts(file: Path, computed: list[Path], monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    known_sha256(file)
    real = known_digests._state
    monkeypatch.setattr(known_digests, "_state", lambda path: [n + (i == place) for i, n in enumerate(real(path))])
    known_sha256(file)
    assert len(computed) == 2


def test_a_file_that_was_written_just_now_is_not_remembered(tmp_path: Path, computed: list[Path]) -> None:
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"one")
    known_sha256(fresh)
    known_sha256(fresh)
    assert len(computed) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(path: Path) -> str:
        _write(path, b"longer")
        return _sum(b"one")

    with monkeypatch.context() as changed:
        changed.setattr(known_digests, "sha256", reads)
        known_sha256(file)
    assert known_sha256(file) == _sum(b"longer")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": 1, "sha256": 2}', b"[" * 60_000, b'{"sha256": "../x"}'])
def test_a_broken_memory_is_computed_again(file: Path, content: bytes, tmp_path: Path) -> None:
    known_sha256(file)
    (kept,) = (tmp_path / "cache" / "digests").iterdir()
    kept.write_bytes(content)
    assert known_sha256(file) == _sum(b"one")


def test_a_closed_or_missing_cache_is_no_error(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, computed: list[Path]) -> None:
    (tmp_path / "plain").write_bytes(b"")
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "plain"))  # a file where the folder would be
    assert [known_sha256(file), known_sha256(file)] == [_sum(b"one")] * 2
    monkeypatch.setattr(known_digests, "beside_tables", lambda _: None)  # a user without a home
    assert known_sha256(file) == _sum(b"one")
    assert len(computed) == 3


def _backbone(units: int = 3) -> Backbone:
    return Backbone.of(nn.Linear(4, units), inputs=4)


def test_the_digest_of_a_backbone_is_remembered_by_its_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = _backbone(), _backbone()  # other weights, the same structure
    assert first.digest() != other.digest()
    assert known_digest(first, [file]) == first.digest()
    assert known_digest(other, [file]) == first.digest()  # not computed: the file says which weights they are
    _write(file, b"two")
    assert known_digest(other, [file]) == other.digest()
    assert known_digest(_backbone(2), [file]) != other.digest()  # another structure
    monkeypatch.setattr(known_digests, "_versions", lambda: ["torch 99"])
    assert known_digest(first, [file]) == first.digest()  # another library may read the same file otherwise


def test_without_files_nothing_is_remembered() -> None:
    for backbone in (_backbone(), _backbone()):
        assert known_digest(backbone, []) == backbone.digest()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("no pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a plain file"):
        known_sha256(tmp_path / "pipe")
