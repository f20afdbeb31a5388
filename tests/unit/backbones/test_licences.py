"""The licence of local weights, as the files beside them say it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fewtune.backbones.licences import licence_beside


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({}, None),
        ({"LICENSE": "\n  MIT License\n\nCopyright"}, "MIT License (the file LICENSE beside them)"),
        ({"README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\n# Model", "LICENSE": "MIT"}, "apache-2.0"),
        ({"README.md": "---\ntags: a\n---\nlicense: mit\n"}, None),  # not in the head of the card
        ({"README.md": "license: mit", "COPYING": "# GPL\x1b[2J"}, "GPL\ufffd[2J (the file COPYING beside them)"),
        ({"LICENSE": " \n#\n"}, None),
    ],
)
def test_what_is_beside_them_is_said(files: dict[str, str], licence: str | None, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "w.safetensors").write_bytes(b"")
    assert licence_beside(tmp_path / "w.safetensors") == licence
    assert licence_beside(tmp_path) == licence


def test_a_pipe_and_a_huge_file_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "LICENSE")
    (tmp_path / "COPYING").write_bytes(b"x" * ((1 << 20) + 1))
    assert licence_beside(tmp_path) is None
