"""A model of several label columns for other programs: one ONNX file with an output for each column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.files import add_to_manifest, refuse_foreign, write_bytes
from fewtune.keys import key
from fewtune.machine import Machine
from fewtune.models.export import MADE_UP, MOST, TOLERANCE, Exported, made_up_items, refuse_readings, shown_inputs, tokenizer_files
from fewtune.models.graph import TOKENS, Inputs, PixelInputs, fed, inputs_of
from fewtune.models.joint.model import Floats, JointBundle, TaskModel
from fewtune.models.joint.predict import load_joint_backbones
from fewtune.models.joint.rows import Backbones
from fewtune.models.onnx_provider import as_onnx, need_onnx, run_outputs
from fewtune.models.predict import Running

NUMBERS = "numbers"


@final
class JointAnswering(nn.Module):
    """Prepared inputs, and numbers [N, M] (NaN missing), to an answer for each column: probabilities [N, K] of classes or labels, numbers
    [N, 1]; float32. Pictures without a value above 1 get NaN, as in the graph of one column."""

    def __init__(self, bundle: JointBundle, backbones: Backbones) -> None:
        super().__init__()
        self.tasks, self.flagged, self.bare = bundle.tasks, list(bundle.scaling.flagged), not bundle.numbers
        self.places = bundle.places if backbones else ()
        self.networks = nn.ModuleList([backbones[place].network for place in self.places])
        preparation = next(iter(backbones.values())).preparation if backbones else None
        self.text = isinstance(preparation, TextPreparation)
        self.pixels = PixelInputs(preparation) if isinstance(preparation, ImagePreparation) else None
        for name in ("fill", "mean", "spread"):
            self.register_buffer(name, getattr(bundle.scaling, name).double())
        for place, task in enumerate(bundle.tasks):
            for kind, tensors in (("state", task.fitted.state), ("parameter", task.fitted.parameters)):
                for at, tensor in enumerate(tensors.values()):
                    self.register_buffer(f"{kind}{place}_{at}", tensor.detach().clone())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given, numbers = (inputs, None) if self.bare else (inputs[:-1], inputs[-1])
        read: Any = given[0] if given else None
        if self.pixels is not None:
            read = self.pixels(read)
        elif self.text:
            read = dict(zip(TOKENS, given, strict=True))
        embeddings = [network(read) for network in self.networks]
        features = [self._features(embedding, numbers) for embedding in embeddings or [None]]
        by_place = dict(zip(self.places or (0,), features, strict=True))
        answers = [self._answer(place, task, by_place[task.fitted.backbone]) for place, task in enumerate(self.tasks)]
        if self.pixels is not None:
            seen = given[0].amax(dim=(1, 2, 3))[:, None] > 1
            answers = [torch.where(seen, answer, float("nan")) for answer in answers]
        return tuple(answers)

    def _features(self, embedding: Tensor | None, numbers: Tensor | None) -> Tensor:
        parts = [] if embedding is None else [embedding.double()]
        if numbers is not None:
            wide, missing = numbers.double(), numbers.isnan()
            parts += [torch.where(missing, self.get_buffer("fill"), wide), missing[:, self.flagged].double()]
        features = (torch.cat(parts, dim=1) - self.get_buffer("mean")) / self.get_buffer("spread")
        return features.clamp(-1e9, 1e9).float()

    def _answer(self, place: int, task: TaskModel, features: Tensor) -> Tensor:
        fitted = task.fitted
        held = {
            kind: {n: self.get_buffer(f"{kind}{place}_{at}") for at, n in enumerate(tensors)}
            for kind, tensors in (("state", fitted.state), ("parameter", fitted.parameters))
        }
        given = features / max(features.shape[-1], 1) ** 0.5 if fitted.unit else features
        outputs: Tensor = fitted.method.head.score(held["state"], given[None], held["parameter"])[0]
        if task.kind == "float":
            return (outputs.double() * task.scale[1] + task.scale[0]).float()
        return torch.sigmoid(outputs).float() if task.kind == "multi" else torch.softmax(outputs / task.temperature, dim=-1).float()


def export_joint(bundle: JointBundle, path: Path, *, weights: Path | None = None, examples: Examples | None = None) -> Exported:
    """Write a model of label columns as `path`, with a note beside it. `examples`: what it is checked on where it reads no numbers; else
    made-up rows.

    It is written only once onnxruntime answers as fewtune does: to 1e-4 of a probability, and of a column's standard deviation. Raises
    InputError as `export_onnx` does.
    """
    need_onnx()
    plain = Machine(device="cpu", dtype="float32", channels_last=False)
    backbones = load_joint_backbones(bundle, Running(weights=weights, machine=plain))
    backbone = next(iter(backbones.values())) if backbones else None
    if backbone is not None:
        refuse_readings(backbone)
    checked, numbers = _checked(bundle, backbone, examples)
    inputs = _inputs(bundle, backbone)
    batches = [_fed(inputs, backbone, checked, numbers[-size:], size) for size in sorted({1, 2, len(numbers)})]
    two = [torch.from_numpy(batches[1][name]) for name in inputs.names]
    if isinstance(getattr(backbone, "preparation", None), ImagePreparation):
        two[0] = torch.zeros(2, 61, 47, 3, dtype=torch.uint8)
    network, outputs = JointAnswering(bundle, backbones).eval(), [f"column_{place}" for place in range(len(bundle.tasks))]
    content = as_onnx(network, inputs, two, _metadata(bundle, inputs, outputs), outputs)
    worst = _difference(bundle, network, inputs, batches, run_outputs(content, batches))
    if not worst <= TOLERANCE:
        raise InputError(
            f"the exported model differs from this one by up to {worst:.2g} in an answer (at most {TOLERANCE:g} is allowed): nothing was "
            "written: it computes something that ONNX does otherwise."
        )
    tokens = {} if backbone is None else tokenizer_files(backbone, path.parent / "tokenizer")
    beside = {**tokens, path.with_suffix(".md"): _note(bundle, path, inputs, outputs).encode(errors="backslashreplace")}
    refuse_foreign(path.parent, [path, *beside])
    for file, wanted in {**beside, path: content}.items():
        write_bytes(file, wanted)
    add_to_manifest(path.parent, [path, *beside])
    said = (
        f"Wrote {path} ({len(content) / 1e6:.1f} MB): {shown_inputs(inputs)} -> one output for each of {len(outputs)} columns.",
        f"Checked with onnxruntime on {len(numbers)} rows: its answers differ from fewtune's by at most {worst:.1g} (probabilities, and "
        "standard deviations of numbers).",
        f"{path.with_suffix('.md')} says how other programs use it.",
    )
    return Exported(path, len(content), worst, len(numbers), inputs, said)


def _checked(bundle: JointBundle, backbone: Backbone | None, given: Examples | None) -> tuple[Examples, Floats]:
    """(rows to check on, their numbers, of which some are missing)."""
    random = key(0, "export columns").generator()
    if given is not None and not bundle.numbers:
        rows = given.take(np.arange(min(MOST, len(given))))
    elif backbone is None:
        rows = make_examples(Vectors(np.zeros((MADE_UP, 0), dtype=np.float32)), name="made-up rows")
    else:
        assert bundle.backbone is not None
        rows = make_examples(made_up_items(bundle.backbone, backbone, [task.name for task in bundle.tasks]), name="made-up rows")
    shown = rows.take(np.resize(np.arange(len(rows)), max(2, len(rows))))
    numbers = bundle.scaling.fill.numpy() + random.normal(size=(len(shown), len(bundle.numbers)))
    numbers[random.random(numbers.shape) < 0.2] = np.nan
    return shown, numbers.astype(np.float32).astype(np.float64)


def _inputs(bundle: JointBundle, backbone: Backbone | None) -> Inputs:
    numbers = ((NUMBERS, "float32", ("batch", len(bundle.numbers))),) if bundle.numbers else ()
    said = f" Numbers are the columns {', '.join(bundle.numbers)} in this order, NaN where one is missing." if numbers else ""
    if backbone is None:
        return Inputs(numbers, said.strip())
    assert bundle.backbone is not None
    own = inputs_of(bundle.backbone.width, backbone)
    return Inputs((*own.listed, *numbers), own.how + said, own.longest)


def _fed(inputs: Inputs, backbone: Backbone | None, rows: Examples, numbers: Floats, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """The last `size` rows as the graph takes them."""
    given = {} if backbone is None else dict(fed(backbone, rows, np.arange(len(rows))[-size:]))
    return given | ({NUMBERS: numbers.astype(np.float32)} if NUMBERS in inputs.names else {})


def _difference(
    bundle: JointBundle, network: JointAnswering, inputs: Inputs, batches: list[dict[str, Any]], found: list[list[np.ndarray[Any, Any]]]
) -> float:
    """The largest difference between what onnxruntime and fewtune answer; infinite where only one of them is NaN."""
    worst = 0.0
    for batch, answered in zip(batches, found, strict=True):
        with torch.inference_mode():
            own = network(*(torch.from_numpy(batch[name]) for name in inputs.names))
        for task, one, other in zip(bundle.tasks, own, answered, strict=True):
            gap = np.abs(one.numpy() - other) / (task.scale[1] if task.kind == "float" else 1.0)
            worst = max(worst, float(gap.max()) if one.shape == other.shape and np.isfinite(gap).all() else float("inf"))
    return worst


def _metadata(bundle: JointBundle, inputs: Inputs, outputs: list[str]) -> dict[str, str]:
    """What a program needs to use the file on its own."""
    from fewtune.version import __version__

    columns = [{"name": t.name, "kind": t.kind, "names": list(t.names), "output": o} for t, o in zip(bundle.tasks, outputs, strict=True)]
    listed = [{"name": name, "kind": kind, "shape": list(shape)} for name, kind, shape in inputs.listed]
    said: Mapping[str, str] = {
        "columns": json.dumps(columns),
        "numbers": json.dumps(list(bundle.numbers)),
        "inputs": json.dumps(listed),
        "how_to_prepare": inputs.how,
        "fewtune": __version__,
    }
    return {name: value.encode(errors="backslashreplace").decode() for name, value in said.items()}


def _note(bundle: JointBundle, path: Path, inputs: Inputs, outputs: list[str]) -> str:
    sizes = [(name, kind, ", ".join("N" if size == "batch" else str(size) for size in shape)) for name, kind, shape in inputs.listed]
    shapes = "\n".join(f"- `{name}`: {kind}, [{size}]" for name, kind, size in sizes)
    each = [(output, task.name.replace("|", chr(92) + "|"), _what(task)) for output, task in zip(outputs, bundle.tasks, strict=True)]
    rows = "\n".join(f"| `{output}` | {name} | {what} |" for output, name, what in each)
    return f"""# {path.name}

## What goes in
{shapes}

{inputs.how}

## What comes out
| output | column | what it is |
|---|---|---|
{rows}

The names of columns, classes and labels are in the file's metadata (`columns`, JSON).
"""


def _what(task: TaskModel) -> str:
    names = ", ".join(task.names[:20]).replace("|", chr(92) + "|") + (", ..." if len(task.names) > 20 else "")
    if task.kind == "float":
        return "float32 [N, 1]: the number"
    kind = "probabilities of the classes" if task.kind == "class" else "the probability of each label"
    return f"float32 [N, {len(task.names)}]: {kind} {names}"
