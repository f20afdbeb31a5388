"""Data behind addresses, by fsspec's file system in memory."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewtune.cli.first import check_data, chosen_out
from fewtune.cli.options import BackboneFlags
from fewtune.data.items import Wanted
from fewtune.data.reading import remote
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.label_table import single_kind
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError
from fewtune.files import refuse_existing

fsspec = pytest.importorskip("fsspec")
CSV = b"text,label\none,a\ntwo,b\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(remote.OFFLINE, raising=False)
    made = fsspec.filesystem("memory")
    yield made
    made.store.clear()
    made.pseudo_dirs[:] = [""]


@pytest.fixture
def fetches(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened for reading."""
    seen: list[str] = []
    plain = type(store).open

    def opened(self: Any, path: str, mode: str = "rb", **named: Any) -> Any:
        seen.extend([path] if mode == "rb" else [])
        return plain(self, path, mode, **named)

    monkeypatch.setattr(type(store), "open", opened)
    return seen


def features() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.eye(4, dtype=np.float32), y=np.arange(4) % 2)
    return buffer.getvalue()


@pytest.mark.parametrize("spelled", [str, Path], ids=["text", "path"])
def test_a_table_and_features_are_read_and_named_as_local_ones(spelled: type, store: Any) -> None:
    store.pipe("/bucket/deep/texts.csv", CSV)
    store.pipe("/bucket/features.npz", features())
    table, table_of = read_examples(spelled("memory://bucket/deep/texts.csv")), read_examples(spelled("memory://bucket/features.npz"))
    assert table.name == "texts" and [table.items.fetch(0), table.items.fetch(1)] == ["one", "two"]
    assert table_of.name == "features" and table_of.modality == "vector" and len(table_of) == 4
    given = read_inputs([Path("memory://bucket/deep/texts.csv")], (), Wanted("text"))
    assert len(given) == 2
    store.pipe("/bucket/numbers.csv", b"text,size\none,1.5\ntwo,2.5\n")
    assert single_kind(Path("memory://bucket/numbers.csv"), "size") == "float"


def test_nothing_is_fetched_twice_and_what_changed_is_fetched_again(store: Any, fetches: list[str]) -> None:
    store.pipe("/bucket/a.csv", CSV)
    for _ in range(3):
        read_examples("memory://bucket/a.csv")
    assert len(fetches) == 1
    store.pipe("/bucket/a.csv", CSV.replace(b"one", b"six"))  # of the same size
    assert read_examples("memory://bucket/a.csv").items.fetch(0) == "six"
    assert len(fetches) == 2


def test_of_a_folder_only_new_files_are_fetched_and_old_ones_go(store: Any, fetches: list[str]) -> None:
    for name in ("a/1.txt", "a/2.txt", "b/1.txt"):
        store.pipe(f"/bucket/set/{name}", name.encode())
    first = read_examples("memory://bucket/set")
    assert first.name == "set" and first.class_names == ("a", "b") and len(first) == 3 and len(fetches) == 3
    store.pipe("/bucket/set/b/2.txt", b"more")
    store.rm("/bucket/set/a/1.txt")
    again = read_examples("memory://bucket/set/")
    assert sorted(again.row_names) == ["a/2.txt", "b/1.txt", "b/2.txt"] and len(fetches) == 4


def test_a_copy_that_was_cut_is_fetched_again_and_a_broken_fetch_leaves_nothing(store: Any, tmp_path: Path, monkeypatch: Any) -> None:
    store.pipe("/bucket/a.csv", CSV)
    copy = remote.fetched("memory://bucket/a.csv")
    copy.write_bytes(CSV[:5])
    assert remote.fetched("memory://bucket/a.csv").read_bytes() == CSV
    store.pipe("/bucket/b.csv", CSV)
    monkeypatch.setattr(type(store), "open", lambda *_, **__: io.BytesIO(CSV[:7]))
    with pytest.raises(InputError, match="7 of 23 bytes came"):
        remote.fetched("memory://bucket/b.csv")
    assert not [path for path in (tmp_path / "cache").rglob("*") if "b.csv" in path.name]


