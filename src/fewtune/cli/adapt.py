"""`fewtune adapt DATA --source MORE --out RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags
from fewtune.cli.source_flags import NO_SOURCE_FLAGS, SourceFlags


def adapt(
    data: Path,
    /,
    *,
    out: Path,
    method: str | None = None,
    prompts: Annotated[list[str] | None, Parameter(negative=())] = None,
    threshold: float = 0.0,
    folds: int = 5,
    seed: int = 0,
    overwrite: bool = False,
    other: SourceFlags = NO_SOURCE_FLAGS,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Make the best classifier from a few labelled examples, and say what to expect of it.

    Learners on frozen features are compared on repeated stratified splits of the labelled rows. With --source, the backbone is also
    finetuned on those tasks of the other data that suit the target; it is used only where, on rows it never saw, it is shown to beat the
    best frozen learner. The model and report.html are saved in --out.

    Parameters
    ----------
    data: Path
        A folder of class folders, a CSV, JSONL or Parquet table, or an .npz file.
    out: Path
        The folder to save the model in; it must not exist.
    method: str
        One learner instead of the best of all, for example 'ridge(penalty=10)'.
    prompts: str
        Templates of learners that read class names, such as 'a photo of a {}'; repeat for more.
    threshold: float
        Answers with a lower probability abstain, 0 to 1.
    folds: int
        Folds of each split.
    seed: int
        Of the splits, the candidate tasks and the training.
    overwrite: bool
        Replace the model that fewtune saved in --out; whatever else is in that folder stays.
    """
    from fewtune.adaptation.adapt import adapt_examples
    from fewtune.adaptation.settings import AdaptSettings
    from fewtune.cli.say import expected_time, save_and_show, saved_in, source_line, tell, understood
    from fewtune.files import refuse_existing
    from fewtune.models.bundle import FILES, REPORT, SELECTION
    from fewtune.recipes import read_frozen

    refuse_existing(out, overwrite=overwrite, writes=(*FILES, REPORT, *((SELECTION,) if other.source else ())))
    settings = AdaptSettings(
        sources=other.settings(), prompts=tuple(prompts or ()), threshold=threshold, folds=folds, skip_bad=reading.skip_bad, seed=seed
    )
    methods = {method: read_frozen(method)} if method else None
    examples, sources = reading.read(data), other.read()
    backbone = model.load(examples.modality)
    tell(*understood(examples, backbone), *map(source_line, sources), expected_time(examples, backbone))
    outcome = adapt_examples(examples, backbone, sources=sources, settings=settings, methods=methods, cache=model.cache, quiet=model.quiet)
    where = save_and_show(outcome, out, overwrite=overwrite)
    tell("", f"{saved_in(where, out)}; open {where / 'report.html'}. Next: fewtune predict {where} NEW_FILES_OR_FOLDERS")
