"""Adapted: the answer of `adapt`, which labels new inputs and can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.verdict import Verdict
from fewtune.api.values import Inputs
from fewtune.backbones.backbone import Backbone
from fewtune.files import new_folder
from fewtune.learners.choice import Choice
from fewtune.models.bundle import REPORT, SELECTION, Bundle
from fewtune.models.pack import pack_into
from fewtune.models.predict import Prediction, predict_anything
from fewtune.report.collect import findings_of
from fewtune.report.page import write_page
from fewtune.statistics import Interval


@final
@dataclass(frozen=True, eq=False)
class Adapted:
    """An adapted model before it is saved. `outcome`: all that was measured on the way."""

    outcome: Outcome

    @property
    def bundle(self) -> Bundle:
        """What `save` writes as the model."""
        return self.outcome.bundle

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    @property
    def verdict(self) -> Verdict:
        """How often it will be right, in one sentence; a light (ready, review, not ready, unknown); what to do next."""
        return self.outcome.verdict

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, then its details: what was chosen, what to expect, what could not be known."""
        return self.outcome.sentences

    @property
    def choice(self) -> Choice:
        """The comparison of the learners; `choice.expected` is the accuracy to expect."""
        return self.outcome.choice

    @property
    def expected(self) -> Interval | None:
        """The accuracy to expect on new inputs like the labelled ones; None where nothing could be held out."""
        return self.outcome.choice.expected

    @property
    def measured(self) -> Interval | None:
        """The accuracy on the data's own test split; None where it has none."""
        return self.outcome.measured

    @property
    def backbone(self) -> Backbone:
        """The backbone that the model uses: as it came, or finetuned."""
        return self.outcome.backbone

    def predict(self, inputs: Inputs, *, threshold: float | None = None, skip_bad: bool = False, quiet: bool = True) -> list[Prediction]:
        """Labels for new inputs, in order (see `Model.predict`)."""
        return predict_anything(self.bundle, inputs, self.backbone, threshold=threshold, skip_bad=skip_bad, quiet=quiet)

    def report(self, path: Path | str) -> None:
        """Write the report, one HTML file that opens anywhere."""
        write_page(Path(path), findings_of(self.outcome))

    def save(self, path: Path | str, *, overwrite: bool = False, pack: bool = False) -> Path:
        """Write the bundle, the report and, where there were sources, what was decided of each candidate task; whole or not at all.

        `pack`: the weights of the backbone too, so that the folder alone is enough on another machine (see `models.pack.pack_run`).
        An existing folder is refused unless `overwrite`. Returns where the model is: `path`, or `path-2` beside it where another program
        took `path` meanwhile.
        """
        with (made := new_folder(Path(path), overwrite=overwrite)) as folder:
            self.bundle.write(folder)
            if self.outcome.sources is not None:
                self.outcome.sources.trace.save(folder / SELECTION)
            self.report(folder / REPORT)
            if pack:
                pack_into(folder, self.bundle)
        return made.where
