"""`fewtune embed DATA`."""

from __future__ import annotations

from pathlib import Path

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags


def embed(
    data: Path,
    /,
    *,
    shard: str | None = None,
    on: str | None = None,
    jobs: int = 0,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Embed every example once and keep the features, for the commands that come after.

    Parameters
    ----------
    data: Path
        A folder of class folders or of shards, a table, a tar archive, or an .npz file; or an address such as s3://bucket/shards/.
    shard: str
        i/n: embed share i of n. Several machines that share --cache embed one share each; the last one joins the shares.
    on: str
        ray or ray:ADDRESS: embed the shares on a Ray cluster whose machines see the data and --cache, and wait for them.
    jobs: int
        How many shares --on makes; 0: one for each core of the cluster.
    """
    from fewtune.cli.first import check_data
    from fewtune.cli.shares import share_of

    number, count = share_of(shard or "1/1")
    _check_engine(on, shard, jobs)
    model.check()
    model.refuse_table()
    check_data(data)
    if on is not None:
        _embed_on(on, jobs)
        return
    examples = reading.read(data)
    model.check_here(examples)

    from fewtune.backbones.features.shares import embed_share
    from fewtune.cli.say import tell
    from fewtune.words import counted

    backbone = model.load(examples)
    rows, missing = embed_share(backbone, examples, number, count, folder=model.cache, quiet=model.quiet)
    rest = f"{missing} of {count} shares still missing" if missing else f"the table of {len(examples):,} rows is complete"
    tell(f"{counted(rows, 'row')} embedded; {rest}.")


def _check_engine(on: str | None, shard: str | None, jobs: int) -> None:
    from fewtune.errors import InputError

    if on is not None and on.partition(":")[0] != "ray":
        raise InputError(f"--on is ray or ray:ADDRESS, found {on}.")
    if on is not None and shard is not None:
        raise InputError("--on starts the shares and --shard is one: give one of them.")
    if jobs < 0 or (jobs and on is None):
        raise InputError(f"--jobs is how many shares --on makes, found {jobs}{'' if on else ' without --on'}.")


def _embed_on(engine: str, jobs: int) -> None:
    """Run this very command as shares on the engine; the one that ends last joins them."""
    import sys

    from fewtune.cli.engines import worker_commands
    from fewtune.cli.on_ray import run_shares
    from fewtune.cli.say import tell
    from fewtune.errors import InputError

    ended = run_shares(lambda count: worker_commands(sys.argv[1:], count), jobs, engine.partition(":")[2])
    failed = [said for code, said in ended if code]
    if failed:
        raise InputError(f"{len(failed)} of {len(ended)} shares were not embedded, the first: {failed[0].removeprefix('fewtune: ')}")
    whole = next((said for _, said in ended if "complete" in said), None)
    if whole is None:
        raise InputError("the shares do not see each other's features: give --cache, a folder that all machines of the cluster share.")
    tell(f"{len(ended)} shares; {whole.partition('; ')[2]}")
