"""Command lines by the hundred: an answer or one sentence, whatever is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.journeys.conftest import Ran

COMMANDS = ("adapt", "predict", "evaluate", "add-class", "export", "compare", "inspect", "suggest", "adap", "")
VALUES = ("--", "-", "--out", "--method", "--shots", "--format", "--budget", "--weights", "--source", "--quiet", "--sweep", "--rates")
PLACES = (
    "nowhere",
    "empty",
    "text.csv",
    "none.npz",
    ".",
    "~nobody-of-this-name",
    "1",
    "-1",
    "1e999",
    "nan",
    "json",
    "x=1",
    "\x1b[31m",
    "a\nb",
    "",
)


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(COMMANDS), words=st.lists(st.sampled_from((*VALUES, *PLACES)) | st.text(max_size=8), max_size=6))
def test_any_command_line(
    fewtune: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    (tmp_path / "here" / "empty").mkdir(parents=True, exist_ok=True)
    (tmp_path / "here" / "text.csv").write_text("text,label\nonly one,x\n")
    (tmp_path / "here" / "none.npz").write_bytes(b"no archive")
    monkeypatch.chdir(tmp_path / "here")
    ran = fewtune(command, *(word.replace("\0", "") for word in words))
    assert ran.code in (0, 2), (ran.code, ran.err)
    if ran.code == 2:
        assert ran.err.startswith("fewtune: ") and ran.err.count("\n") == 1 and not set("\x1b\x07") & set(ran.err), ran.err
