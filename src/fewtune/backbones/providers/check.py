"""Checking a backbone's name before anything slow is imported: its parts, its library, and the model where the library lists it."""

from __future__ import annotations

import difflib
from pathlib import Path

from fewtune.backbones.defaults import is_size
from fewtune.backbones.places import RUN, made_in, run_and_step
from fewtune.backbones.providers.listed import installed, open_clip_models, timm_models, timm_weights
from fewtune.backbones.providers.names import Name, read_name
from fewtune.backbones.providers.pair_names import is_pair, read_pair
from fewtune.errors import InputError
from fewtune.files import RECORD

INSTALL = {
    "timm": "timm:NAME needs timm: pip install 'fewtune[timm]'.",
    "open_clip": "open_clip:NAME needs open_clip: pip install 'fewtune[clip]'.",
}


def check_name(full: str, weights: Path | None = None) -> None:
    """Raise InputError for a name that cannot be loaded: an unknown provider, a missing library, a model that the library does not have, no
    weights where they should be, no saved model for run:FOLDER.

    What small, base and large stand for depends on the data; the name of a folder that `fewtune fetch` wrote is checked with its content.
    """
    if weights is not None and not weights.exists():
        raise InputError(f"--weights {weights} does not exist: expected a local safetensors or pt file, or a folder.")
    if full.startswith(RUN):
        _check_run(full)
    if is_size(full) or full.startswith(RUN) or (weights is not None and (weights / "backbone.json").is_file()):
        return
    if is_pair(full):
        for tower in read_pair(full)[:2]:
            _check_library(tower.name)
        return
    _check_library(read_name(full))


def _check_library(name: Name) -> None:
    if name.provider in INSTALL and not installed(name.provider):
        raise InputError(INSTALL[name.provider])
    if name.folder is None and name.provider in INSTALL:
        _check_model(name)


def _check_run(full: str) -> None:
    """Raise InputError where run:FOLDER or run:FOLDER,step=N names nothing that is there."""
    folder, step = run_and_step(full) or (Path(), None)
    if made_in(folder, step) is None and not (folder / RECORD).is_file():
        raise InputError(f"{full}: the folder holds no saved model: expected one that `fewtune adapt`, `pretrain` or `align` wrote.")


def _check_model(name: Name) -> None:
    timm = name.provider == "timm"
    models = timm_models() if timm else open_clip_models()
    model = name.model.partition("." if timm else "/")[0]
    if models and model not in models:
        raise unknown_model(name, [*models, *timm_weights()] if timm else models)


def unknown_model(name: Name, models: list[str] | frozenset[str]) -> InputError:
    """The error for a model that a library does not have, with the nearest that it has."""
    by_fold = {model.lower(): model for model in sorted(models, reverse=True)}
    near = [by_fold[fold] for fold in difflib.get_close_matches(name.model.lower(), by_fold, n=3, cutoff=0.6)]
    shown = " or ".join(f"{name.provider}:{model}" for model in near)
    word = Path(name.model).name[:8] or name.provider
    hint = f"did you mean {shown}?" if near else f"`fewtune backbones {word}` lists models by a part of their name."
    return InputError(f"{name.provider} has no model {name.model!r}: {hint}")
