"""`fewtune adapt DATA --out RUN`."""

from __future__ import annotations

from pathlib import Path

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags


def adapt(
    data: Path,
    /,
    *,
    out: Path,
    method: str | None = None,
    threshold: float = 0.0,
    folds: int = 5,
    seed: int = 0,
    overwrite: bool = False,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Make the best classifier from a few labelled examples, and say what to expect of it.

    Frozen learners are compared on repeated stratified splits of the labelled rows; the best is fitted on all of them and saved.

    Parameters
    ----------
    data: Path
        A folder of class folders, a CSV, JSONL or Parquet table, or an .npz file.
    out: Path
        The folder to save the model in; it must not exist.
    method: str
        One learner instead of the best of all, for example 'ridge(penalty=10)'.
    threshold: float
        Answers with a lower probability abstain, 0 to 1.
    folds: int
        Folds of each split.
    seed: int
        Of the splits.
    overwrite: bool
        Replace an existing model in --out.
    """
    from fewtune.adaptation.adapt import adapt_frozen
    from fewtune.cli.say import expected_time, show, understood
    from fewtune.errors import InputError
    from fewtune.files import refuse_existing
    from fewtune.recipes import read_frozen
    from fewtune.report.adapted import learners_table, recall_table

    refuse_existing(out, overwrite=overwrite)
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold between 0 and 1, found {threshold:g}.")
    if folds < 2:
        raise InputError(f"expected at least 2 folds, found {folds}.")
    methods = {method: read_frozen(method)} if method else None
    examples = reading.read(data)
    backbone = model.load(examples.modality)
    print(understood(examples, backbone))
    print(expected_time(examples, backbone), flush=True)
    adapted = adapt_frozen(
        examples,
        backbone,
        cache=model.cache,
        methods=methods,
        skip_bad=reading.skip_bad,
        threshold=threshold,
        seed=seed,
        folds=folds,
        weights=model.weights,
        quiet=model.quiet,
    )
    adapted.save(out, overwrite=overwrite)
    show(learners_table(adapted))
    show(recall_table(adapted))
    print("\n".join(adapted.sentences))
    print(f"\nSaved to {out}. Next: fewtune predict {out} NEW_FILES_OR_FOLDERS")
