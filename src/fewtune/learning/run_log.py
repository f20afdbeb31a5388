"""The log of a training run: its curve and its totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass
class RunLog:
    """The numbers of a run so far; saved in checkpoints."""

    curve: list[dict[str, Any]] = field(default_factory=list)
    visits: int = 0
    steps: int = 0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        return {"curve": self.curve, "visits": self.visits, "steps": self.steps, "seconds": self.seconds}

    def restore(self, facts: Mapping[str, Any]) -> None:
        self.curve, self.visits = list(facts["curve"]), int(facts["visits"])
        self.steps, self.seconds = int(facts["steps"]), float(facts["seconds"])
