"""`fewtune embed DATA`."""

from __future__ import annotations

from pathlib import Path

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags


def embed(
    data: Path,
    /,
    *,
    shard: str = "1/1",
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Embed every example once and keep the features, for the commands that come after.

    Parameters
    ----------
    data: Path
        A folder of class folders, a table, or an .npz file.
    shard: str
        i/n: embed share i of n. Several machines that share --cache embed one share each; the last one joins the shares.
    """
    from fewtune.cli.first import check_data
    from fewtune.cli.shares import share_of

    number, count = share_of(shard)
    model.check()
    check_data(data)
    examples = reading.read(data)
    model.check_here(examples.modality)

    from fewtune.backbones.features.shares import embed_share
    from fewtune.cli.say import tell
    from fewtune.words import counted

    backbone = model.load(examples)
    rows, missing = embed_share(backbone, examples, number, count, folder=model.cache, quiet=model.quiet)
    rest = f"{missing} of {count} shares still missing" if missing else f"the table of {len(examples):,} rows is complete"
    tell(f"{counted(rows, 'row')} embedded; {rest}.")
