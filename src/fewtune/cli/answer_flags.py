"""Flags of `predict` that say where answers go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.data.reading.inputs import Given
    from fewtune.models.predict import Prediction


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AnswerFlags:
    """Where the answers go.

    Parameters
    ----------
    out: Path
        Write the answers to this file too: .csv, .tsv, .jsonl, .json, .parquet or .xlsx. A table gets its own columns back, and beside
        them label and probability.
    scores: bool
        Give --out a column for each class, with its probability.
    overwrite: bool
        Replace the file --out if it exists.
    """

    out: Path | None = None
    scores: Annotated[bool, Parameter(negative=())] = False
    overwrite: Annotated[bool, Parameter(negative=())] = False

    def check(self, inputs: Sequence[Path]) -> None:
        """Raise InputError for what cannot be written, before any work."""
        from fewtune.errors import InputError
        from fewtune.report.answer_files import AnswerFile

        if self.out is not None:
            AnswerFile(self.out, self.overwrite).check(inputs)
        elif self.scores or self.overwrite:
            raise InputError(f"--{'scores' if self.scores else 'overwrite'} needs --out FILE.")

    def write(self, given: Given, predictions: Sequence[Prediction], class_names: Sequence[str]) -> list[str]:
        """Write what was asked for; returns sentences on it."""
        from fewtune.report.answer_files import AnswerFile
        from fewtune.report.answers import answer_table
        from fewtune.words import counted

        if self.out is None:
            return []
        table = answer_table(given, {"": predictions}, scores=class_names if self.scores else ())
        AnswerFile(self.out, self.overwrite).write(table)
        return [*table.remarks, f"Wrote {counted(len(predictions), 'row')} to {self.out}."]


NO_ANSWER_FLAGS = AnswerFlags()
