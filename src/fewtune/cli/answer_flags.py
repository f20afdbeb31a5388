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
    from fewtune.models.record import Glance


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
    sort_into: Path
        Copy each photo into the folder of its label, below this folder. Photos without a label go into a folder of their own. Nothing is
        replaced: where a name is taken, a number is added.
    links: bool
        Make links to the photos in --sort-into, instead of copies.
    annotate: Path
        Write copies of the photos into this folder, with label and probability below each.
    """

    out: Path | None = None
    scores: Annotated[bool, Parameter(negative=())] = False
    overwrite: Annotated[bool, Parameter(negative=())] = False
    sort_into: Path | None = None
    links: Annotated[bool, Parameter(negative=())] = False
    annotate: Path | None = None

    def check(self, inputs: Sequence[Path], seen: Glance) -> None:
        """Raise InputError for what cannot be written, before any work."""
        from fewtune.errors import InputError
        from fewtune.report.answer_files import AnswerFile
        from fewtune.report.photo_folders import check_folder, folders_of

        if self.out is not None:
            AnswerFile(self.out, self.overwrite).check(inputs)
        elif self.scores or self.overwrite:
            raise InputError(f"--{'scores' if self.scores else 'overwrite'} needs --out FILE.")
        if self.links and self.sort_into is None:
            raise InputError("--links needs --sort-into FOLDER.")
        if self.sort_into is not None:
            self._refuse_texts(seen, "--sort-into")
            check_folder(self.sort_into, inputs, tuple(folders_of(seen.class_names).values()), flag="--sort-into")
        if self.annotate is not None:
            self._refuse_texts(seen, "--annotate")
            check_folder(self.annotate, inputs, flag="--annotate")

    def beside_out(self) -> dict[str, object]:
        """The flags beside --out, and what was given for each."""
        flags = {"--scores": self.scores, "--overwrite": self.overwrite, "--sort-into": self.sort_into}
        return {**flags, "--links": self.links, "--annotate": self.annotate}

    def _refuse_texts(self, seen: Glance, flag: str) -> None:
        from fewtune.errors import InputError

        if seen.wanted.modality != "image":
            raise InputError(f"{flag} is for photos, but this model labels {seen.wanted.modality}s: use --out FILE.")

    def write(self, given: Given, predictions: Sequence[Prediction], class_names: Sequence[str]) -> list[str]:
        """Write what was asked for; returns sentences on it."""
        from fewtune.report.answer_files import AnswerFile
        from fewtune.report.answers import answer_table
        from fewtune.report.photo_folders import annotate_photos, sort_photos
        from fewtune.words import counted

        said: list[str] = []
        if self.out is not None:
            table = answer_table(given, {"": predictions}, scores=class_names if self.scores else ())
            AnswerFile(self.out, self.overwrite).write(table)
            said += [*table.remarks, f"Wrote {counted(len(predictions), 'row')} to {self.out}."]
        if self.sort_into is not None:
            said += sort_photos(self.sort_into, given.examples, predictions, class_names, links=self.links)
        if self.annotate is not None:
            said += annotate_photos(self.annotate, given.examples, predictions)
        return said


NO_ANSWER_FLAGS = AnswerFlags()
