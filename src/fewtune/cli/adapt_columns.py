"""`fewtune adapt TABLE --label A --label B`: several label columns, a number, or several labels at once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from fewtune.cli.options import BackboneFlags

if TYPE_CHECKING:
    from fewtune.data.reading.label_table import LabelTable, Wanted
    from fewtune.joint.adapt import JointSettings


@final
@dataclass(frozen=True)
class ColumnsAsked:
    """What the flags of `adapt` say of label columns."""

    method: str | None
    finetune: str
    minutes: float
    folds: int
    seed: int
    skip_bad: bool
    metrics: tuple[str, ...] = ()

    def settings(self, table: LabelTable) -> JointSettings:
        """Raises InputError for a method that is none for label columns, for finetuning on sources, and for a metric that suits no column
        of the table.
        """
        from fewtune.errors import InputError
        from fewtune.joint.adapt import JointSettings, methods_of
        from fewtune.joint.judged import kinds_of, metrics_by_kind

        if self.finetune == "sources":
            raise InputError("--finetune sources is for one column of classes; label columns are finetuned on themselves: --finetune own.")
        methods = methods_of([] if self.method is None else [self.method]) if self.finetune != "never" else {}
        return JointSettings(
            methods=methods,
            finetune=self.finetune in ("auto", "own", "all"),
            minutes=self.minutes,
            folds=self.folds,
            seed=self.seed,
            skip_bad=self.skip_bad,
            metrics=metrics_by_kind(self.metrics, kinds_of(table)),
        )


def refuse_flags(given: Mapping[str, object], *, resume: bool) -> None:
    """Raise InputError for flags of the main job that several label columns do not have."""
    from fewtune.errors import InputError

    for flag, value in {**given, "--resume": resume}.items():
        if value not in (None, False, [], ()):
            raise InputError(f"{flag} is for one column of classes; leave it out where several label columns, or numbers, are learned.")


def adapt_table(data: Path, wanted: Wanted, out: Path, asked: ColumnsAsked, model: BackboneFlags, *, overwrite: bool, pack: bool) -> None:
    """Learn the label columns of a table, save the model and its page, and say what was found out."""
    from fewtune.cli.first import load_libraries
    from fewtune.cli.say import backbone_line, embedding_time, saved_in, show, tell
    from fewtune.data.reading.columns_said import columns_in_words
    from fewtune.data.reading.label_table import read_label_table
    from fewtune.files import refuse_existing
    from fewtune.progress import stage

    with stage("reading the data"):
        table = read_label_table(data, wanted)
    model.check_table(table)
    load_libraries()

    from fewtune.joint.adapt import adapt_columns
    from fewtune.models.bundle import FILES, REPORT
    from fewtune.models.its_place import PACKED
    from fewtune.report.joint_page import save_outcome
    from fewtune.report.joint_tables import sharing_table, tasks_table
    from fewtune.sides.job import Workplace

    settings, backbone = asked.settings(table), None
    refuse_existing(out, overwrite=overwrite, writes=(*FILES, REPORT, *((PACKED,) if pack else ())))
    tell(*columns_in_words(table))
    if not table.bare:
        with stage("loading the backbone"):
            backbone = model.load(table.examples)
        with stage("measuring the speed"):
            tell(backbone_line(table.examples, backbone), embedding_time(table.examples, backbone, settings.minutes))
    outcome = adapt_columns(table, backbone, settings, Workplace(cache=model.cache, quiet=model.quiet, say=tell))
    with stage("writing the model and its report"):
        where, packed = save_outcome(outcome, out, overwrite=overwrite, pack=pack)
    tell("", *outcome.sentences, "")
    show(tasks_table(outcome))
    if any(found.sharing is not None for found in outcome.tasks):
        show(sharing_table(outcome))
    if said := (*outcome.details, *packed):
        tell(*said)
    named = shlex.quote(str(where))
    tell("", f"{saved_in(where, out)}; open {where / REPORT}.", f"Next: fewtune predict {named} NEW.csv --out answers.csv")
