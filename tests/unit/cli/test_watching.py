"""Answers that are added to a file: whole lines, one header, whoever else adds to it and however full the disk is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fewtune.cli.watching import add_line

resource = pytest.importorskip("resource")

MANY = """
import sys
from pathlib import Path
from fewtune.cli.watching import add_line
for number in range(60):
    add_line(Path(sys.argv[1]), f"{sys.argv[2]}-{number}," + "x" * 3000 + "\\n", "input,label\\n")
"""
FULL = """
import resource, sys
from pathlib import Path
from fewtune.cli.watching import add_line
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
out = Path(sys.argv[1])
for number in range(9):
    try:
        add_line(out, '{"input": "%030d"}\\n' % number)
    except OSError as problem:
        print(number, problem.errno, out.stat().st_size)
"""


def test_two_programs_add_whole_lines_under_one_header(tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    started = [subprocess.Popen([sys.executable, "-c", MANY, str(out), name]) for name in ("a", "b")]
    assert [one.wait(timeout=120) for one in started] == [0, 0]
    lines = out.read_text().splitlines()
    assert lines[0] == "input,label" and lines.count("input,label") == 1 and len(lines) == 121
    assert sorted(line.split(",")[0] for line in lines[1:]) == sorted(f"{name}-{number}" for name in "ab" for number in range(60))
    assert {len(line.split(",")[1]) for line in lines[1:]} == {3000}


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    ran = subprocess.run([sys.executable, "-c", FULL, str(out)], capture_output=True, text=True, check=True, timeout=120)
    refused = [line.split() for line in ran.stdout.splitlines()]
    assert len(refused) == 7 and {size for _, _, size in refused} == {"88"}  # two lines of 44 bytes fit
    assert [json.loads(line)["input"] for line in out.read_text().splitlines()] == ["0" * 30, f"{1:030d}"]


def test_what_was_there_stays(tmp_path: Path) -> None:
    out = tmp_path / "new" / "answers.csv"
    for name in "ab":
        add_line(out, f"{name},1\n", "input,label\n")
    assert out.read_text() == "input,label\na,1\nb,1\n"
