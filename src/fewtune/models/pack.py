"""Packing: the backbone's weights go into the folder of a saved model, so that the folder alone is enough on any machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.packed import pack
from fewtune.errors import InputError
from fewtune.files import RECORD, entries, foreign, link, new_folder, refuse_existing
from fewtune.models.bundle import Bundle, load_bundle
from fewtune.models.finetuned_weights import since_origin
from fewtune.models.its_backbone import load_recorded_backbone
from fewtune.models.its_place import PACKED
from fewtune.models.joint.bundle import load_joint
from fewtune.models.joint.model import JointBundle
from fewtune.models.record import is_joint

_WITHOUT = ("pixels", "precomputed")  # backbones without weights

_BARE = "The model has no backbone with weights: its folder is all that another machine needs, as it is."


@final
@dataclass(frozen=True)
class Packed:
    """`size`: bytes of the packed backbone. `licence` of its weights, None where it is not known. `sentences` say both."""

    size: int
    licence: str | None
    sentences: tuple[str, ...]


def pack_into(folder: Path, bundle: Bundle | JointBundle, *, weights: Path | None = None, licence: str | None = None) -> Packed:
    """Write the backbone of a model into a folder with that model, which is being made. Raises InputError as `pack_run` does."""
    if bundle.backbone is None:
        return Packed(0, None, (_BARE,))
    name = bundle.backbone.name
    if name.split(",")[0] in _WITHOUT:
        return Packed(0, None, (f"{name} has no weights: the model's folder is all that another machine needs, as it is.",))
    return _packed(load_recorded_backbone(bundle.backbone, packed=bundle.packed, weights=weights), folder, licence)


def pack_backbone(folder: Path, backbone: Backbone | None) -> tuple[str, ...]:
    """Write a loaded backbone into the folder of a model that is being made; sentences on it. None where the model needs none."""
    if backbone is None or backbone.name.split(",")[0] in _WITHOUT:
        return (_BARE,)
    return _packed(since_origin(backbone, None)[0], folder).sentences


def _packed(backbone: Backbone, folder: Path, licence: str | None = None) -> Packed:
    name, made = backbone.name, pack(backbone, folder / PACKED, licence)
    said = "is not known: look it up before you give the model to others" if made.licence is None else f"is {made.licence}"
    return Packed(
        made.size,
        made.licence,
        (
            f"Packed: the weights of {name} ({made.size / 1e6:.1f} MB) are in the model's folder. Another machine needs that folder, and "
            "fewtune with the same extras; no network.",
            f"The licence of these weights {said}.",
        ),
    )


def pack_run(run: Path, *, weights: Path | None = None, licence: str | None = None) -> Packed:
    """Put the backbone of a saved model into its folder, which is replaced whole or not at all; all other files stay.

    `weights`: where the backbone's weights are now, if they moved. `licence` of the weights: by default as
    `backbones.packed.pack` finds it. Raises InputError where the model is packed already, for your own
    network (`Backbone.of`), and where the weights are gone or others.
    """
    bundle = load_joint(run) if is_joint(run) else load_bundle(run)
    if bundle.packed is not None:
        assert bundle.backbone is not None
        raise InputError(f"{run} is packed already: its folder {PACKED} holds the weights of {bundle.backbone.name}.")
    refuse_existing(run, overwrite=True, writes=(PACKED,))
    with new_folder(run, overwrite=True) as folder:
        made = pack_into(folder, bundle, weights=weights, licence=licence)
        for name in sorted(set(entries(run)) - set(foreign(run))):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copyfile if name == RECORD else link)(run / name, folder / name)
    return made
