"""The folder of a model of several label columns: written whole or not at all, and checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fewtune.backbones.packed import copy_packed
from fewtune.errors import InputError
from fewtune.files import RECORD, new_folder, sealed, sha256, write_bytes
from fewtune.learning.method import Method
from fewtune.models.bundle import BROKEN, CARD, HEAD, SUPPORT, WEIGHTS, read_backbone_record, read_card, read_change, record_of_change
from fewtune.models.its_place import PACKED, packed_folder
from fewtune.models.joint.model import Fitted, JointBundle, JointSupport, TaskModel
from fewtune.models.joint.rows import DIGEST
from fewtune.models.joint.scaling import Scaling
from fewtune.models.record import FORMAT, JOINT, get, known, model_record
from fewtune.parts.heads.head import under
from fewtune.recipes.language import read_method
from fewtune.spec import text
from fewtune.statistics import Interval
from fewtune.statistics.metrics import METRICS


def save_joint(bundle: JointBundle, path: Path, *, overwrite: bool = False) -> Path:
    """Write the folder; it appears whole or not at all. Returns where it is."""
    with (made := new_folder(path, overwrite=overwrite)) as folder:
        write_joint(bundle, folder)
    return made.where


def write_joint(bundle: JointBundle, folder: Path) -> None:
    """Write the files into a folder that `new_folder` made."""
    scaling = bundle.scaling
    tensors = {"scaling/fill": scaling.fill, "scaling/mean": scaling.mean, "scaling/spread": scaling.spread}
    learned = np.frombuffer(b"".join(sorted(bundle.learned)), dtype=np.uint8).copy()
    tensors["learned"] = torch.from_numpy(learned.reshape(-1, DIGEST))
    for place, task in enumerate(bundle.tasks):
        fitted = task.fitted
        owner = f"task/{place}" if fitted.network is None else f"network/{fitted.network}"
        tensors |= {f"task/{place}/state/{n}": t for n, t in fitted.state.items()}
        tensors |= {f"{owner}/parameter/{n}": t for n, t in fitted.parameters.items()}
    moved = {f"{place}/{n}": t for place, change in enumerate(bundle.changes) if change is not None for n, t in change.weights.items()}
    if moved:
        write_bytes(folder / WEIGHTS, safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in moved.items()}))
    if bundle.support is not None:
        kept = {"features": bundle.support.features} | {f"labels/{p}": torch.from_numpy(one) for p, one in bundle.support.labels.items()}
        write_bytes(folder / SUPPORT, safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in kept.items()}))
    write_bytes(folder / HEAD, safetensors.torch.save({n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}))
    if bundle.packed is not None:
        copy_packed(bundle.packed, folder / PACKED)
    write_bytes(folder / CARD, bundle.card.encode(errors="backslashreplace"))
    record = {
        "kind": JOINT,
        "format": FORMAT,
        "backbone": None if bundle.backbone is None else asdict(bundle.backbone),
        "changes": [record_of_change(change) for change in bundle.changes],
        "numbers": list(bundle.numbers),
        "input": bundle.input,
        "flagged": list(scaling.flagged),
        "tasks": [_said(task) for task in bundle.tasks],
        "facts": dict(bundle.facts),
    }
    write_bytes(folder / RECORD, sealed(record))


def _said(task: TaskModel) -> dict[str, Any]:
    expected = task.expected
    return {
        "name": task.name,
        "kind": task.kind,
        "names": list(task.names),
        "scale": list(task.scale),
        "way": task.way,
        "method": text(task.fitted.method),
        "unit": task.fitted.unit,
        "network": task.fitted.network,
        "reads": task.fitted.backbone,
        "temperature": task.temperature,
        "half": known(task.half),
        "metric": task.metric,
        "expected": None if expected is None else [known(expected.mean), known(expected.low), known(expected.high), expected.n],
        "guessing": known(task.guessing),
        "rows": task.rows,
    }


def load_joint(path: Path) -> JointBundle:
    """Read a saved model of several label columns. Raises InputError where it is missing, of another format, incomplete or changed."""
    record = model_record(path, JOINT)
    try:
        manifest = get(record, "files", dict)
        packed = {name for name in manifest if name.startswith(f"{PACKED}/") and (path / PACKED).is_dir()}
        for name in sorted({HEAD} | {WEIGHTS, SUPPORT} & manifest.keys() | {n for n in packed if not n.endswith(".safetensors")}):
            if sha256(path / name) != manifest[name]:
                raise InputError(f"{path / name} was changed or damaged after it was saved (its sha256 differs): make the model again.")
        bundle = _bundle(record, safetensors.torch.load_file(path / HEAD), path, manifest)
        _check_whole(bundle)
        return bundle
    except InputError:
        raise
    except (*BROKEN, safetensors.SafetensorError) as problem:
        said = (str(problem).splitlines() or [""])[0].rstrip(".")
        raise InputError(f"{path} is not a whole fewtune model ({type(problem).__name__}: {said}): make the model again.") from None


def _bundle(record: Mapping[str, Any], tensors: dict[str, Tensor], path: Path, manifest: Mapping[str, Any]) -> JointBundle:
    backbone, changes = record["backbone"], [None] if record.get("changes") is None else get(record, "changes", list)
    moved = safetensors.torch.load_file(path / WEIGHTS) if any(one is not None for one in changes) else {}
    scaling = under("scaling/", tensors)
    return JointBundle(
        backbone=None if backbone is None else read_backbone_record(get(record, "backbone", dict)),
        numbers=tuple(_strings(get(record, "numbers", list))),
        scaling=Scaling(scaling["fill"], tuple(int(n) for n in get(record, "flagged", list)), scaling["mean"], scaling["spread"]),
        tasks=tuple(_task(one, place, tensors) for place, one in enumerate(get(record, "tasks", list))),
        learned=frozenset(one.numpy().tobytes() for one in tensors["learned"]),
        input=None if record["input"] is None else get(record, "input", str),
        facts=get(record, "facts", dict),
        card=read_card(path / CARD),
        read=str(record.get("digest", "")),
        packed=packed_folder(path, manifest),
        support=_support(path) if SUPPORT in manifest else None,
        changes=tuple(None if one is None else read_change(one, under(f"{place}/", moved)) for place, one in enumerate(changes)),
    )


def _support(path: Path) -> JointSupport:
    found = safetensors.torch.load_file(path / SUPPORT)
    return JointSupport(found["features"], {int(place): labels.numpy() for place, labels in under("labels/", found).items()})


def _task(said: dict[str, Any], place: int, tensors: dict[str, Tensor]) -> TaskModel:
    kind, names, network = get(said, "kind", str), _strings(get(said, "names", list)), said["network"]
    if kind not in ("class", "float", "multi") or len(set(names)) < len(names) or (kind == "class" and len(names) < 2):
        raise ValueError(f"task {place} is of kind {kind!r} with {len(names)} names")
    owner = f"task/{place}" if network is None else f"network/{int(network)}"
    expected = said["expected"]
    center, spread = (float(n) for n in get(said, "scale", list))
    return TaskModel(
        name=get(said, "name", str),
        kind=kind,  # type: ignore[arg-type]  # checked above
        names=tuple(names),
        scale=(center, spread),
        way=get(said, "way", str),
        fitted=Fitted(
            _method(get(said, "method", str)),
            under(f"task/{place}/state/", tensors),
            under(f"{owner}/parameter/", tensors),
            get(said, "unit", bool),
            None if network is None else int(network),
            int(said.get("reads", 0)),
        ),
        temperature=_positive(said["temperature"]),
        half=_number(said["half"]),
        metric=get(said, "metric", str),
        expected=None if expected is None else _interval(*expected),
        guessing=_number(said["guessing"]),
        rows=get(said, "rows", int),
    )


def _method(text: str) -> Method:
    try:
        return read_method(text)
    except InputError as problem:
        raise ValueError(f"its method cannot be read: {problem}") from None


def _strings(listed: list[Any]) -> list[str]:
    if not all(isinstance(one, str) for one in listed):
        raise TypeError("names are not texts")
    return listed


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _interval(mean: Any, low: Any, high: Any, count: Any) -> Interval:
    return Interval(_number(mean), _number(low), _number(high), 0.95, int(count), "held out")


def _positive(value: Any) -> float:
    if not 1e-9 <= float(value) <= 1e9:
        raise ValueError(f"temperature {value}")
    return float(value)


def _check_whole(bundle: JointBundle) -> None:
    """Every task answers features of this width with its number of outputs, and the scaling suits its inputs."""
    width, scaling = bundle.width, bundle.scaling
    embedded = 0 if bundle.backbone is None else bundle.backbone.width
    inputs = embedded + len(bundle.numbers) + len(scaling.flagged)
    if (width, len(scaling.spread), len(scaling.fill)) != (inputs, width, len(bundle.numbers)) or not bundle.tasks:
        raise ValueError(f"{width} features of {inputs} inputs for {len(bundle.tasks)} tasks")
    if any(len(digest) != DIGEST for digest in bundle.learned):
        raise ValueError("the digests of its rows are no digests")
    if not all(0 <= n < len(bundle.numbers) for n in scaling.flagged) or len({task.name for task in bundle.tasks}) < len(bundle.tasks):
        raise ValueError("its columns are not those of a model")
    if not (bool(scaling.mean.isfinite().all() and scaling.fill.isfinite().all()) and bool((scaling.spread > 0).all())):
        raise ValueError("the scale of its features is none")
    if not all(0 <= place < len(bundle.changes) for place in bundle.places) or (bundle.backbone is None and any(bundle.changes)):
        raise ValueError("its columns read features of a backbone that it does not have")
    if bundle.support is not None:
        rows = len(bundle.support.features)
        classes = [(bundle.tasks[place].outputs, labels) for place, labels in bundle.support.labels.items()]
        if bundle.support.features.shape[1] != width or any(len(one) != rows or not (one < most).all() for most, one in classes):
            raise ValueError(f"{SUPPORT} is not of this model's width and classes")
    for task in bundle.tasks:
        if task.kind not in METRICS[task.metric].kinds or task.half < 0 or not (math.isfinite(task.scale[0]) and task.scale[1] > 0):
            raise ValueError(f"task {task.name} of kind {task.kind} has metric {task.metric}, scale {task.scale} and half {task.half}")
        if not all(bool(t.isfinite().all()) for t in (*task.fitted.state.values(), *task.fitted.parameters.values())):
            raise ValueError(f"task {task.name} has weights that are not finite")
        if (found := task.fitted.outputs(torch.zeros(1, width)).shape) != (1, task.outputs):
            raise ValueError(f"task {task.name} gives outputs of shape {list(found)}, expected {task.outputs}")
