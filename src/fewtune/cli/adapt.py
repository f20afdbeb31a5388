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
    """Make the best classifier from a few labelled examples, and estimate its accuracy.

    Several learners on top of the unchanged backbone are compared by cross-validation on your labelled examples. With --source, the
    backbone is also finetuned on the tasks of the other data that suit yours. The finetuned backbone is used only if it clearly beats the
    best learner on examples it has not seen. The model and report.html are saved in --out.

    Parameters
    ----------
    data: Path
        A folder of class folders, a CSV, JSONL or Parquet table, or an .npz file.
    out: Path
        The folder to save the model in. It must not exist yet, unless --overwrite is given.
    method: str
        Use this learner instead of the best one, for example 'ridge(penalty=10)'.
    prompts: str
        A sentence for learners that read class names, such as 'a photo of a {}'. Repeat for more.
    threshold: float
        The model gives no label where its probability is below this number, 0 to 1.
    folds: int
        Folds of the cross-validation, at least 2.
    seed: int
        The seed of all random choices: splits, candidate tasks and training.
    overwrite: bool
        Replace the model that fewtune saved in --out. Other files in that folder stay.
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
