"""The door: whatever is wrong with the process around a command, one sentence and a code, and what was saved is saved."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewtune.cli.endings import BUG, INTERRUPTED, USAGE, ending
from fewtune.errors import InputError
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]


def shell(tmp_path: Path, command: str, **more: str | None) -> subprocess.CompletedProcess[str]:
    """A command of a shell in which $F is fewtune; a variable that is None is unset."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FEWTUNE_CACHE": str(tmp_path / "cache"), "F": f"{sys.executable} -m fewtune"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | {name: value for name, value in more.items() if value is not None}
    environment = {name: value for name, value in environment.items() if name not in more or more[name] is not None}
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)


def one_sentence(said: str) -> bool:
    return said.startswith("fewtune: ") and said.count("\n") == 1


@pytest.fixture
def saved(fewtune: Run, embeddings: Path, tmp_path: Path) -> Path:
    """A folder with embeddings.npz and a model `run` made of them."""
    assert fewtune("adapt", embeddings, "--method", "centroid", "--out", tmp_path / "run", "--quiet").code == 0
    return tmp_path


@pytest.mark.slow
def test_a_closed_stream_is_one_to_the_null_device(saved: Path) -> None:
    ran = shell(saved, "$F adapt embeddings.npz --method centroid --out again --quiet <&- >&- 2>&-")
    assert ran.returncode == 0 and (saved / "again" / "fewtune.json").is_file()
    ran = shell(saved, "$F predict run embeddings.npz --format json --quiet 2>&-")
    assert ran.returncode == 0 and len(json.loads(ran.stdout)) == 360
    ran = shell(saved, "$F inspect embeddings.npz >&-")
    assert ran.returncode == 0 and ran.stderr == ""
    ran = shell(saved, "$F inspect nope 2>&-")
    assert ran.returncode == 2 and ran.stdout == ""
    ran = shell(saved, "$F inspect nope >&-")
    assert ran.returncode == 2 and one_sentence(ran.stderr)


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    ran = shell(tmp_path, "$F --version > /dev/full")
    assert ran.returncode == 2 and one_sentence(ran.stderr) and "disk is full" in ran.stderr
    ran = shell(tmp_path, "$F --version 1</dev/null")
    assert ran.returncode == 2 and one_sentence(ran.stderr)
    ran = shell(tmp_path, "$F --nonsense 2> /dev/full")
    assert ran.returncode == 2 and ran.stdout == ""


def test_a_reader_that_went_away(tmp_path: Path) -> None:
    ran = shell(tmp_path, "(sleep 0.5; $F --help; echo $? >&2) | true")
    assert ran.stderr == "0\n"


def test_a_current_folder_that_is_gone(saved: Path) -> None:
    ran = shell(saved, f"mkdir gone; cd gone; rmdir ../gone; $F adapt {saved}/embeddings.npz --method centroid --out out --quiet")
    assert ran.returncode == 2 and one_sentence(ran.stderr) and "current folder does not exist" in ran.stderr
    assert not (saved / "gone").exists()


@pytest.mark.slow
def test_no_file_can_be_made(saved: Path) -> None:
    """`predict` writes nothing, so it works; `adapt` says why it cannot."""
    ran = shell(saved, "ulimit -f 0; $F predict run embeddings.npz --format csv --quiet | cat")
    assert ran.stderr == "" and len(ran.stdout.splitlines()) == 361
    ran = shell(saved, "ulimit -f 0; $F adapt embeddings.npz --method centroid --out out --quiet 2>&1 >/dev/null | cat")
    assert one_sentence(ran.stdout) and not (saved / "out").exists() and not list(saved.glob(".out*"))


HOMELESS = "unshare -U --map-user=54321 --map-group=54321 env -u HOME"


@pytest.mark.slow
def test_no_home(saved: Path, photos: Path) -> None:
    if shell(saved, f"{HOMELESS} true").returncode:
        pytest.skip("this system lets nobody be another user")
    wanted = f"{HOMELESS} $F adapt {photos} --backbone pixels,size=12 --method centroid --out {saved}/homeless --quiet"
    ran = shell(saved, wanted, FEWTUNE_CACHE=None)
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    ran = shell(saved, f"{HOMELESS} $F doctor", FEWTUNE_CACHE=None)
    assert "Traceback" not in ran.stderr and "there is no home folder" in ran.stdout
    ran = shell(saved, f"{HOMELESS} $F inspect '~/photos'")
    assert ran.returncode == 2 and one_sentence(ran.stderr) and "set HOME" in ran.stderr


