"""The backbone of a saved model, found again on this machine and checked."""

from __future__ import annotations

from pathlib import Path

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.known_digests import known_digest
from fewtune.backbones.load import load_backbone, read_from
from fewtune.backbones.own_module import PROBE, answers_alike
from fewtune.backbones.places import Place
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.bundle import BackboneRecord, Bundle
from fewtune.models.its_place import WEIGHTS_FLAG, Local, found
from fewtune.words import one_line


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
    local = Local(record.name, record.digest, folder=record.folder, weights=record.weights)
    place = Place(packed) if packed is not None and weights is None else found(local, weights)
    backbone = load_backbone(record.name, weights=place.weights, folder=place.folder, towers=place.towers, machine=machine or Machine())
    read = known_digest(backbone, read_from(place))
    if read != record.digest:
        raise InputError(
            f"the weights or preprocessing of {record.name} differ from those this model was made with "
            f"(expected digest {record.digest[:12]}, found {read[:12]}): give the original file with "
            f"{WEIGHTS_FLAG}."
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
