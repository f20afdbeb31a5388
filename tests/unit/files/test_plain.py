"""Files are opened only where they are files, and names are shown on one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fewtune.errors import InputError
from fewtune.files import open_regular, read_regular, sha256
from fewtune.words import one_line


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "plain"
    file.write_bytes(b"four")
    with open_regular(file) as opened:
        assert opened.read() == b"four"
    assert read_regular(file, most=4) == b"four"


def test_more_than_the_most_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plain"
    file.write_bytes(b"four")
    with pytest.raises(InputError, match="more than 3 bytes"):
        read_regular(file, most=3)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    file = tmp_path / kind
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    for read in (open_regular, read_regular, sha256):
        with pytest.raises(InputError, match="not a plain file"):
            read(file)


def test_names_neither_move_the_cursor_nor_turn_the_text() -> None:
    assert one_line("a\nb\x1b[31mc\u202ed\x07") == "a b\ufffd[31mc\ufffdd\ufffd"
