"""`fewtune pack RUN`."""

from __future__ import annotations

from pathlib import Path


def pack(run: Path, /, *, weights: Path | None = None) -> None:
    """Put the backbone's weights into a saved model's folder, so that the folder alone is enough on another machine.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    weights: Path
        Where the weights of the backbone are now, if they were moved.
    """
    from fewtune.cli.say import tell
    from fewtune.models.pack import pack_run

    tell(*pack_run(run, weights=weights).sentences, f"Next: copy {run} to another machine and type fewtune predict {run.name} NEW_FILES")
