"""Progress: on standard error alone, a bar on a terminal, a line every few seconds otherwise, also while nothing can be counted."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time

import pytest

from fewtune import progress
from fewtune.progress import Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress.time, "monotonic", made)
    return made


def test_one_line_every_four_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1000, "embedding") as bar:
        for _ in range(50):
            clock.now += 1.0
            bar.advance(20)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 12
    assert err.splitlines()[0] == "embedding: 80 of 1,000, 20/s, 46 s left"


def test_slow_steps_have_a_rate_too(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(12, "finetuning") as bar:
        clock.now += 12.0
        bar.advance(3)
    assert capsys.readouterr().err.splitlines() == ["finetuning: 3 of 12, 0.2/s, 36 s left"]


def test_what_was_done_before_is_not_in_the_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1000, "embedding") as bar:
        bar.skip(500)
        clock.now = 10.0
        bar.advance(100)
    assert capsys.readouterr().err == "embedding: 600 of 1,000, 10/s, 40 s left\n"


def test_quiet_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, "embedding", quiet=True) as bar:
        clock.now = 100.0
        bar.advance(5)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(10, "embedding") as bar:
        bar.skip(2)
        bar.advance(8)
    assert "embedding" in screen.getvalue() and "10/10" in screen.getvalue()
    assert capsys.readouterr().out == ""


def test_an_error_goes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Progress(0, "nothing") as bar:
        bar.advance(1 // 0)
    assert capsys.readouterr().out == ""


def test_rich_is_imported_only_for_a_bar() -> None:
    code = "import sys; from fewtune.progress import Progress\nwith Progress(3, 'x') as p: p.advance(3)\nassert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)


def spoken(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[float, str]], quiet: bool = False) -> None:
    """Run `waiting` by a clock that a test moves: each step waits for so many seconds, in a stage of that name ("": none)."""
    monkeypatch.setattr(progress, "SOON", 0.08)
    monkeypatch.setattr(progress, "EVERY", 0.4)
    with progress.waiting("starting", quiet=quiet):
        for seconds, name in steps:
            with progress.stage(name) if name else contextlib.nullcontext():
                time.sleep(seconds)


def test_what_takes_long_is_said_and_said_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spoken(monkeypatch, [(0.3, ""), (1.2, "reading\x1b the data")])
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines[:2] == ["starting ...", "reading\ufffd the data ..."]
    assert lines[2].startswith("reading\ufffd the data (") and lines[2].endswith(" s so far)") and 3 <= len(lines) <= 5


def test_quick_work_and_quiet_say_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spoken(monkeypatch, [(0.0, "reading"), (0.0, "writing")])
    spoken(monkeypatch, [(0.5, "reading")], quiet=True)
    assert capsys.readouterr() == ("", "")


def test_who_waits_for_others_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SOON", 0.02)
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with progress.waiting("starting"):
        with progress.resting():
            time.sleep(0.3)
        monkeypatch.setattr(progress, "SOON", 60.0)  # afterwards it counts from the end of the rest
        monkeypatch.setattr(progress, "EVERY", 60.0)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_other_words_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SOON", 0.4)
    with progress.waiting("starting"):
        for _ in range(8):
            time.sleep(0.1)
            progress.saying()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("given", "silent"), [("1", True), ("0", False)])
def test_scripts_can_ask_for_silence(given: str, silent: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from fewtune.cli import main

    monkeypatch.setenv("FEWTUNE_QUIET", given)
    monkeypatch.setattr("sys.argv", ["fewtune", "--version"])
    monkeypatch.setattr("fewtune.progress.SOON", 0.02)
    monkeypatch.setattr("fewtune.cli.app.app", lambda *_, **__: time.sleep(0.3))
    monkeypatch.setattr("fewtune.cli.lists.spread", lambda _, words: words)
    main()
    assert ("is at work" in capsys.readouterr().err) != silent
