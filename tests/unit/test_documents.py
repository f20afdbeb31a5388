"""The documents against the code: the drawn floors are those of the import contract, and every file that is named exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "fewtune"


def floors_of(document: str) -> list[str]:
    """The lines of the drawing that starts with the command line, from the top."""
    drawn = re.search(r"^```\n(cli\b[^\n]*\n.*?)```", document, re.DOTALL | re.MULTILINE)
    assert drawn, "CONTRIBUTING.md has no drawing of the floors"
    return [line for line in drawn.group(1).splitlines() if line.strip() != "|"]


def test_the_drawn_floors_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert floors_of((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")) == layers


def test_a_drawing_is_read_floor_by_floor() -> None:
    assert floors_of("```\ncli\n |\na | b\n |\nerrors\n```\n") == ["cli", "a | b", "errors"]


FIGURES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs" / "reproductions").glob("*.md"))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/benchmarks.md", "SECURITY.md", *FIGURES])
def test_every_file_that_is_named_exists(document: str) -> None:
    words = re.findall(r"`([\w./-]+)`", (ROOT / document).read_text(encoding="utf-8"))
    named = [word for word in words if word.endswith((".py", ".md")) or re.fullmatch(r"[a-z_]+(/[a-z_]+)*/", word)]
    users = {"photos/", "models/"} if document == "README.md" else set()  # folders of a user, in examples
    here = [ROOT, SOURCES, *SOURCES.iterdir()]  # a file may be named within its room, as the table of rooms does
    missing = [word for word in named if word not in users and not any((folder / word).exists() for folder in here)]
    assert not missing, f"{document} names files that do not exist: {', '.join(missing)}"
