"""The walk that every reader of folders shares: order, links, depth, and what is no plain file."""

from __future__ import annotations

import os
from pathlib import Path

from fewtune.data.examples import Skipped
from fewtune.data.reading.walk import walk


def found(root: Path, recursive: bool = True) -> tuple[list[str], dict[str, str]]:
    skipped: list[Skipped] = []
    files = [path.relative_to(root).as_posix() for path in walk(root, skipped, recursive)]
    return files, {s.name: s.reason for s in skipped}


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def test_natural_order_with_folders_in_their_place(tmp_path: Path) -> None:
    for name in ("b/10.txt", "b/9.txt", "a.txt", "c.txt", "b/.hidden/1.txt", ".x", "b/2/3.txt"):
        put(tmp_path / name)
    assert found(tmp_path) == (["a.txt", "b/2/3.txt", "b/9.txt", "b/10.txt", "c.txt"], {})
    assert found(tmp_path, recursive=False) == (["a.txt", "c.txt"], {})


def test_links_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    put(root / "a" / "1.txt")
    put(other / "2.txt")
    (root / "b").symlink_to(other)
    (root / "c").symlink_to(other)
    (root / "a" / "back").symlink_to(root)
    (root / "a" / "up").symlink_to("/")
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "a" / "gone").symlink_to(root / "nowhere")
    (root / "zero").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe")
    files, skipped = found(root)
    assert files == ["a/1.txt", "b/2.txt"]
    assert skipped == {
        "a/back": "a link to a folder that was read already",
        "a/up": "a link to a folder that holds this one",
        "a/self": "a broken link or not a plain file",
        "a/gone": "a broken link or not a plain file",
        "c": "a link to a folder that was read already",
        "pipe": "a broken link or not a plain file",
        "zero": "a broken link or not a plain file",
    }


def test_folders_deeper_than_the_recursion_limit(tmp_path: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            os.mkdir("d")  # noqa: PTH102  (one path of all would be longer than a call takes)
            os.chdir("d")
        Path("1.txt").write_bytes(b"x")
        os.chdir(tmp_path)
        assert found(tmp_path) == (["d/" * 1100 + "1.txt"], {})
    finally:
        os.chdir(tmp_path)
        os.system("rm -rf d")
        os.chdir(here)


def test_paths_longer_than_the_system_takes_are_said(tmp_path: Path) -> None:
    here, name = Path.cwd(), "n" * 200
    try:
        os.chdir(tmp_path)
        for _ in range(30):
            os.mkdir(name)  # noqa: PTH102
            os.chdir(name)
        os.chdir(tmp_path)
        files, skipped = found(tmp_path)
        assert files == [] and len(skipped) == 1 and all("not a plain file" in r or "cannot be read" in r for r in skipped.values())
    finally:
        os.chdir(tmp_path)
        os.system(f"rm -rf {name}")
        os.chdir(here)
