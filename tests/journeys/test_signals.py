"""Stopped in the middle: exit code 75 and one sentence, nothing half-written, and the next run goes on where this one stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from fewtune.backbones.passes import Passes
from tests.journeys.conftest import SHAPES, Ran

Run = Callable[..., Ran]
EACH, SIDE = 20, 1800
FLAGS = ("--backbone", "pixels,size=12", "--chunk", "2", "--workers", "1")
COMPARE = ("--ways", "3", "--shots", "1", "--queries", "2", "--episodes", "3", "--method", "centroid")


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that take seconds to decode: few bytes, many pixels. Bytes after the end of a PNG make each another file."""
    root = tmp_path_factory.mktemp("album")
    for k, shape in enumerate(SHAPES):
        image = Image.new("RGB", (SIDE, SIDE), (40 * k, 90, 200))
        ImageDraw.Draw(image).rectangle((200 * k, 200, 900, 900 + 250 * k), fill=(250, 200 - 60 * k, 10))
        folder = root / shape
        folder.mkdir()
        image.save(folder / "00.png")
        content = (folder / "00.png").read_bytes()
        for i in range(1, EACH):
            (folder / f"{i:02d}.png").write_bytes(content + bytes([i]))
    return root


def start(*args: object, cache: Path) -> subprocess.Popen[str]:
    """The real command in a process of its own, in which Ctrl-C means what it means in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "fewtune", *map(str, args)],
        env={**os.environ, "FEWTUNE_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def until_some_rows_are_written(process: subprocess.Popen[str], cache: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # small files come and go
            if any(f.stat().st_size > 1 << 13 for f in cache.iterdir()):
                return
        time.sleep(0.005)
    process.kill()
    raise AssertionError(f"nothing was embedded: {process.communicate()}")


def rows_done(cache: Path) -> int:
    """How many rows the table keeps for the next run."""
    notes = [json.loads(f.read_bytes()) for f in cache.iterdir() if f.read_bytes()[:1] == b"{"]
    assert len(notes) == 1
    return int(notes[0]["done"])


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows go through the backbone in this process, pass by pass."""
    sizes: list[int] = []
    forward = Passes.forward

    def counted(self: Passes, weights: Any, inputs: Any, **options: Any) -> Any:
        sizes.append(len(inputs))
        return forward(self, weights, inputs, **options)

    monkeypatch.setattr(Passes, "forward", counted)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize(("command", "number"), [("adapt", signal.SIGTERM), ("compare", signal.SIGINT)])
def test_a_signal_ends_well_and_the_next_run_goes_on(
    fewtune: Run, album: Path, tmp_path: Path, embedded: list[int], command: str, number: signal.Signals
) -> None:
    cache, out = tmp_path / "tables", tmp_path / "runs" / "one"
    asked = [command, album, *FLAGS, *(COMPARE if command == "compare" else ()), "--out", out]
    cache.mkdir()
    process = start(*asked, cache=cache)
    until_some_rows_are_written(process, cache)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert said.strip().count("\n") == 0 and said.startswith("fewtune: stopped"), said
    assert not out.exists() and (not out.parent.exists() or list(out.parent.iterdir()) == [])
    done, total = rows_done(cache), EACH * len(SHAPES)
    assert 0 < done < total
    ran = fewtune(*asked, "--cache", cache)
    assert ran.code == 0, ran.err
    probed = 16 if command == "adapt" else 0  # adapt times a few rows first, and a step of finetuning on as many
    assert sum(embedded) == total - done + probed
    assert (out / "fewtune.json").is_file() and [f.suffix for f in cache.iterdir()] == [".npy"]


@pytest.mark.slow
def test_kill_9_breaks_nothing(fewtune: Run, album: Path, tmp_path: Path) -> None:
    cache, out = tmp_path / "tables", tmp_path / "runs" / "one"
    cache.mkdir()
    asked = ("adapt", album, *FLAGS, "--method", "centroid")
    process = start(*asked, "--out", out, cache=cache)
    until_some_rows_are_written(process, cache)
    process.kill()
    process.communicate(timeout=60)
    assert not out.exists()
    (out.parent / f".{out.name}.abcdefgh.tmp").mkdir(parents=True)  # what dying in the middle of a save leaves
    ran = fewtune(*asked, "--cache", cache, "--out", out)
    assert ran.code == 0, ran.err
    clean = fewtune(*asked, "--cache", tmp_path / "other", "--out", tmp_path / "clean")
    assert clean.code == 0
    assert (out / "head.safetensors").read_bytes() == (tmp_path / "clean" / "head.safetensors").read_bytes()
    assert fewtune("predict", out, album / SHAPES[0] / "00.png").code == 0


def test_a_second_signal_ends_at_once() -> None:
    script = (
        "import time\nfrom fewtune.cli.stop import Stopped, stop_on_signals\nstop_on_signals()\n"
        "try:\n print('ready', flush=True)\n time.sleep(60)\nexcept Stopped:\n print('unwinding', flush=True)\n time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        process.send_signal(signal.SIGTERM)
        said.append(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert said == ["ready\n", "unwinding\n"]
    assert process.returncode == 128 + signal.SIGTERM


def test_signals_that_were_ignored_stay_ignored() -> None:
    """Under nohup, or as a job in the background of a script, a run goes on."""
    script = (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom fewtune.cli.stop import stop_on_signals\n"
        "stop_on_signals()\nos.kill(os.getpid(), signal.SIGINT)\nprint('went on')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "went on\n"


@pytest.mark.parametrize("args", [["--help"], ["adapt", "--help"], ["--version"], ["adpt"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    script = (
        f"import sys\nsys.argv = {['fewtune', *args]!r}\nimport fewtune.cli\ntry:\n fewtune.cli.main()\nexcept SystemExit:\n pass\n"
        "heavy = {'torch', 'numpy', 'transformers', 'scipy', 'sklearn', 'pyarrow', 'PIL', 'pandas', 'timm', 'open_clip', 'matplotlib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("heavy: []"), ran.stdout


def test_importing_fewtune_imports_nothing_heavy() -> None:
    script = "import fewtune, sys; print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
