"""A backbone by its name, with `run:FOLDER` for the encoder of a saved model or of a pretraining run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewtune.backbones import load as without_runs
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.own_module import is_own
from fewtune.backbones.packed import load_packed
from fewtune.backbones.places import RUN, made_in, run_and_step
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from fewtune.models.finetuned_weights import Members
from fewtune.models.its_backbone import load_its_backbone
from fewtune.words import one_line

FINETUNED = "finetuned in"  # a line of a backbone's source


def load_backbone(name: str, *, weights: Path | str | None = None, machine: Machine | None = None, folder: Path | None = None) -> Backbone:
    """The backbone with a name: `timm:NAME`, `open_clip:NAME[/PRETRAINED]`, `hf:NAME`, `embedded`, `conv4`, `resnet12`, `mlp`, `pixels` or
    `precomputed`, with options after commas; `pair:IMAGE+TEXT`, two of these; `PROVIDER[:NAME]` of another package (entry point group
    `fewtune.backbones`); or `run:FOLDER`, the backbone of the model that `adapt` saved in FOLDER, with its finetuned weights, or what
    `pretrain` or `align` made there; `run:FOLDER,step=N` is checkpoint N of such a run, finished or not.

    NAME is a hub name or a local folder. `weights` is a local safetensors or pt file, or a folder; for `run:FOLDER`, where the weights of
    the original backbone are now. `folder`: the path of a local folder, if the name has only its last part. Raises InputError if the name,
    an option, the library or the weights are missing or do not fit.
    """
    if (run := run_and_step(name)) is None:
        return without_runs.load_backbone(name, weights=weights, machine=machine, folder=folder)
    where, step = folder or run[0], run[1]
    if (made := made_in(where, step)) is None:
        return _encoder(where, None if weights is None else Path(weights), machine)
    return replace(load_packed(made, machine), name=_title(where, step))


def run_folder(name: str) -> Path | None:
    """FOLDER of `run:FOLDER`, also with `,step=N`; None for other names. Raises InputError if the folder is missing in the name."""
    found = run_and_step(name)
    return None if found is None else found[0]


def _title(folder: Path, step: int | None) -> str:
    """The name of a backbone of a run, without the path."""
    return f"{RUN}{folder.resolve().name}" + ("" if step is None else f",step={step}")


def _encoder(folder: Path, weights: Path | None, machine: Machine | None) -> Backbone:
    """The backbone of a saved model. If nothing moved in it, it is the original under its own name."""
    bundle = load_bundle(folder)
    if is_own(bundle.backbone.name):
        raise InputError(
            f"{folder} was made with your own network, {one_line(bundle.backbone.name)}, which is not loaded by a name: in Python, write "
            "backbone=fewtune.load(RUN, backbone=fewtune.Backbone.of(network, ...)).backbone."
        )
    if isinstance(bundle.moved, Members):
        raise InputError(f"{folder} is an ensemble of several backbones, not one: give a run that has a single backbone.")
    found = load_its_backbone(bundle, weights=weights, machine=machine)
    if found.origin is None:
        return found
    title = _title(folder, None)
    before = bundle.backbone.source.get(FINETUNED)
    said = f"{title} (digest {bundle.read[:12]})" if before is None else f"{before}, then {title} (digest {bundle.read[:12]})"
    return replace(found, name=title, origin=replace(found.origin, source={**found.origin.source, FINETUNED: said}))
