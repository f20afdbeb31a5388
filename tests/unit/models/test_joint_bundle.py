"""A record that was changed and sealed again: what cannot be a model is refused in one sentence, before anything is answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fewtune.errors import InputError
from fewtune.files import RECORD, sealed
from fewtune.joint.adapt import JointSettings, adapt_columns
from fewtune.models.bundle import HEAD
from fewtune.models.joint.bundle import load_joint, save_joint
from tests.unit.joint.grounds import houses


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("houses")
    save_joint(adapt_columns(houses(folder), None, JointSettings(methods={})).bundle, folder / "run")
    files = {file.name: file.read_bytes() for file in (folder / "run").iterdir()}
    return json.loads(files[RECORD]), safetensors.torch.load(files[HEAD]), files


def changed(folder: Path, saved: Any, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Path:
    record, tensors, files = json.loads(json.dumps(saved[0])), {name: t.clone() for name, t in saved[1].items()}, saved[2]
    change(record, tensors)
    head = safetensors.torch.save(tensors)
    record["files"][HEAD] = hashlib.sha256(head).hexdigest()
    record.pop("digest")
    for name, content in {**files, HEAD: head, RECORD: sealed(record)}.items():
        (folder / name).write_bytes(content)
    return folder


def said(place: int, name: str, value: object) -> Callable[..., object]:
    return lambda record, tensors: record["tasks"][place].__setitem__(name, value)  # noqa: ARG005


def filled(name: str, value: float) -> Callable[..., object]:
    return lambda record, tensors: tensors[name].fill_(value)  # noqa: ARG005


def test_what_was_not_changed_is_read(tmp_path: Path, saved: Any) -> None:
    assert len(load_joint(changed(tmp_path, saved, lambda record, tensors: None)).tasks) == 3  # noqa: ARG005


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (said(1, "method", "foo()"), "its method cannot be read: unknown name 'foo'"),
        (said(1, "metric", "rmse"), "task kind of kind class has metric rmse"),
        (said(0, "metric", "error"), "KeyError: 'error'"),
        (said(0, "half", -1.0), "and half -1"),
        (said(0, "scale", [0.0, 0.0]), "scale (0.0, 0.0)"),
        (said(0, "scale", [0.0, -1.0]), "scale (0.0, -1.0)"),
        (filled("scaling/spread", 0.0), "the scale of its features is none"),
        (filled("scaling/spread", -1.0), "the scale of its features is none"),
        (filled("scaling/mean", float("nan")), "the scale of its features is none"),
        (filled("scaling/fill", float("inf")), "the scale of its features is none"),
        (filled("task/1/state/weight", float("nan")), "task kind has weights that are not finite"),
        (filled("task/0/state/weight", float("inf")), "task price has weights that are not finite"),
    ],
)
def test_what_cannot_be_a_model_is_refused(tmp_path: Path, saved: Any, change: Callable[..., object], found: str) -> None:
    with pytest.raises(InputError, match="is not a whole fewtune model") as problem:
        load_joint(changed(tmp_path, saved, change))
    assert found in str(problem.value)


def test_a_constant_feature_has_an_infinite_spread(tmp_path: Path, saved: Any) -> None:
    assert load_joint(changed(tmp_path, saved, filled("scaling/spread", float("inf")))).tasks
