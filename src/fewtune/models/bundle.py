"""Bundle: the model that is saved, moved and predicted with. JSON and safetensors, checked by sha256; no pickle.

fewtune.json           what it is: classes, backbone, method, temperature, what accuracy to expect, provenance; the sha256 of every other
                       file, and a digest of itself
head.safetensors       the fitted head
weights.safetensors    what finetuning moved in the backbone: whole tensors or the factors of edits; absent where nothing moved. Of an
                       ensemble, "<member>/<name>"
support.safetensors    features, labels and digests of the rows it was learned from: what a new class is added to; and what was answered
                       to these rows while they were held out. Their names are in fewtune.json
backbone/              the backbone as it came, where the model was packed (`backbones.packed`)
README.md              the model card, which may be edited
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, final, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fewtune.backbones.packed import WEIGHTS as PACKED_WEIGHTS
from fewtune.backbones.packed import copy_packed
from fewtune.data.items import Modality
from fewtune.errors import InputError
from fewtune.files import RECORD, new_folder, read_regular, sealed, sha256, write_bytes
from fewtune.models.finetuned_weights import Change, Members, Moved, read_edits
from fewtune.models.its_place import PACKED, packed_folder
from fewtune.models.record import FORMAT, get, model_record
from fewtune.models.support import Support, read_support, tensors_of, words_of
from fewtune.parts.heads.head import under
from fewtune.recipes.language import read_method

CARD = "README.md"
HEAD, WEIGHTS, SUPPORT = "head.safetensors", "weights.safetensors", "support.safetensors"
FILES = (CARD, HEAD, WEIGHTS, SUPPORT)  # what `Bundle.write` may write beside the record
REPORT, SELECTION = "report.html", "selection.parquet"  # what `Adapted.save` may put beside them
_PARAMETER, _STATE = "parameter/", "state/"
BROKEN = (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, AssertionError)
_LONGEST_CARD = 16 << 20  # bytes


@final
@dataclass(frozen=True, kw_only=True)
class BackboneRecord:
    """Which model the head reads, as it was before anything moved.

    `folder`: the name is that of a local folder, its last part. `weights`: the last part of the file or folder that was given beside the
    name, or None. Where they lie is kept for the user alone (`backbones.places`).
    """

    name: str
    weights: str | None
    digest: str
    preparation: str
    width: int
    modality: Modality
    source: Mapping[str, str] = field(default_factory=dict)
    folder: bool = False


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A saved model. `state` and `parameters` are the fitted head's (leading axis 1); logits / `temperature` are calibrated.

    `threshold`: answers with a lower probability abstain (0: never). `facts`: what was measured, for people and reports. `moved`: what
    finetuning changed in the backbone, None where nothing did. `support`: what was learned from, None where it is not known. `read`: the
    digest of the record that it was read from, "" for a new model. `packed`: the folder of its packed backbone, None where the model
    relies on the hub, a cache or a local folder.
    """

    backbone: BackboneRecord
    method: str
    class_names: tuple[str, ...]
    state: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]
    temperature: float
    threshold: float
    facts: Mapping[str, Any]
    card: str
    moved: Change | None = None
    support: Support | None = None
    read: str = ""
    packed: Path | None = None

    def save(self, path: Path, *, overwrite: bool = False) -> Path:
        """Write the folder; it appears whole or not at all. An existing one is refused unless `overwrite`. Returns where it is (see
        `files.new_folder`)."""
        with (made := new_folder(path, overwrite=overwrite)) as folder:
            self.write(folder)
        return made.where

    def write(self, folder: Path) -> None:
        """Write the files into a folder that `new_folder` made: for those who put more beside them before it appears."""
        kept = {HEAD: {_STATE + k: v for k, v in self.state.items()} | {_PARAMETER + k: v for k, v in self.parameters.items()}}
        if self.moved is not None:
            kept[WEIGHTS] = dict(self.moved.weights)
        if self.support is not None:
            kept[SUPPORT] = tensors_of(self.support)
        for name, tensors in kept.items():
            write_bytes(folder / name, safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
        if self.packed is not None:
            copy_packed(self.packed, folder / PACKED)
        write_bytes(folder / CARD, self.card.encode(errors="backslashreplace"))
        record = {
            "kind": "bundle",
            "format": FORMAT,
            "backbone": asdict(self.backbone),
            "moved": record_of_change(self.moved),
            "method": self.method,
            "class_names": list(self.class_names),
            "temperature": self.temperature,
            "threshold": self.threshold,
            "facts": dict(self.facts),
            "examples": words_of(self.support),
        }
        write_bytes(folder / RECORD, sealed(record))


def record_of_change(moved: Change | None) -> dict[str, Any] | None:
    """What the record says of what finetuning changed."""
    if isinstance(moved, Members):
        return {"members": [record_of_change(part) for part in moved.parts]}
    return None if moved is None else {"edits": moved.edits, "digest": moved.digest}


def load_bundle(path: Path) -> Bundle:
    """Read a saved model. Raises InputError, in one sentence, where it is missing, of another format, incomplete or changed."""
    record = model_record(path)
    try:
        files = _checked_files(path, record)
        head = safetensors.torch.load_file(path / HEAD)
        bundle = Bundle(
            backbone=read_backbone_record(get(record, "backbone", dict)),
            method=get(record, "method", str),
            class_names=_names(get(record, "class_names", list)),
            state={k.removeprefix(_STATE): v for k, v in head.items() if k.startswith(_STATE)},
            parameters={k.removeprefix(_PARAMETER): v for k, v in head.items() if k.startswith(_PARAMETER)},
            temperature=_within(record, "temperature", 1e-9, 1e9),
            threshold=_within(record, "threshold", 0, 1),
            facts=_facts(record),
            card=read_card(path / CARD),
            moved=_moved(path, record),
            support=read_support(safetensors.torch.load_file(path / SUPPORT), record.get("examples")) if SUPPORT in files else None,
            read=str(record.get("digest", "")),
            packed=packed_folder(path, files),
        )
        _check_whole(bundle)
        return bundle
    except InputError:
        raise
    except (*BROKEN, safetensors.SafetensorError) as problem:
        said = (str(problem).splitlines() or [""])[0].rstrip(".")
        raise InputError(f"{path} is not a whole fewtune model ({type(problem).__name__}: {said}): make the model again.") from None


def _checked_files(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, which names what a model is made of; every such file is what was saved."""
    manifest = get(record, "files", dict)
    needed = {HEAD, *([WEIGHTS] if record["moved"] is not None else [])}
    if lost := sorted(needed - manifest.keys()):
        raise ValueError(f"no sha256 of {lost[0]}")
    if WEIGHTS in manifest.keys() - needed:
        raise ValueError(f"{WEIGHTS} is no part of it")
    packed = {name for name in manifest if name.startswith(f"{PACKED}/") and (path / PACKED).is_dir()}
    packed -= {f"{PACKED}/{PACKED_WEIGHTS}"}  # the backbone's digest checks every number of it
    for name in sorted(needed | {SUPPORT} & manifest.keys() | packed):
        if sha256(path / name) != manifest[name]:
            raise InputError(f"{path / name} was changed or damaged after it was saved (its sha256 differs): make the model again.")
    return manifest


def read_card(file: Path) -> str:
    """The model card, which people may edit or take away."""
    try:
        return read_regular(file, most=_LONGEST_CARD).decode("utf-8", "replace")
    except (OSError, InputError):
        return ""


def read_backbone_record(record: dict[str, Any]) -> BackboneRecord:
    """Every field of the kind it must be."""
    kinds = {"width": int, "source": dict, "weights": (str, type(None)), "folder": bool}
    for one in fields(BackboneRecord):
        if one.name in record and not isinstance(record[one.name], kinds.get(one.name, str)):  # type: ignore[arg-type]
            raise TypeError(f"the backbone's {one.name} is {str(record[one.name])[:40]!r}")
    made = BackboneRecord(**record)
    if made.modality not in get_args(Modality) or made.width < 1:
        raise ValueError(f"a backbone of {made.width} features of {made.modality!r}")
    return made


def _names(listed: list[Any]) -> tuple[str, ...]:
    if len(listed) < 2 or not all(isinstance(name, str) for name in listed) or len(set(listed)) < len(listed):
        raise ValueError("class_names are not the names of two or more classes")
    return tuple(listed)


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Free-form, but for what sentences and cards are made of."""
    facts = get(record, "facts", dict)
    for name, kind in (("shots", dict), ("recall", dict), ("sources", dict), ("added", list)):
        if name in facts:
            get(facts, name, kind)
    measured = [facts.get(name) for name in ("expected_accuracy", "expected_before", "measured_accuracy")]
    intervals = [[one[end] for end in ("mean", "low", "high")] for one in measured if one is not None]
    numbers = [*(n for ends in intervals for n in ends), *(n for n in facts.get("recall", {}).values() if n is not None)]
    if not all(isinstance(n, int | float) for n in numbers):
        raise TypeError("accuracies are not numbers")
    return facts


def _moved(path: Path, record: Mapping[str, Any]) -> Change | None:
    if record["moved"] is None:
        return None
    return read_change(get(record, "moved", dict), safetensors.torch.load_file(path / WEIGHTS))


def read_change(said: dict[str, Any], weights: dict[str, Tensor]) -> Change:
    """What finetuning changed, by what the record says of it and the weights that moved. Raises the errors of a broken record."""
    if "members" not in said:
        return _moved_one(said, weights)
    members = get(said, "members", list)
    if len(members) < 2 or all(one is None for one in members):
        raise ValueError("an ensemble has two members or more, and some of them were finetuned")
    each = [under(f"{place}/", weights) for place in range(len(members))]
    if sum(map(len, each)) < len(weights) or any(mine and one is None for one, mine in zip(members, each, strict=True)):
        raise ValueError(f"{WEIGHTS} has weights of no finetuned member")
    return Members(parts=tuple(None if one is None else _moved_one(one, mine) for one, mine in zip(members, each, strict=True)))


def _moved_one(said: dict[str, Any], weights: dict[str, Tensor]) -> Moved:
    edits = get(said, "edits", str)
    read_edits(edits)
    return Moved(weights=weights, edits=edits, digest=get(said, "digest", str))


def _check_whole(bundle: Bundle) -> None:
    """The head answers features of the backbone's width with one logit a class, and the support is of these classes and this width."""
    width, ways = bundle.backbone.width, len(bundle.class_names)
    with torch.inference_mode():
        logits = read_method(bundle.method).head.score(dict(bundle.state), torch.zeros(1, 1, width), dict(bundle.parameters))
    if logits.shape != (1, 1, ways):
        raise ValueError(f"its head gives {logits.shape[-1]} logits for {ways} classes")
    support = bundle.support
    if support is not None and (support.features.shape[1] != width or not ((support.labels >= 0) & (support.labels < ways)).all()):
        raise ValueError(f"{SUPPORT} is not of this model's width and classes")


def _within(record: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = float(record[name])
    if not low <= value <= high:  # NaN is not either
        raise ValueError(f"{name} {value}")
    return value
