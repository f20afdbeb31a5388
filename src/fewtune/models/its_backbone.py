"""The backbone of a saved model, found again on this machine and checked."""

from __future__ import annotations

from pathlib import Path

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.known_digests import known_digest
from fewtune.backbones.load import load_backbone, read_from
from fewtune.backbones.own_module import PROBE, answers_alike
from fewtune.backbones.packed import is_packed
from fewtune.backbones.places import Place, remembered
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.bundle import BackboneRecord, Bundle
from fewtune.words import one_line, option

_WEIGHTS = option("--weights", "weights=...")


def load_its_backbone(
    bundle: Bundle, *, weights: Path | None = None, machine: Machine | None = None, backbone: Backbone | None = None
) -> Backbone:
    """The backbone a bundle was made with: the original, from `weights`, from the model's own folder if it is packed there, or from where
    it was then, with the changes of finetuning.

    `weights`: the file, or the folder of a model that was read from a local folder. `backbone`: the original as it was given from Python
    (`Backbone.of`), before anything changed in it. Refuses any other weights or preprocessing.
    """
    record = bundle.backbone
    if backbone is not None:
        if backbone.origin is not None and backbone.digest() != record.digest:
            backbone = backbone.origin
        _check_given(record, backbone)
        return backbone if bundle.moved is None else bundle.moved.onto(backbone)
    backbone = load_recorded_backbone(record, packed=bundle.packed, weights=weights, machine=machine)
    return backbone if bundle.moved is None else bundle.moved.onto(backbone)


def load_recorded_backbone(
    record: BackboneRecord, *, packed: Path | None = None, weights: Path | None = None, machine: Machine | None = None
) -> Backbone:
    """The backbone of a record, from `weights`, from the folder `packed`, or from where it was. Refuses any other weights."""
    place = Place(packed) if packed is not None and weights is None else _found(record, weights)
    backbone = load_backbone(record.name, weights=place.weights, folder=place.folder, machine=machine or Machine())
    found = known_digest(backbone, read_from(place))
    if found != record.digest:
        raise InputError(
            f"the weights or preprocessing of {record.name} differ from those this model was made with "
            f"(expected digest {record.digest[:12]}, found {found[:12]}): give the original file with "
            f"{_WEIGHTS}."
        )
    return backbone


def _check_given(record: BackboneRecord, given: Backbone) -> None:
    """Raise InputError where a backbone given from Python is not the one that a bundle was made with."""
    if given.digest() != record.digest:
        raise InputError(
            f"the backbone {one_line(given.name)} is not the one this model was made with, {one_line(record.name)} (expected digest "
            f"{record.digest[:12]}, found {given.digest()[:12]}): give the same network, weights and preparation."
        )
    if not answers_alike(record.source.get(PROBE, ""), given.source.get(PROBE, "")):
        raise InputError(
            f"{one_line(given.name)} has the weights this model was made with, but its features are others: give the same network."
        )


def _found(record: BackboneRecord, given: Path | None) -> Place:
    """Where the backbone's folder and weights are. Raises InputError where something that lay on a disk is not known or gone."""
    if given is not None and not given.exists():
        raise InputError(f"the backbone's weights are not at {given}: say where they are now with {_WEIGHTS}.")
    if is_packed(given):
        return Place(given)
    if not record.folder and record.weights is None:
        return Place(None, given)
    known = remembered(record.digest)
    if given is not None:
        return _meant(record, given, known)
    for path, needed, kind in ((known.folder, record.folder, "folder"), (known.weights, record.weights is not None, "file")):
        if needed and path is None:
            name = one_line(record.name if record.folder else f"{record.name} with {record.weights}")
            raise InputError(
                f"the backbone of this model, {name}, was read from a local {kind} that is not known on this machine: say where it is now "
                f"with {option(f'--weights {kind.upper()}', 'weights=...')}."
            )
        if needed and path is not None and not path.exists():
            raise InputError(f"the backbone's weights are not at {path}: say where they are now with {_WEIGHTS}.")
    return known


def _meant(record: BackboneRecord, given: Path, known: Place) -> Place:
    """What a person who gives a file or folder for a backbone means by it."""
    if not record.folder:
        return Place(None, given)
    if given.is_dir() and any(given.glob("*config.json")):
        beside = given / Path(record.weights or "").name
        return Place(given, None if record.weights is None else beside if beside.exists() else given)
    return Place(known.folder if known.folder is not None and known.folder.exists() else given.parent, given)
