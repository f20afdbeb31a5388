"""Packed backbones: a folder with the weights and settings of one backbone, which needs no hub, no cache and no other path.

backbone.json          how it is loaded, the digest that it must have then, and its licence
model.safetensors      every weight and buffer, as the backbone came (what finetuning moved is kept with the model)
config.json, ...       settings and tokenizer, where the library reads them
image/, text/          of a pair, both towers, each a packed backbone; model.safetensors then holds the projections and the scale
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import safetensors.torch
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.known_digests import known_digest
from fewtune.backbones.licences import licence_beside
from fewtune.backbones.load import loaded, read_from
from fewtune.backbones.own_module import is_own
from fewtune.backbones.places import PACKED_RECORD, Place, is_packed
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.names import PAIR, Name, in_folder, read_name
from fewtune.backbones.providers.packable import Packable
from fewtune.errors import InputError
from fewtune.files import read_json, read_regular, write_bytes
from fewtune.machine import Machine
from fewtune.words import one_line

WEIGHTS = "model.safetensors"
_TEXTS = ["A few words to compare, naïve café №1!", "UPPER lower 12345"]
_APART = 1e-4  # the largest difference between the features of a backbone and of its packed copy, relative to their size


@final
@dataclass(frozen=True)
class Pack:
    """What was packed: `size` in bytes, and the `licence` of the weights, None where it is not known."""

    size: int
    licence: str | None


def pack(
    backbone: Backbone,
    folder: Path,
    licence: str | None = None,
    *,
    moved: bool = False,
    written: Mapping[str, torch.Tensor] | None = None,
) -> Pack:
    """Write a backbone into a folder: as it came, or with `moved` with the weights that it has now. It is read back and compared.

    `written`: other weights to write in the library's own names, which hold those of the backbone and more (a head). `licence`: that of the
    weights. By default what the library says of its own weights, and of local ones what the files beside them say.

    Raises InputError for your own network, and where the packed copy would not be the same backbone.
    """
    original = replace(backbone, origin=None) if moved else backbone.origin or backbone
    if is_own(original.name):
        raise InputError(
            f"{one_line(original.name)} is your own network: only its weights could be packed, not its code, so give the code beside the "
            "model."
        )
    if not moved and is_packed(original.place.folder):
        assert original.place.folder is not None
        return _copied(original.place.folder, folder, licence)
    made = _packable(original)
    content = {n: t.detach().cpu().contiguous() for n, t in (written or made.weights).items()}
    write_bytes(folder / WEIGHTS, safetensors.torch.save(content))
    for name, file in made.files.items():
        write_bytes(folder / name, file)
    licences = {part: pack(tower, folder / part, moved=moved).licence for part, tower in made.parts.items()}
    again = _read(made.name, folder, reads_folder=made.folder, machine=Machine(device="cpu", dtype="float32"))
    whole = replace(again, structure=original.structure)
    if whole.digest() != original.digest() or not _alike(original, again):
        raise InputError(f"{one_line(original.name)} cannot be packed: its library makes another model of the same weights and settings.")
    given, local = original.place.weights, original.place.weights or original.place.folder
    of_library = made.licence if given is None else None  # the library's licence is not that of another file
    licence = licence or of_library or (None if local is None else _licence_at(local)) or _of_parts(licences)
    record = {
        "name": made.name,
        "title": original.name,
        "folder": made.folder,
        "structure": original.structure,
        "structure_here": again.structure,
        "digest": original.digest(),
        "source": dict(original.source),
        "licence": licence,
    }
    write_bytes(folder / PACKED_RECORD, json.dumps(record, indent=1).encode())
    return Pack(_size(folder), licence)


def copy_packed(source: Path, folder: Path) -> None:
    """A packed backbone as it is, in another folder."""
    for file in sorted(source.rglob("*")):
        if file.is_file():
            write_bytes(folder / file.relative_to(source), read_regular(file))


def load_packed(folder: Path, machine: Machine | None = None) -> Backbone:
    """The backbone in a folder. Raises InputError where a file is missing or was changed."""
    record = read_json(folder / PACKED_RECORD)
    try:
        name, title, reads, structure, here, digest, source = (
            _said(record, key, kind)
            for key, kind in (
                ("name", str),
                ("title", str),
                ("folder", bool),
                ("structure", str),
                ("structure_here", str),
                ("digest", str),
                ("source", dict),
            )
        )
    except (LookupError, TypeError):
        raise InputError(f"{folder / PACKED_RECORD} does not describe a packed backbone: pack the model again.") from None
    needed = [WEIGHTS, *(f"{part}/{PACKED_RECORD}" for part in ("image", "text") if name.startswith(f"{PAIR}:"))]
    if lost := next((file for file in needed if not (folder / file).is_file()), None):
        raise InputError(f"{folder / lost} is missing: copy the whole folder of the model, or pack it again.")
    made = _read(name, folder, reads_folder=reads, machine=machine or Machine())
    whole = replace(made, name=title, structure=structure, source=source, place=Place(folder.absolute(), None))
    if made.structure != here or known_digest(whole, read_from(whole.place)) != digest:
        raise InputError(
            f"the packed backbone in {folder} is not the one that was packed (its digest differs): its files were changed, or this machine "
            "has another version of its library."
        )
    return whole


def _said(record: object, key: str, kind: type) -> Any:
    value = record[key]  # type: ignore[index]  # reported by the caller
    if not isinstance(value, kind):
        raise TypeError(key)
    return value


def _read(name: str, folder: Path, *, reads_folder: bool, machine: Machine) -> Backbone:
    parsed = read_name(name)
    return loaded(in_folder(parsed, folder.absolute()), None, machine) if reads_folder else loaded(parsed, folder / WEIGHTS, machine)


def _packable(original: Backbone) -> Packable:
    """How the library of a backbone keeps it in a folder."""
    parsed = library_name(original)
    if parsed.provider in ("pixels", "precomputed"):
        raise InputError(f"{parsed.provider} has no weights: there is nothing to pack, the model's folder is whole as it is.")
    if parsed.provider == "timm":
        from fewtune.backbones.providers.timm_provider import packable
    elif parsed.provider == "open_clip":
        from fewtune.backbones.providers.open_clip_provider import packable
    elif parsed.provider == "hf":
        from fewtune.backbones.providers.transformers_packable import packable
    elif parsed.provider == PAIR:
        from fewtune.backbones.providers.pair_provider import packable as towers

        return towers(original)
    else:
        return Packable(name=parsed.full, weights=original.start())
    return packable(parsed, original)


def library_name(original: Backbone) -> Name:
    """The name by which its library loads a backbone, also one that was read from a packed folder, whose name may be any text."""
    folder = original.place.folder
    if folder is None:
        return read_name(original.name)
    if not is_packed(folder):
        return in_folder(read_name(original.name), folder)
    record: Any = read_json(folder / PACKED_RECORD)
    parsed = read_name(_said(record, "name", str))
    return in_folder(parsed, folder) if _said(record, "folder", bool) else parsed


def _alike(original: Backbone, copy: Backbone) -> bool:
    """Whether two backbones have the same features of made-up inputs: what no digest of weights sees, such as an activation."""
    plain = (original.machine.device, original.machine.dtype) == ("cpu", "float32")
    one = original if plain else original.on(copy.machine)
    preparation, inputs = one.preparation, getattr(one.network, "inputs", None)
    if isinstance(preparation, ImagePreparation):
        values = np.random.default_rng(0).integers(0, 256, (2, len(preparation.mean), preparation.height, preparation.width))
        pairs = [(preparation.batch(list(torch.from_numpy(values.astype(np.uint8)))),) * 2]
    elif preparation.modality == "text":
        pairs = [(preparation.batch(_TEXTS), copy.preparation.batch(_TEXTS))]
    else:
        pairs = [] if inputs is None else [(torch.linspace(-1, 1, 2 * inputs).view(2, -1),) * 2]
    with torch.no_grad():
        features = [(one.forward(one.start(), a), copy.forward(copy.start(), b)) for a, b in pairs]
        if one.texts is not None and copy.texts is not None and preparation.modality == "image":
            features.append((one.embed_labels(one.start(), _TEXTS), copy.embed_labels(copy.start(), _TEXTS)))
    return all(bool((a - b).abs().max() <= _APART * a.abs().max()) for a, b in features)


def _copied(source: Path, folder: Path, given: str | None) -> Pack:
    copy_packed(source, folder)
    record: Any = read_json(folder / PACKED_RECORD)
    if given is not None and isinstance(record, dict):
        record["licence"] = given
        write_bytes(folder / PACKED_RECORD, json.dumps(record, indent=1).encode())
    licence = record.get("licence") if isinstance(record, dict) else None
    return Pack(_size(folder), licence if isinstance(licence, str) else None)


def _licence_at(place: Path) -> str | None:
    """The licence that a packed backbone's record says, else what the files beside the weights say."""
    record: Any = read_json(place / PACKED_RECORD) if is_packed(place) else {}
    said = record.get("licence") if isinstance(record, dict) else None
    return said if isinstance(said, str) else licence_beside(place)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _of_parts(licences: Mapping[str, str | None]) -> str | None:
    """The licences of the parts of a backbone in one line; None where one of them is not known."""
    if not licences or None in licences.values():
        return None
    return "; ".join(f"{part}: {licence}" for part, licence in licences.items())