def test_an_unknown_user_home(fewtune: Run) -> None:
    ran = fewtune("inspect", "~nobody-of-this-name/photos")
    assert ran.code == 2 and "home folder" in ran.err and ran.err.count("\n") == 1


class PanicException(BaseException):
    """A Rust panic as Python sees it: no Exception."""

    __module__ = "pyo3_runtime"


MEMORY = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype("f4")),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    RuntimeError("can't start new thread"),
    ImportError("libx.so: failed to map segment from shared object: Cannot allocate memory"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("problem", MEMORY, ids=repr)
def test_too_little_memory_is_said(problem: BaseException) -> None:
    end = ending(problem)
    assert end.code == USAGE and end.sentence.startswith("there is not enough memory")


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (InputError("a\n\x1b[31mb"), USAGE, "a \ufffd[31mb"),
        (KeyboardInterrupt(), INTERRUPTED, "run the same command again"),
        (BrokenPipeError(), 0, ""),
        (OSError(errno.ENOSPC, "No space left on device", "x\ny"), USAGE, "the disk is full (x y)"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), USAGE, "/a: Permission denied."),
        (OSError("odd"), USAGE, "the system refused: OSError: odd."),
        (RecursionError("maximum"), USAGE, "nested too deeply"),
        (ImportError("no x"), USAGE, "fewtune doctor"),
        (PanicException("called unwrap\nat line"), USAGE, "a file of the input cannot be read (PanicException: called unwrap)"),
        (json.JSONDecodeError("Expecting", "x", 0), USAGE, "a file of the input cannot be read"),
        (KeyError("x"), BUG, "this is a bug in fewtune"),
        (ValueError("x"), BUG, "FEWTUNE_DEBUG=1"),
        (AssertionError(), BUG, "please report it (AssertionError)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_end(problem: BaseException, code: int, words: str) -> None:
    end = ending(problem)
    assert end.code == code and words in end.sentence and "\n" not in end.sentence


def test_a_bug_has_a_sentence_and_a_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], embeddings: Path
) -> None:
    from fewtune.cli import main
    from fewtune.data import audit

    def broken(*_given: object, **_named: object) -> None:
        raise KeyError("\x1b[31mx")

    monkeypatch.setattr(audit, "inspect_examples", broken)
    monkeypatch.setattr("sys.argv", ["fewtune", "inspect", str(embeddings)])
    monkeypatch.setattr("fewtune.cli.stop.stop_on_signals", lambda: None)
    for debug in ("0", "1"):
        monkeypatch.setenv("FEWTUNE_DEBUG", debug)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == BUG and ("Traceback" in said) == (debug == "1")
        assert debug == "1" or (one_sentence(said) and "\x1b" not in said)


def test_only_one_module_prints() -> None:
    """Names become harmless where they leave the program; a print elsewhere would go round that."""
    import ast

    import fewtune

    root = Path(fewtune.__file__).parent
    for path in root.rglob("*.py"):
        if path.relative_to(root).as_posix() in ("cli/say.py", "cli/__init__.py", "progress.py"):
            continue
        calls = [n.func.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert "print" not in calls, path


EVIL = "a\n\x1b[31mfewtune: all is well\x1b]0;owned\x07\x9b1m\u202e"


def test_names_reach_the_terminal_clean(fewtune: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", x=random.random((6, 3), dtype="f4"), y=np.array([EVIL] * 3 + ["b"] * 3))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"path": f"{EVIL}.png", "label": label}) + "\n" for label in "xy"))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": f"{EVIL} {i}", "label": EVIL if i else "x"}) + "\n" for i in range(2)))
    said = [fewtune(*words) for words in (("inspect", tmp_path / "p.jsonl"), ("inspect", tmp_path / "t.jsonl"), ("inspect", EVIL))]
    said.append(fewtune("adapt", tmp_path / "v.npz", "--out", tmp_path / "run", "--quiet"))
    said.append(fewtune("predict", tmp_path / "run", tmp_path / "v.npz"))
    said.append(fewtune("evaluate", tmp_path / "run", tmp_path / "v.npz", "--include-learned"))
    said.append(fewtune("adapt", tmp_path / "v.npz", "--out", tmp_path / "run", f"--{EVIL}"))
    for ran in said:
        assert not set("\x1b\x07\x9b\u202e") & set(ran.out + ran.err), (ran.out, ran.err)
        assert "\nfewtune: all is well" not in ran.out + ran.err and ran.err.count("\n") <= 1
    answers = json.loads(fewtune("predict", tmp_path / "run", tmp_path / "v.npz", "--format", "json").out)
    assert {a["label"] for a in answers} == {EVIL, "b"}  # programs get the very names
