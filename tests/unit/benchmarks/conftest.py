"""Benchmarks are scripts that import one another by name: their folder is on the path, at its end."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))
