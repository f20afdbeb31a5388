"""What the tests reach, room by room, by the coverage.json of `pytest --cov --cov-branch --cov-report=json`; exits 1 below the bars."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

LINES = 90.0  # percent of all lines
BRANCHES = 85.0  # percent of the branches of each of these rooms
ROOMS = ("adaptation", "sources", "sides", "learners", "evaluation")


def percent(done: int, all_of: int) -> float:
    """Of nothing, all is reached."""
    return 100.0 * done / all_of if all_of else 100.0


def main(path: Path = Path("coverage.json")) -> int:
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, entry in json.loads(path.read_text(encoding="utf-8"))["files"].items():
        parts = Path(name).parts
        found = entry["summary"]
        figures = [found[k] for k in ("covered_lines", "num_statements", "covered_branches", "num_branches")]
        for room in (parts[parts.index("fewtune") + 1].removesuffix(".py"), "all"):
            rooms[room] = [a + b for a, b in zip(rooms[room], figures, strict=True)]
    below = []
    print(f"{'room':<12} {'lines':>6} {'branches':>9}")
    for room, (lines, all_lines, branches, all_branches) in sorted(rooms.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{room:<12} {percent(lines, all_lines):>6.1f} {percent(branches, all_branches):>9.1f}")
        if room == "all" and percent(lines, all_lines) < LINES:
            below.append(f"{LINES:g}% of all lines")
        if room in ROOMS and percent(branches, all_branches) < BRANCHES:
            below.append(f"{BRANCHES:g}% of the branches of {room}")
    if below:
        print(f"below the bar: {', '.join(below)}", file=sys.stderr)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
