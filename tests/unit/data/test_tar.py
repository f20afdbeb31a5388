"""Tar archives of examples, honest and hostile."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.data.items import Texts, Wanted
from fewtune.data.reading import tar
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_asked, read_examples
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError

Files = list[tuple[str, bytes]]


def photo(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), grey, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, files: Files, *, change: Callable[[tarfile.TarInfo], None] = lambda _: None, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            change(member)
            made.addfile(member, io.BytesIO(content))
    return path


def sample(key: str, grey: int, label: str) -> Files:
    return [(f"{key}.png", photo(grey)), (f"{key}.cls", label.encode() + b"\n")]


FOUR: Files = [*sample("a/1", 10, "cat"), *sample("a/2", 20, "dog"), *sample("b/1", 30, "cat"), *sample("b/2.left", 40, "dog")]


def test_images_are_read_where_they_lie_with_labels_of_their_own_files(tmp_path: Path) -> None:
    path = archive(tmp_path / "pets.tar", FOUR)
    found = read_examples(path)
    assert found.name == "pets" and found.class_names == ("cat", "dog") and found.labels.tolist() == [0, 1, 0, 1]
    assert list(found.row_names) == ["pets.tar:a/1", "pets.tar:a/2", "pets.tar:b/1", "pets.tar:b/2"]
    assert [np.asarray(found.items.fetch(row))[0, 0, 0] for row in range(4)] == [10, 20, 30, 40]
    folder = tmp_path / "folder"
    for (name, content), label in zip(FOUR[::2], ("cat", "dog", "cat", "dog"), strict=True):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / name.replace("/", "-")).write_bytes(content)
    assert sorted(read_examples(folder).row_digests) == sorted(found.row_digests)  # the same tables of features
    assert unreadable(found, deep=True) == {}


def test_objects_give_labels_groups_splits_and_captions(tmp_path: Path) -> None:
    files = [
        *[("1.png", photo(1)), ("1.json", json.dumps({"label": "x", "domain": "art", "split": "test", "other": 3}).encode())],
        *[("2.png", photo(2)), ("2.json", json.dumps({"label": "y", "domain": "photo"}).encode()), ("2.txt", b"two of them")],
        *[("3.png", photo(3)), ("3.json", b'{"label": "wrong"}'), ("3.cls", b"x")],
    ]
    found = read_examples(archive(tmp_path / "a.tar", files))
    assert found.class_names == ("x", "y") and found.labels.tolist() == [0, 1, 0]
    assert found.caption == ["", "two of them", ""]
    assert found.group_names == ("art", "photo") and found.group.tolist() == [0, 1, -1]
    assert found.row_split.tolist() == [2, -1, -1]


def test_texts_with_labels(tmp_path: Path) -> None:
    files = [("1.txt", "grüß dich".encode()), ("1.cls", b"hello"), ("2.txt", b"bye"), ("2.cls", b"farewell")]
    found = read_examples(archive(tmp_path / "a.tar", files))
    assert isinstance(found.items, Texts) and [found.items.fetch(0), found.items.fetch(1)] == ["grüß dich", "bye"]
    assert found.class_names == ("farewell", "hello")


def test_a_folder_of_shards_is_one_collection_with_the_splits_of_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    folder.mkdir()
    archive(folder / "train-10.tar", sample("3", 3, "dog"))
    archive(folder / "train-9.tar", [*sample("1", 1, "cat"), *sample("2", 2, "dog")])
    archive(folder / "val-0.tar", sample("1", 4, "cat"))
    found = read_examples(folder)
    assert found.name == "pets"
    assert [np.asarray(found.items.fetch(row))[0, 0, 0] for row in range(4)] == [1, 2, 3, 4]
    assert found.row_split.tolist() == [0, 0, 0, 1]
    assert list(found.row_names)[-2:] == ["train-10.tar:3", "val-0.tar:1"]
    given = read_inputs([folder], (), Wanted("image"))
    assert len(given) == 4 and given.row_names[-1] == "val-0.tar:1"
    (folder / "more.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="tar archives and Parquet files"):
        read_examples(folder)


def test_folders_and_links_are_passed_over_and_nothing_is_written(tmp_path: Path) -> None:
    """Names that lead out of the folder are names of rows and no more."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.tar"
    with tarfile.open(path, "w") as made:
        for name, content in [*sample("../../1", 1, "x"), *sample("/etc/2", 2, "y"), ("2.mp3", b"sound")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        for kind, name in ((tarfile.SYMTYPE, "3.png"), (tarfile.LNKTYPE, "4.png"), (tarfile.CHRTYPE, "5.png"), (tarfile.DIRTYPE, "6.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            made.addfile(member)
    found = read_examples(path)
    assert list(found.row_names) == ["a.tar:../../1", "a.tar:/etc/2"]
    assert [one.reason for one in found.skipped] == [
        *("not an image, a text or a label (suffix '.mp3')", "a link", "a link", "not a plain file"),
    ]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar", "in"]


def test_without_labels_inputs_are_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [("1.png", photo(1)), ("2.png", photo(2))])
    assert len(read_asked(path, Asked(labelled=False))) == 2
    with pytest.raises(
        InputError, match=r"a\.tar holds no labels: expected a file 0001\.cls \(or a label in 0001\.json\) beside each 0001\.jpg\.$"
    ):
        read_examples(path)


def test_a_broken_image_and_a_missing_one_are_rows_that_cannot_be_read(tmp_path: Path) -> None:
    files = [*sample("1", 1, "x"), ("2.png", b"no image"), ("2.cls", b"y"), ("3.cls", b"x")]
    found = read_examples(archive(tmp_path / "a.tar", files))
    bad = unreadable(found)
    assert sorted(bad) == [1, 2] and bad[2] == "the picture is missing"


def cut(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda p: archive(p, []), "holds no examples: expected files of one example side by side"),
    "others": (lambda p: archive(p, [("a.mp3", b"x")]), "holds no examples"),
    "no tar": (lambda p: p.write_bytes(b"hello" * 300), r"cannot be read as a tar archive \(.*\): make it again"),
    "compressed": (lambda p: archive(p, FOUR, mode="w:gz"), "is compressed, so rows cannot be read where they lie"),
    "two images": (lambda p: archive(p, [("1.png", photo(1)), ("1.jpg", photo(1))]), "the example 1 has two images"),
    "two labels": (lambda p: archive(p, [("1.a.cls", b"x"), ("1.b.cls", b"y")]), r"two files \.cls"),
    "two places": (lambda p: archive(p, [*sample("1", 1, "x"), *sample("2", 1, "y"), *sample("1", 1, "x")]), "holds 1 in two places"),
    "json": (lambda p: archive(p, [("1.png", photo(1)), ("1.json", b"[1")]), "is not JSON"),
    "json list": (lambda p: archive(p, [("1.png", photo(1)), ("1.json", b"[1]")]), "expected one JSON object"),
    "json deep": (lambda p: archive(p, [("1.png", photo(1)), ("1.json", b"[" * 200_000)]), "is not JSON"),
    "bytes": (lambda p: archive(p, [("1.png", photo(1)), ("1.cls", b"\xff")]), "not UTF-8"),
    "large label": (lambda p: archive(p, [("1.png", photo(1)), ("1.cls", b"x" * (tar.LARGEST + 1))]), "more than the limit of 4,194,304"),
    "cut off": (lambda p: cut(archive(p, [*FOUR, ("z.png", bytes(5000))]), 7000), "is cut off|cannot be read as a tar archive"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_sentence(case: str, tmp_path: Path) -> None:
    make, said = BAD[case]
    make(tmp_path / "a.tar")
    with pytest.raises(InputError, match=said) as raised:
        read_examples(tmp_path / "a.tar")
    assert "\n" not in str(raised.value) and "a.tar" in str(raised.value)


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", FOUR)
    content = bytearray(path.read_bytes())
    place = content.index(b"b/1.png\0")
    content[place + 3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=f"the header at byte {place:,} is damaged"):
        read_examples(path)


def test_a_header_that_promises_gigabytes_fills_no_memory(tmp_path: Path) -> None:
    """A name of 8 GB in an archive of 9 kB."""
    path = tmp_path / "a.tar"
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(8192))
    with pytest.raises(InputError, match=r"cannot be read as a tar archive \(a header of 8,589,934,592 bytes\)"):
        read_examples(path)


def test_an_archive_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", FOUR)
    found = read_examples(path)
    cut(path, 2000)
    with pytest.raises(InputError, match="the archive is shorter than it was"):
        found.items.fetch(3)
