"""Several label columns from Python: `adapt(table, label=[...])` and the model that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Required, TypedDict, final

from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.data.reading.frames import is_data_frame
from fewtune.data.reading.inputs import Given
from fewtune.data.reading.label_table import Wanted, read_label_table
from fewtune.errors import InputError
from fewtune.joint.adapt import JointSettings, adapt_columns, methods_of
from fewtune.joint.judged import TaskJudged, kinds_of, metrics_by_kind
from fewtune.joint.outcome import JointOutcome
from fewtune.machine import Machine
from fewtune.models.joint.bundle import load_joint, save_joint
from fewtune.models.joint.evaluate import JointEvaluation, evaluate_joint
from fewtune.models.joint.model import JointBundle
from fewtune.models.joint.predict import JointAnswers, load_joint_backbones, predict_joint
from fewtune.models.joint.rows import Backbones, given_frame, given_rows
from fewtune.models.predict import Running
from fewtune.models.reading_texts import NO_OPTIONS, backbone_for
from fewtune.report.joint_page import save_outcome, write_joint_page
from fewtune.sides.job import Workplace


class Columns(TypedDict, total=False):
    """Which columns of a table are what, for `adapt`; a table with several label columns, or with numbers among its inputs."""

    label: Required[str | Sequence[str]]
    """The label columns, in order."""
    kinds: Mapping[str, str]
    """What a label column holds: class, float (a number) or multi (several labels). By default it is found out."""
    numbers: Sequence[str]
    """Columns of numbers that are inputs too, beside photos or texts or alone."""
    input: str | Sequence[str]
    """The column of photos, texts or embeddings, or two of texts. By default the one with a usual name, or none where there are numbers."""
    metric: str | Sequence[str]
    """What columns are judged by, instead of the usual metric of their kind, such as "mae" (see `fewtune.statistics.metrics`)."""


@final
@dataclass(frozen=True, eq=False)
class ColumnsModel:
    """A model that answers several label columns. `weights`: where the backbone's weights are now. `machine`: what it runs on."""

    bundle: JointBundle
    weights: Path | None = None
    machine: Machine | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The label columns."""
        return tuple(task.name for task in self.bundle.tasks)

    @cached_property
    def backbones(self) -> Backbones:
        """The backbone that the model was made with, once for each change by finetuning that its columns read; none where numbers are its
        only input."""
        return load_joint_backbones(self.bundle, Running(weights=self.weights, machine=self.machine))

    def predict(self, inputs: Any, *, skip_bad: bool = False, quiet: bool = True) -> JointAnswers:
        """The answers to new rows: `.answers[column][row]` has `value` (a class, a number or a tuple of labels), `probability`, `low`,
        `high` and `scores`.

        `inputs`: a data frame, or paths of tables (one or a list); where the model reads no numbers also photos, folders and texts, as
        `Model.predict` takes them. Raises InputError for what this model cannot label; with `skip_bad` rows that cannot be read have no
        answer.
        """
        return predict_joint(self.bundle, self._given(inputs), skip_bad=skip_bad, running=Running(quiet=quiet), backbones=self.backbones)

    def _given(self, inputs: Any) -> Given:
        if is_data_frame(inputs):
            return given_frame(self.bundle, inputs)
        listed = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        texts = self.bundle.backbone is not None and self.bundle.backbone.modality == "text" and not self.bundle.numbers
        if texts and listed and all(isinstance(one, str) for one in listed):
            return given_rows(self.bundle, [], [str(one) for one in listed])
        return given_rows(self.bundle, [Path(one) for one in listed], [])

    def evaluate(self, data: Any, *, include_learned: bool = False, skip_unknown: bool = False, skip_bad: bool = False) -> JointEvaluation:
        """Every label column that `data` (a table's path or a data frame) holds, by its own metrics: `.tasks`. Rows that the model learned
        from are left out unless `include_learned`."""
        return evaluate_joint(
            self.bundle,
            data,
            include_learned=include_learned,
            skip_unknown=skip_unknown,
            skip_bad=skip_bad,
            backbones=self.backbones,
        )

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the model's folder, and return where it is."""
        return save_joint(self.bundle, Path(path), overwrite=overwrite)


@final
@dataclass(frozen=True, eq=False)
class AdaptedColumns:
    """A model of several label columns before it is saved. `outcome`: all that was measured on the way."""

    outcome: JointOutcome

    @cached_property
    def model(self) -> ColumnsModel:
        """The model itself, with `predict` and `evaluate`."""
        bundle, backbone = self.outcome.bundle, self.outcome.rows.backbone
        made = ColumnsModel(bundle)
        if backbone is not None:
            made.__dict__["backbones"] = load_joint_backbones(bundle, Running(backbone=backbone.origin or backbone))
        return made

    @property
    def tasks(self) -> tuple[TaskJudged, ...]:
        """What held-out rows say of each column: its `ways`, the `chosen` one, and `sharing` (learned alone or together)."""
        return self.outcome.tasks

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, column by column, then its details."""
        return (*self.outcome.sentences, *self.outcome.details)

    def predict(self, inputs: Any, *, skip_bad: bool = False, quiet: bool = True) -> JointAnswers:
        """As `ColumnsModel.predict`."""
        return self.model.predict(inputs, skip_bad=skip_bad, quiet=quiet)

    def evaluate(self, data: Any, *, include_learned: bool = False, skip_unknown: bool = False, skip_bad: bool = False) -> JointEvaluation:
        """As `ColumnsModel.evaluate`."""
        return self.model.evaluate(data, include_learned=include_learned, skip_unknown=skip_unknown, skip_bad=skip_bad)

    def report(self, path: Path | str) -> Path:
        """Write the page (HTML) and return its path."""
        write_joint_page(Path(path), self.outcome)
        return Path(path)

    def save(self, path: Path | str, *, overwrite: bool = False, pack: bool = False) -> Path:
        """Write the model and its page, with `pack` the backbone's weights too; returns where the folder is."""
        return save_outcome(self.outcome, Path(path), overwrite=overwrite, pack=pack)[0]


def adapted_columns(
    target: Any,
    columns: Columns,
    *,
    backbone: Backbone | str | None,
    method: str | None,
    settings: AdaptSettings,
    texts: TextOptions,
    cache: Path | str | None,
    quiet: bool,
) -> AdaptedColumns:
    """What `adapt` does where label columns are named. Of the settings, minutes, folds, seed, skip_bad and finetune="never" count."""
    asked = columns.get("label", ())  # a caller without types may leave it out
    wanted = Wanted(
        labels=_listed(asked),
        kinds=columns.get("kinds", {}),
        numbers=tuple(columns.get("numbers", ())),
        input=_input(columns.get("input")),
    )
    table = read_label_table(target, wanted)
    how = JointSettings(
        methods={} if settings.finetune == "never" else methods_of([] if method is None else [method]),
        minutes=settings.minutes,
        folds=settings.folds,
        skip_bad=settings.skip_bad,
        seed=settings.seed,
        finetune=settings.finetune in ("auto", "own", "all"),
        metrics=metrics_by_kind(_listed(columns.get("metric", ())), kinds_of(table)),
    )
    table.refuse_backbone(backbone is not None or texts != NO_OPTIONS)
    model = None if table.bare else backbone_for(table.examples, backbone, texts)
    at = Workplace(cache=None if cache is None else Path(cache), quiet=quiet)
    return AdaptedColumns(adapt_columns(table, model, how, at))


def _input(given: str | Sequence[str] | None) -> str | tuple[str, ...] | None:
    return given if given is None or isinstance(given, str) else tuple(given)


def _listed(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def load_columns(run: Path | str, *, weights: Path | str | None = None, machine: Machine | None = None) -> ColumnsModel:
    """Open a model of several label columns that `adapt` saved; arguments as for `load`. Raises InputError for another folder."""
    return ColumnsModel(load_joint(Path(run)), None if weights is None else Path(weights), machine)


def refuse_sources(sources: Sequence[Any]) -> None:
    """Raise InputError where other data is given beside label columns."""
    if sources:
        raise InputError("sources are for one column of classes; leave them out where several label columns, or numbers, are learned.")
