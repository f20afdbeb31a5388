"""What episodes are judged by, in the words of tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from fewtune.evaluation.summary import Line


@final
@dataclass(frozen=True)
class Judged:
    """A metric of episodes: its `name` (`title` at the beginning of a line), the `unit` of 100 times its value, and its `least` value."""

    name: str
    title: str
    unit: str = "%"
    least: float = 0.0

    @property
    def head(self) -> str:
        """The heading of a column."""
        return f"{self.name} {self.unit}"

    @property
    def axis(self) -> str:
        """What stands beside an axis."""
        return f"{self.name}, {self.unit}"

    @property
    def said(self) -> str:
        """The name at the beginning of a sentence, with its unit where that is not percent."""
        return f"{self.title} in percent" if self.unit == "%" else f"{self.title} {self.unit}"

    def shown(self, value: float) -> str:
        """A value in a sentence."""
        return f"{100 * value:.1f}%" if self.unit == "%" else f"{100 * value:.1f}"


_KNOWN = {
    "accuracy": Judged("accuracy", "Accuracy"),
    "balanced_accuracy": Judged("balanced accuracy", "Balanced accuracy"),
    "macro_f1": Judged("macro F1", "Macro F1"),
    "mcc": Judged("Matthews", "Matthews", "x 100", -1.0),
    "auc": Judged("AUC", "AUC"),
    "average_precision": Judged("average precision", "Average precision"),
}


def judged(lines: Sequence[Line]) -> Judged:
    """What the lines of a comparison are judged by; accuracy where there are none."""
    return _KNOWN[next((line.metric for line in lines), "accuracy")]
