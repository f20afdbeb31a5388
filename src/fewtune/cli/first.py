"""What is checked first, before anything slow is imported: the data that a command was given, and where its result goes."""

from __future__ import annotations

import os
from pathlib import Path

from fewtune.data.reading.read import absent
from fewtune.data.reading.remote import address_of, located, name_of
from fewtune.data.reading.scenes import is_scenes, scenes_named
from fewtune.errors import InputError
from fewtune.files import expanded
from fewtune.progress import stage

RUNS = "runs"
UNFINISHED = ".unfinished"


def needed() -> InputError:
    """What `fewtune adapt` needs, with an example, where nothing was given."""
    return InputError(
        "adapt needs your labelled examples: a folder with one folder of photos for each class, or a table with a column of texts or paths "
        "and one of labels. For example: fewtune adapt photos/ (or fewtune demo, to see it work on data that is already here)."
    )


def check_data(*paths: Path) -> None:
    """Raise InputError for a path that does not exist, with what is there instead, and for a wrong name of drawn scenes. What is behind an
    address is fetched."""
    for path in map(expanded, paths):
        if address_of(path) is not None:
            located(path)
        elif is_scenes(path):
            scenes_named(path)
        elif not os.path.exists(path):  # noqa: PTH110  (Path.exists raises for too long a name)
            raise InputError(absent(path))


def chosen_out(data: Path, out: Path | None, *, resume: bool, overwrite: bool) -> Path:
    """The folder to save in: `out`, or runs/DATA-N with the first number that nothing has; to `resume`, the last one that was not finished.

    Raises InputError where a folder that should be replaced or resumed is not named and cannot be found.
    """
    if out is not None:
        return out
    if overwrite:
        raise InputError("--overwrite replaces the model in --out: give --out RUN too.")
    stem = expanded(data).resolve()
    name = (stem.stem if stem.is_file() else stem.name) or "data"
    if (address := address_of(data)) is not None:
        name = name_of(address)
    if is_scenes(data):
        name = str(data).partition(",")[0].replace(":", "-")
    number = 1
    while _taken(made := Path(RUNS) / f"{name}-{number}"):
        number += 1
    if not resume:
        return made
    last = Path(RUNS) / f"{name}-{number - 1}"
    if not os.path.lexists(f"{last}{UNFINISHED}"):
        raise InputError(f"there is no unfinished run of {data} in {RUNS} to go on with: give --out RUN, or leave --resume out.")
    return last


def _taken(path: Path) -> bool:
    return os.path.lexists(path) or os.path.lexists(f"{path}{UNFINISHED}")


def load_libraries() -> None:
    """Import torch and what works with it, as a stage of its own: it takes seconds."""
    with stage("loading PyTorch"):
        import torch  # noqa: F401
    with stage("loading the methods"):
        import fewtune.adaptation.adapt
        import fewtune.models.named_backbone  # noqa: F401
