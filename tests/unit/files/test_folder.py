"""Folders that fewtune writes: of several writers one gets the name, what is not fewtune's stays, and no moment loses anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fewtune.errors import InputError
from fewtune.files import exchange as exchange_module
from fewtune.files import foreign, grow, new_folder, read_record, recover, refuse_existing, remove, written
from fewtune.files.exchange import exchange, take


def tree(folder: Path) -> dict[str, str]:
    """Every file by its path, with what is in it."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def saved(path: Path, *, overwrite: bool = False, **files: str) -> Path:
    with new_folder(path, overwrite=overwrite) as folder:
        for name, content in files.items():
            (folder / name).write_text(content)
    return path


def plain(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "fewtune.json").write_text(content)
    return path


@pytest.fixture(params=["at once", "by two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of changing places."""
    if request.param == "by two renames":
        monkeypatch.setattr(exchange_module, "_system_swap", lambda: None)
    return str(request.param)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    new = plain(tmp_path / "new", "new")
    (tmp_path / "file").write_text("mine")
    plain(tmp_path / "full", "mine")
    (tmp_path / "link").symlink_to("full")
    for name in ("file", "full", "link"):
        with pytest.raises(FileExistsError):
            take(new, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine" and tree(tmp_path / "link") == {"fewtune.json": "mine"}
    (tmp_path / "empty").mkdir()
    take(new, tmp_path / "empty")
    take(tmp_path / "empty", tmp_path / "absent")
    assert tree(tmp_path / "absent") == {"fewtune.json": "new"} and not new.exists() and not (tmp_path / "empty").exists()


def test_two_folders_change_places(way: str, tmp_path: Path) -> None:
    new, place = plain(tmp_path / ".place.x.tmp", "new"), plain(tmp_path / "place", "old")
    old = exchange(new, place)
    assert tree(place) == {"fewtune.json": "new"} and tree(old) == {"fewtune.json": "old"}
    assert (old == new) == (way == "at once") and len(list(tmp_path.iterdir())) == 2


def test_a_reader_may_put_the_old_one_back_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer sees it, and moves it aside again."""
    monkeypatch.setattr(exchange_module, "_system_swap", lambda: None)
    new, place = plain(tmp_path / ".place.x.tmp", "new"), plain(tmp_path / "place", "old")
    rename, renames = Path.rename, list[str]()

    def watched(self: Path, target: Path) -> Path:
        done = rename(self, target)
        renames.append(target.name)
        if len(renames) == 1:
            recover(place)
        return done

    monkeypatch.setattr(Path, "rename", watched)
    old = exchange(new, place)
    assert tree(place) == {"fewtune.json": "new"} and tree(old) == {"fewtune.json": "old"}
    assert [name == "place" for name in renames] == [False, True, False, True]


def test_a_signal_between_two_renames_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "_system_swap", lambda: None)
    place = saved(tmp_path / "place", a="old")
    rename = Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if target.suffix != ".old" and self.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        saved(place, overwrite=True, a="new")
    assert (place / "a").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["place"]


KILLED = """
import os, pathlib, signal, sys
from fewtune.files import exchange, new_folder
exchange._system_swap = lambda: None
rename = pathlib.Path.rename
def then_killed(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.rename = then_killed
with new_folder(pathlib.Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "a").write_text("new")
"""


def test_kill_9_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", a="old")
    (run / "photo.png").write_text("mine")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(run)], capture_output=True, text=True)
    assert ended.returncode == -9 and not run.exists(), ended.stderr
    with pytest.raises(InputError, match="exists already"):  # whoever looks puts it back
        refuse_existing(run, overwrite=False)
    assert (run / "a").read_text() == "old" and (run / "photo.png").read_text() == "mine"
    for left in tmp_path.glob(".run.*"):
        os.utime(left, (1, 1))
    later = run.stat().st_ctime + 4000
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("time.time", lambda: later)
        saved(run, overwrite=True, a="newer")
    assert (run / "a").read_text() == "newer" and (run / "photo.png").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_nothing_is_put_back_over_what_stands_or_from_a_strangers_folder(tmp_path: Path) -> None:
    (tmp_path / ".run.0.old").mkdir()
    recover(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    plain(tmp_path / ".run.1.old", "1")
    plain(tmp_path / "run", "2")
    recover(tmp_path / "run")
    assert tree(tmp_path / "run") == {"fewtune.json": "2"} and (tmp_path / ".run.1.old").exists()


WRITER = """
import pathlib, sys, time
from fewtune.errors import InputError
from fewtune.files import exchange, new_folder
path, who, way, flag = sys.argv[1:]
if way != "at once":
    exchange._system_swap = lambda: None
try:
    with (made := new_folder(pathlib.Path(path), overwrite=flag == "overwrite", elsewhere=flag != "here")) as folder:
        (folder / "who").write_text(who)
        time.sleep(0.3)
    print(made.where)
except InputError as refused:
    print(refused)
"""


@pytest.mark.parametrize("flag", ["", "here", "overwrite"])
def test_writers_at_once(way: str, flag: str, tmp_path: Path) -> None:
    """Without overwrite one gets the place, and the others a place beside it, or are told where it must be here. With overwrite each
    of them gets it, and the last one's folder stands."""
    run = tmp_path / "run"
    if flag == "overwrite":
        saved(run, who="nobody")
        (run / "photo.png").write_text("mine")
    words = [[sys.executable, "-c", WRITER, str(run), str(i), way, flag] for i in range(5)]
    processes = [subprocess.Popen(w, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for w in words]
    said = [process.communicate(timeout=60) for process in processes]
    ended = [out.strip() for out, _ in said]
    if flag == "overwrite":
        assert ended == [str(run)] * 5, said
        assert (run / "photo.png").read_text() == "mine" and (run / "who").read_text() in "01234"
    elif flag == "here":
        assert ended.count(str(run)) == 1 and sum("exists already" in e for e in ended) == 4, said
        assert (run / "who").read_text() == str(ended.index(str(run)))
    else:
        places = [run, *(run.with_name(f"run-{n}") for n in (2, 3, 4, 5))]
        assert sorted(ended) == sorted(map(str, places)), said
        assert all((place / "who").read_text() == str(ended.index(str(place))) for place in places)
    if way == "at once" and flag:
        assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_is_made_meanwhile_is_not_touched(tmp_path: Path) -> None:
    for overwrite, reason in ((False, "exists already"), (True, "was not written by fewtune")):
        path = tmp_path / str(overwrite)
        with pytest.raises(InputError, match=reason), new_folder(path, overwrite=overwrite, elsewhere=False) as folder:
            (folder / "a").write_text("ours")
            path.mkdir()
            (path / "precious.txt").write_text("mine")
        assert tree(path) == {"precious.txt": "mine"}
    assert len(list(tmp_path.iterdir())) == 2


def test_finished_work_goes_beside_what_was_made_meanwhile(tmp_path: Path) -> None:
    path, full = tmp_path / "run", tmp_path / "run-2"
    full.mkdir()
    (full / "old.txt").write_text("mine too")
    with (made := new_folder(path)) as folder:
        (folder / "a").write_text("ours")
        path.mkdir()
        (path / "precious.txt").write_text("mine")
    assert made.where == tmp_path / "run-3" and (made.where / "a").read_text() == "ours"
    assert tree(path) == {"precious.txt": "mine"} and tree(full) == {"old.txt": "mine too"}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.usefixtures("way")
def test_overwrite_keeps_what_fewtune_did_not_write(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", a="1", gone="1", edited="1")
    (run / "photos" / "ant").mkdir(parents=True)
    (run / "photos" / "ant" / "0.png").write_text("photo")
    (run / "empty").mkdir(mode=0o700)
    (run / "photos").chmod(0o500)
    (run / "notes.txt").write_text("a year of work")
    (run / "edited").write_text("2")
    (run / "link").symlink_to("photos", target_is_directory=True)
    (run / "dangling").symlink_to("nowhere")
    assert foreign(run) == ["dangling", "edited", "link", "notes.txt", "photos/ant/0.png"]
    saved(run, overwrite=True, a="3")
    found = tree(run)
    assert found.pop("fewtune.json") and {n: found[n] for n in found if not n.startswith("link")} == {
        "a": "3",
        "edited": "2",
        "notes.txt": "a year of work",
        "photos/ant/0.png": "photo",
    }
    assert str((run / "link").readlink()) == "photos" and str((run / "dangling").readlink()) == "nowhere"
    assert (run / "empty").stat().st_mode & 0o777 == 0o700 and (run / "photos").stat().st_mode & 0o777 == 0o500
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and written(run) is not None and set(written(run) or ()) == {"a"}
    (run / "photos").chmod(0o700)


def test_overwrite_copies_where_the_disk_has_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", none)
    run = saved(tmp_path / "run", a="1")
    (run / "notes.txt").write_text("mine")
    saved(run, overwrite=True, a="2")
    assert (run / "a").read_text() == "2" and (run / "notes.txt").read_text() == "mine" and [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["a", "mine"])
def test_a_file_that_would_have_to_be_replaced_is_named(name: str, tmp_path: Path) -> None:
    """Before the work where it is known what will be written, else after it; everything stays as it was."""
    run = saved(tmp_path / "run", a="1", b="1")
    (run / name).write_text("edited")
    before = tree(run)
    with pytest.raises(InputError, match=rf"{run / name} was edited or not written by fewtune"):
        refuse_existing(run, overwrite=True, writes=("b", name))
    refuse_existing(run, overwrite=True, writes=("b", "c"))
    with pytest.raises(InputError, match=rf"{run / name} was edited or not written by fewtune"):
        saved(run, overwrite=True, **{"b": "2", name: "2"})
    assert tree(run) == before and [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("kind", ["file where a folder is to be", "folder where a file is to be"])
def test_files_and_folders_do_not_replace_each_other(kind: str, tmp_path: Path) -> None:
    run = saved(tmp_path / "run", b="1")
    mine = run / "a" if kind.startswith("file") else run / "a" / "deep"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=rf"{run / 'a'}.* would be replaced"), new_folder(run, overwrite=True) as folder:
        if kind.startswith("file"):
            (folder / "a").mkdir()
            (folder / "a" / "x").write_text("2")
        else:
            (folder / "a").write_text("2")
    assert mine.read_text() == "mine" and (run / "b").read_text() == "1" and [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("record", ["{}", "[]", "", '{"files": {}, "digest": "0"}', "\xff" * 9])
def test_a_strangers_folder_is_not_overwritten(record: str, tmp_path: Path) -> None:
    mine = plain(tmp_path / "mine", record)
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="was not written by fewtune"):
        saved(mine, overwrite=True, a="1")
    assert tree(mine) == {"fewtune.json": record, "thesis.txt": "years of work"} and [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_changed_manifest_is_no_manifest(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", a="1")
    content = (run / "fewtune.json").read_bytes()
    (run / "fewtune.json").write_bytes(content.replace(b'"a"', b'"b"'))
    with pytest.raises(InputError, match=r"its fewtune.json was changed since"):
        saved(run, overwrite=True, a="2")
    assert (run / "a").read_text() == "1"


def test_what_a_killed_process_left_is_swept_away_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half, whole, stranger, other = (tmp_path / f".{name}.abc.tmp" for name in ("run", "run", "run", "walk"))
    half, whole, stranger = (tmp_path / f".run.{name}.tmp" for name in ("half", "whole", "stranger"))
    for folder in (half, stranger, other):
        folder.mkdir()
        (folder / "x").write_text("x")
    (half / ".unfinished").touch()
    saved(whole, a="1")
    (whole / "mine").write_text("mine")
    saved(tmp_path / "run", a="2")
    later = whole.stat().st_ctime + 4000
    assert all(folder.exists() for folder in (half, whole, stranger, other))  # young ones stay
    monkeypatch.setattr("time.time", lambda: later)
    saved(tmp_path / "run", overwrite=True, a="3")
    assert not half.exists() and tree(whole) == {"mine": "mine"} and tree(stranger) == tree(other) == {"x": "x"}


def test_a_folder_that_grows_knows_its_own_files(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", **{"a": "1", "fewtune.json": '{"grows": true}'})
    grow(run, run / "deep" / "b", b"1")
    with open(run / "written.txt", "a") as torn:
        torn.write("\n0123 dee")  # killed while it was listing a file
    grow(run, run / "deep" / "b", b"2")
    grow(run, run / "c", b"1")
    (run / "deep" / ".b.abcdefgh.tmp").write_text("half")  # killed while it was writing one
    assert foreign(run) == []
    (run / "c").write_text("edited")
    (run / "deep" / "notes").write_text("mine")
    (run / "deep" / ".notes.abcdefgh.tmp").write_text("mine")
    assert foreign(run) == ["c", "deep/.notes.abcdefgh.tmp", "deep/notes"]
    remove(run)
    assert tree(run) == {"c": "edited", "deep/.notes.abcdefgh.tmp": "mine", "deep/notes": "mine"}
    with pytest.raises(ValueError):
        read_record(plain(tmp_path / "other", "no JSON"))


@pytest.mark.parametrize("name", ["written.txt", ".a.holidays.tmp"])
def test_a_users_file_of_a_name_that_fewtune_uses_elsewhere_stays(name: str, tmp_path: Path) -> None:
    run = saved(tmp_path / "run", a="1")
    (run / name).write_text("0123 a\nmine")
    assert foreign(run) == [name]
    saved(run, overwrite=True, a="2")
    assert (run / name).read_text() == "0123 a\nmine" and (run / "a").read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
