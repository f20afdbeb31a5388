"""`mamf_study`: the MAMF study from Python. `fewtune mamf` calls the same functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

from fewtune.api.values import Data, backbone_of, examples_of
from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.files import write_bytes
from fewtune.learning.world import join_world, leave_world
from fewtune.machine import Machine
from fewtune.report.mamf_page import mamf_page, mamf_table
from fewtune.report.mamf_words import answers
from fewtune.report.tables import Format, render, to_records
from fewtune.studies.mamf import folder
from fewtune.studies.mamf.run import Ran, discard, facts_of, run_grid
from fewtune.studies.mamf.settings import MamfSettings
from fewtune.studies.mamf.summary import Summary, summarise

_DEFAULT, _NOWHERE = MamfSettings(), Keeping()


@final
@dataclass(frozen=True, eq=False)
class MamfStudy:
    """What the study found. `ran.rows` is a PyArrow table with a row for each method and task; `leads`: whether this process is the one
    that writes, of several that torchrun started."""

    ran: Ran
    machine: Machine
    out: Path | None = None
    leads: bool = True

    @cached_property
    def summary(self) -> Summary:
        """Means, intervals, winners, slopes and variance ratios."""
        return summarise(self.ran)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The paper's two questions, answered with intervals."""
        return tuple(answers(self.summary))

    @property
    def rows(self) -> list[dict[str, object]]:
        """A record for each configuration: data, part, ways, tasks, the probability that all classes are seen, accuracy by method."""
        return to_records(mamf_table(self.summary))

    def render(self, format: Format = "table", *, width: int | None = None, color: bool = False) -> str:
        """The table as text: table, json, csv, latex or markdown."""
        return render(mamf_table(self.summary), format, width=width, color=color)

    def report(self, path: Path | str) -> Path:
        """Write the page with all figures, one HTML file, and return its path."""
        write_bytes(Path(path), mamf_page(self.ran).encode("utf-8", "replace"))
        return Path(path)

    def save(self, out: Path | str, *, overwrite: bool = False) -> Path:
        """Write the folder: rows, summary, page, features and facts. Raises InputError where it exists."""
        return folder.save(self.ran, mamf_page(self.ran), self.machine, Path(out), overwrite=overwrite)


def mamf_study(
    data: Data | Sequence[Data],
    *,
    backbone: Backbone | str,
    settings: MamfSettings = _DEFAULT,
    keeping: Keeping = _NOWHERE,
    quiet: bool = True,
) -> MamfStudy:
    """Zero-shot, classical finetuning, FOMAML and MAMF over the grid of task configurations (N, T), as in Wang et al. 2022.

    `data`: a collection, or a list of them, each anything that `read_examples` reads. `backbone`: an image-text model (or a text encoder,
    for texts), by name or as a `Backbone`. `settings`: the grid, rows, budgets and rates. `keeping.out`: a folder that is written while the
    study runs, so that with `keeping.resume` a stopped run goes on; the same study that is complete there is read, not run again.
    Raises InputError (a ValueError), in one sentence, for data, a backbone and settings that do not fit.

    Reference: Wang et al., "Model-agnostic multitask fine-tuning for few-shot vision-language transfer learning", 2022. Departs: the same
    projections, budget, rates and test updates for all methods, and weights that are reset after each test task (`new_heads` and
    budgets="paper" bring the paper's differences back).
    """
    collections = [examples_of(one) for one in data] if isinstance(data, list | tuple) and not _pair(data) else [examples_of(data)]
    model = backbone_of(backbone, collections[0].modality)
    return study_of(collections, model, settings, keeping, quiet=quiet)


def study_of(data: Sequence[Examples], backbone: Backbone, settings: MamfSettings, keeping: Keeping, *, quiet: bool = True) -> MamfStudy:
    """The study of data that was read; see `mamf_study`."""
    if not data:
        raise InputError("expected at least one data set, found none.")
    machine, out = backbone.machine, keeping.out
    if out is not None:
        if (found := folder.known(out, facts_of(data, backbone, settings), settings)) is not None:
            return MamfStudy(found, machine, out)
        folder.refuse(out, overwrite=keeping.overwrite)
    world = join_world(machine.device)
    try:
        ran, partial = run_grid(data, backbone, settings, keeping, world=world, quiet=quiet or not world.leads)
    finally:
        leave_world()
    study = MamfStudy(ran, machine, out, world.leads)
    if world.leads:
        where = study.save(out, overwrite=keeping.overwrite) if out is not None else None
        discard(partial)
        return MamfStudy(ran, machine, where)
    return study


def _pair(data: object) -> bool:
    """Whether a tuple is one collection, (x, y), and not several."""
    return isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "shape")
