"""`fewtune pack RUN`."""

from __future__ import annotations

from pathlib import Path


def pack(run: Path, /, *, weights: Path | None = None, licence: str | None = None) -> None:
    """Put the backbone's weights into a saved model's folder, so that the folder alone is enough on another machine.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    weights: Path
        Where the weights of the backbone are now, if they were moved.
    licence: str
        The licence of these weights, to be kept with them. By default what their library says, or a model card or a file LICENSE beside
        them.
    """
    from fewtune.models.its_place import check_found

    check_found(run, weights)  # before torch is loaded

    from fewtune.cli.say import tell
    from fewtune.models.pack import pack_run

    said = pack_run(run, weights=weights, licence=licence).sentences
    tell(*said, f"Next: copy {run} to another machine and type fewtune predict {run.name} NEW_FILES")
