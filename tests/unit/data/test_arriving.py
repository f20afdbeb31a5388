"""Files that arrive: given once, when they are complete."""

from __future__ import annotations

import os
from pathlib import Path

from fewtune.data.reading.arriving import Arriving


def test_a_file_is_given_once_when_it_no_longer_changes(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"1")
    arriving = Arriving(tmp_path, "image")
    assert arriving.complete() == []  # it might still grow
    assert arriving.complete() == [tmp_path / "old.png"] and arriving.complete() == []
    for size in (1, 2, 3):  # it grows
        (tmp_path / "new.png").write_bytes(b"1" * size)
        assert arriving.complete() == []
    assert arriving.complete() == [tmp_path / "new.png"]


def test_a_file_of_the_same_size_that_is_written_again_is_given_again(tmp_path: Path) -> None:
    file, arriving = tmp_path / "a.png", Arriving(tmp_path, "image")
    file.write_bytes(b"1")
    assert [arriving.complete(), arriving.complete()] == [[], [file]]
    file.write_bytes(b"2")
    os.utime(file, ns=(0, 10**9))
    assert [arriving.complete(), arriving.complete(), arriving.complete()] == [[], [file], []]


def test_what_is_no_whole_file_of_the_kind_waits_or_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()  # a program has opened it
    (tmp_path / ".hidden.png").write_bytes(b"1")
    (tmp_path / "half.png.part").write_bytes(b"1")
    (tmp_path / "text.txt").write_bytes(b"1")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "2.png").write_bytes(b"1")
    (tmp_path / "deep" / "er" / "10.png").write_bytes(b"1")
    arriving = Arriving(tmp_path, "image")
    arriving.complete()
    assert arriving.complete() == [tmp_path / "deep" / "er" / "2.png", tmp_path / "deep" / "er" / "10.png"]
    (tmp_path / "half.png.part").rename(tmp_path / "half.png")
    arriving.complete()
    assert arriving.complete() == [tmp_path / "half.png"]