def test_offline_the_copy_is_taken_or_missed_in_one_sentence(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe("/bucket/a.csv", CSV)
    read_examples("memory://bucket/a.csv")

    def no_network(*_: Any, **__: Any) -> Any:
        raise OSError("Name or service not known")

    monkeypatch.setattr(type(store), "info", no_network)
    with pytest.raises(InputError, match=r"cannot be read: Name or service not known; check the network .*HF_HUB_OFFLINE=1 takes it"):
        read_examples("memory://bucket/a.csv")
    with pytest.raises(InputError, match=r"check the network and your rights\.$"):
        read_examples("memory://bucket/b.csv")
    monkeypatch.setenv(remote.OFFLINE, "1")
    assert len(read_examples("memory://bucket/a.csv")) == 2
    with pytest.raises(InputError, match="was never fetched"):
        read_examples("memory://bucket/b.csv")


@pytest.mark.usefixtures("store")
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"memory://bucket/none\.csv does not exist"):
        check_data(Path("memory://bucket/none.csv"))
    with pytest.raises(InputError, match="fsspec does not know the scheme nosuch://"):
        read_examples("nosuch://bucket/a.csv")
    with pytest.raises(InputError, match="addresses within addresses"):
        read_examples("simplecache::memory://bucket/a.csv")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (_ for _ in ()).throw(ImportError("Install ossfs to access it")))
    with pytest.raises(InputError, match=r"oss:// needs a package of its own beside fsspec: Install ossfs to access it\.$"):
        read_examples("oss://bucket/a.csv")
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("https", "aiohttp requests")):
        with pytest.raises(InputError, match=rf"{scheme}:// needs a package of its own beside fsspec: pip install {package}\.$"):
            read_examples(f"{scheme}://bucket/a.csv")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"addresses need fsspec: pip install 'fewtune\[remote\]'"):
        read_examples("s3://bucket/a.csv")


@pytest.mark.parametrize("name", ["a/../../x.txt", "a/..", "a\\b.txt", "a/\x1b[2J.txt", "a//b.txt"])
def test_names_that_lead_elsewhere_are_refused(name: str, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe("/bucket/set/a/1.txt", b"x")
    info = {"name": f"/bucket/set/{name}", "size": 1, "type": "file"}
    monkeypatch.setattr(type(store), "find", lambda *_, **__: {f"/bucket/set/{name}": info})
    with pytest.raises(InputError, match="cannot be kept here: rename it"):
        read_examples("memory://bucket/set")
    assert not list((tmp_path / "cache").rglob("*.txt"))


def test_a_full_disk_is_said_before_anything_is_fetched(store: Any, fetches: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe("/bucket/a.csv", CSV)
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5}))
    with pytest.raises(InputError, match="are free in"):
        read_examples("memory://bucket/a.csv")
    assert not fetches


@pytest.mark.parametrize(
    ("source", "address"),
    [
        *[
            ("s3://b/a.npz", "s3://b/a.npz"),
            (Path("s3://b/a.npz"), "s3://b/a.npz"),
            (Path("https://h.org/a/b.csv"), "https://h.org/a/b.csv"),
            (Path("file:///data/a.csv"), "file:///data/a.csv"),
        ],
        *[("photos/", None), ("scenes:colour", None), ("C:/photos", None), (Path("/data/a.csv"), None), ("a b://c", None), (3, None)],
    ],
)
def test_addresses_are_told_from_paths(source: Any, address: str | None) -> None:
    assert remote.address_of(source) == address


def test_a_local_folder_with_such_a_name_stays_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    assert remote.address_of(Path("s3:/b")) is None


def test_results_are_called_after_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert chosen_out(Path("s3://b/photos.tar"), None, resume=False, overwrite=False) == Path("runs/photos-1")
    assert chosen_out(Path("s3://b/set/"), None, resume=False, overwrite=False) == Path("runs/set-1")


@pytest.mark.usefixtures("store")
def test_a_file_address_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(CSV)
    for address in (f"file://{tmp_path}/rows.csv", Path(f"file://{tmp_path}/rows.csv")):
        assert len(read_examples(address)) == 2


@pytest.mark.parametrize("path", ["s3://bucket/run", "memory://x", "gs:/b"])
def test_nothing_is_written_to_addresses(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named s3: beside the user's files held the run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is an address, and nothing is written"):
        refuse_existing(Path(path), overwrite=False)
    with pytest.raises(InputError, match="is an address, and nothing is written"):
        BackboneFlags(cache=Path(path)).check()
    assert not list(tmp_path.iterdir())
    refuse_existing(Path("a:b/run"), overwrite=False)
    refuse_existing(Path("C:/run"), overwrite=False)
