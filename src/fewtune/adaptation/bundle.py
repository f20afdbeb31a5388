"""Bundle: the model that is saved, moved and predicted with. JSON and safetensors, checked by sha256; no pickle.

fewtune.json         what it is: classes, backbone, method, temperature, what accuracy to expect, provenance
head.safetensors     the fitted head (and, in a later format, the weights that moved)
README.md            the model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import safetensors
import safetensors.torch
from torch import Tensor

from fewtune.data.items import Modality
from fewtune.errors import InputError
from fewtune.files import new_folder, sha256, write_bytes

FORMAT = 1
HEAD = "head.safetensors"
_PARAMETER = "parameter/"
_STATE = "state/"


@final
@dataclass(frozen=True, kw_only=True)
class BackboneRecord:
    """Which frozen model the head reads. `weights`: the file or folder it was loaded from, or None for a hub or bundled model."""

    name: str
    weights: str | None
    digest: str
    preparation: str
    width: int
    modality: Modality
    source: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A saved model. `state` and `parameters` are the fitted head's (leading axis 1); logits / `temperature` are calibrated.

    `threshold`: answers with a lower probability abstain (0: never). `facts`: what was measured, for people and reports.
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

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the folder; it appears whole or not at all. An existing one is refused unless `overwrite`."""
        with new_folder(path, overwrite=overwrite) as folder:
            tensors = {_STATE + k: v for k, v in self.state.items()} | {_PARAMETER + k: v for k, v in self.parameters.items()}
            flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            write_bytes(folder / HEAD, safetensors.torch.save(flat))
            write_bytes(folder / "README.md", self.card.encode(errors="backslashreplace"))
            record = {
                "kind": "bundle",
                "format": FORMAT,
                "backbone": asdict(self.backbone),
                "method": self.method,
                "class_names": list(self.class_names),
                "temperature": self.temperature,
                "threshold": self.threshold,
                "facts": dict(self.facts),
                "sha256": {HEAD: sha256(folder / HEAD)},
            }
            said = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
            # a file name that is not UTF-8 holds lone surrogates; written out as \udcXX they are JSON again
            write_bytes(folder / "fewtune.json", said.encode(errors="backslashreplace"))


def load_bundle(path: Path) -> Bundle:
    """Read a saved model. Raises InputError, in one sentence, where it is missing, newer, incomplete or changed."""
    record = _record(path)
    try:
        if HEAD not in record["sha256"]:
            raise ValueError(f"no sha256 of {HEAD}")
        for name, expected in record["sha256"].items():
            if Path(name).name != name or sha256(path / name) != expected:
                raise InputError(f"{path / name} was changed or damaged after it was saved (its sha256 differs): make the model again.")
        with safetensors.safe_open(path / HEAD, framework="pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  (not a mapping)
        card = (path / "README.md").read_text(encoding="utf-8") if (path / "README.md").is_file() else ""
        return Bundle(
            backbone=BackboneRecord(**record["backbone"]),
            method=record["method"],
            class_names=tuple(record["class_names"]),
            state={k.removeprefix(_STATE): v for k, v in tensors.items() if k.startswith(_STATE)},
            parameters={k.removeprefix(_PARAMETER): v for k, v in tensors.items() if k.startswith(_PARAMETER)},
            temperature=_within(record, "temperature", 1e-9, 1e9),
            threshold=_within(record, "threshold", 0, 1),
            facts=record["facts"],
            card=card,
        )
    except InputError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError, safetensors.SafetensorError) as problem:
        raise InputError(f"{path} is not a whole fewtune model ({type(problem).__name__}: {problem}): make the model again.") from None


def _within(record: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = float(record[name])
    if not low <= value <= high:  # NaN is not either
        raise ValueError(f"{name} {value}")
    return value


def _record(path: Path) -> dict[str, Any]:
    file = path / "fewtune.json"
    if not file.is_file():
        raise InputError(
            f"{path} is no saved model: expected a folder with a fewtune.json, as `fewtune adapt DATA --out {path}` writes it."
        )
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError) as problem:
        raise InputError(f"{file} cannot be read ({problem}): make the model again.") from None
    if not isinstance(record, dict) or record.get("kind") != "bundle":
        raise InputError(f"{path} is not a saved model (its fewtune.json describes something else): expected what `fewtune adapt` writes.")
    if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
        raise InputError(f"{path} has format {record.get('format')}, newer than this fewtune reads ({FORMAT}): upgrade fewtune.")
    return record
