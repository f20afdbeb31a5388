"""A saved model for other programs: one ONNX file, in place only once it answers as fewtune does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import refuse_unreadable
from fewtune.backbones.own_module import is_own
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Items, Pixels, Texts, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError
from fewtune.files import add_to_manifest, refuse_foreign, write_bytes
from fewtune.keys import key
from fewtune.machine import Machine
from fewtune.models.bundle import BackboneRecord, Bundle
from fewtune.models.graph import PIXELS, Answering, Inputs, fed, inputs_of
from fewtune.models.its_backbone import load_its_backbone
from fewtune.models.onnx_notes import beside as paths
from fewtune.models.onnx_notes import notes
from fewtune.models.onnx_provider import as_onnx, need_onnx, run_onnx
from fewtune.models.predict import probabilities, refuse_other_modality

TOLERANCE = 1e-4  # of a probability
MOST = 32  # rows that are checked
MADE_UP = 8
TOKENIZER = "tokenizer"
_INVENTED = "made-up rows"


@final
@dataclass(frozen=True, eq=False)
class Exported:
    """The file that was written, its `size` in bytes, and the largest `difference` between its probabilities and fewtune's on `rows`
    rows."""

    path: Path
    size: int
    difference: float
    rows: int
    inputs: Inputs
    sentences: tuple[str, ...]


def export_onnx(
    bundle: Bundle, path: Path, *, weights: Path | None = None, examples: Examples | None = None, backbone: Backbone | None = None
) -> Exported:
    """Write a model as `path`: preprocessing constants, backbone with what moved, head, temperature and softmax in one graph.

    `backbone`: the model's own, finetuned, where it is a network given from Python; any other is loaded by its name.
    It is checked with onnxruntime against fewtune's own probabilities, in several batch sizes, on the first rows of `examples` (on made-up
    ones, or for embeddings the model's own, where there are none). A tokenizer's files go to the folder `tokenizer` beside it, and a note
    with programs that use the model to files beside it (`onnx_notes`). Raises InputError, and writes nothing, where the network has no ONNX
    form, the two differ by more than 1e-4, or a run folder holds such a file that fewtune did not write.
    """
    need_onnx()
    if examples is not None:
        refuse_other_modality(bundle, examples)
    plain = Machine(device="cpu", dtype="float32", channels_last=False)
    own = backbone if backbone is not None and is_own(backbone.name) else None
    backbone = own.on(plain) if own is not None else load_its_backbone(bundle, weights=weights, machine=plain)
    refuse_readings(backbone)
    chosen = _made_up(bundle, backbone) if examples is None else examples
    checked = chosen.take(np.arange(min(MOST, len(chosen))))
    refuse_unreadable(checked, unreadable(checked, deep=False), skip_bad=False)
    inputs = inputs_of(bundle.backbone.width, backbone)
    example = _two(backbone, checked, inputs)
    content = as_onnx(Answering(bundle, backbone).eval(), inputs, example, _metadata(bundle, backbone, inputs))
    difference, sizes = _difference(bundle, backbone, checked, content)
    if not difference <= TOLERANCE:
        raise InputError(
            f"the exported model differs from this one by up to {difference:.2g} in a probability (at most {TOLERANCE:g} is allowed), so "
            f"nothing was written: {backbone.name} computes something that ONNX does otherwise."
        )
    tokens = tokenizer_files(backbone, path.parent / TOKENIZER)
    fast = any(file.name == "tokenizer.json" for file in tokens)
    beside = {
        **tokens,
        **paths(path, notes(path.stem, backbone.preparation, inputs, bundle.class_names, bundle.threshold, fast)),
    }
    refuse_foreign(path.parent, [path, *beside])
    for file, wanted in {**beside, path: content}.items():
        write_bytes(file, wanted)
    add_to_manifest(path.parent, [path, *beside])
    rows = "made-up " if chosen.name == _INVENTED else ""
    sentences = (
        f"Wrote {path} ({len(content) / 1e6:.1f} MB): {shown_inputs(inputs)} -> probabilities [N, {len(bundle.class_names)}].",
        inputs.how + _where_tokens(backbone, tokens),
        f"Checked with onnxruntime on {len(checked)} {rows}rows in batches of {', '.join(map(str, sizes))}: its probabilities differ from "
        f"fewtune's by at most {difference:.1g}.",
        f"{path.with_suffix('.md')} says how other programs use it"
        + (f"; {path.stem}_predict.py and {path.stem}_predict.mjs beside it do so." if len(beside) > len(tokens) + 1 else "."),
    )
    return Exported(path, len(content), difference, len(checked), inputs, sentences)


def _two(backbone: Backbone, examples: Examples, inputs: Inputs) -> list[torch.Tensor]:
    """An example batch of two rows (the same twice, where there is one), of two tokens or more; of photos, an ordinary size."""
    if isinstance(backbone.preparation, ImagePreparation):
        return [torch.zeros(2, 61, 47, 3, dtype=torch.uint8)]
    rows = np.array([0, len(examples) - 1], dtype=np.int64)
    given = fed(backbone, examples, rows)
    return [torch.from_numpy(given[name]) for name in inputs.names]


def _difference(bundle: Bundle, backbone: Backbone, examples: Examples, content: bytes) -> tuple[float, list[int]]:
    """The largest difference of a probability over batches of 1, 2, 3 and all rows, of photos over each by itself too; these sizes. NaN
    differs from everything."""
    sizes = sorted({size for size in (1, 2, 3, len(examples)) if size <= len(examples)})
    parts = [np.arange(len(examples))[-size:] for size in sizes]
    if isinstance(backbone.preparation, ImagePreparation):
        parts += [np.array([row]) for row in range(len(examples))]  # in its own size
    batches = [fed(backbone, examples, part) for part in parts]
    found = run_onnx(content, batches)
    start, space = backbone.start(), RowSpace([examples])
    worst = 0.0
    for part, given, answered in zip(parts, batches, found, strict=True):
        pictures = RowSpace([make_examples(Pixels(given[PIXELS]), name="checked")]) if PIXELS in given else None
        features = backbone.embed(start, space, part) if pictures is None else backbone.embed(start, pictures, np.arange(len(part)))
        own = probabilities(bundle, features).numpy()
        gap = float(np.abs(own - answered).max()) if own.shape == answered.shape else float("nan")
        worst = max(worst, gap) if gap == gap else float("inf")
    return worst, sizes


def _metadata(bundle: Bundle, backbone: Backbone, inputs: Inputs) -> dict[str, str]:
    """What a program needs to use the file on its own. JSON in plain ASCII, for names need not be UTF-8."""
    from fewtune.version import __version__

    listed = [{"name": name, "kind": kind, "shape": list(shape)} for name, kind, shape in inputs.listed]
    said: dict[str, Any] = {
        "class_names": json.dumps(list(bundle.class_names)),
        "inputs": json.dumps(listed),
        "how_to_prepare": inputs.how,
        "preprocessing": backbone.preparation.text,
        "threshold": f"{bundle.threshold:g}",
        "temperature": f"{bundle.temperature:.9g}",
        "backbone": backbone.name,
        "method": bundle.method,
        "fewtune": __version__,
    }
    return {name: str(value).encode(errors="backslashreplace").decode() for name, value in said.items()}


def refuse_readings(backbone: Backbone) -> None:
    """Raise InputError for texts that are not read as one sequence of tokens from a tokenizer alone."""
    preparation = backbone.preparation
    if isinstance(preparation, TextPreparation) and (preparation.template is not None or preparation.fields or preparation.long != "cut"):
        what = "prompts" if preparation.template is not None else "two texts" if preparation.fields else "long texts in parts"
        raise InputError(f"{backbone.name} reads {what}, which has no ONNX form yet: use `fewtune predict` or `fewtune serve`.")


def tokenizer_files(backbone: Backbone, folder: Path) -> dict[Path, bytes]:
    """The tokenizer's files as they lie in `folder` beside the model."""
    preparation = backbone.preparation
    if not isinstance(preparation, TextPreparation) or not hasattr(preparation.tokenizer, "save_pretrained"):
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        preparation.tokenizer.save_pretrained(scratch)
        return {folder / file.name: file.read_bytes() for file in sorted(Path(scratch).iterdir())}


def _where_tokens(backbone: Backbone, beside: Mapping[Path, bytes]) -> str:
    """A sentence that says where the tokenizer is."""
    if not isinstance(backbone.preparation, TextPreparation):
        return ""
    return f" The tokenizer's files are in {next(iter(beside)).parent}." if beside else f" The tokenizer is that of {backbone.name}."


def _made_up(bundle: Bundle, backbone: Backbone) -> Examples:
    """Rows to check on where none are given: made-up ones, or the embeddings learned from."""
    if bundle.backbone.name == "precomputed" and bundle.support is not None:
        return make_examples(Vectors(bundle.support.features.numpy()), name="support")
    return make_examples(made_up_items(bundle.backbone, backbone, bundle.class_names), name=_INVENTED)


def made_up_items(record: BackboneRecord, backbone: Backbone, names: Sequence[str]) -> Items:
    """Rows to check on: pictures of patches and noise, sentences with `names` in them, or embeddings by chance."""
    generator = key(0, "export").generator()
    if record.modality == "image":
        coarse = generator.integers(0, 256, (MADE_UP, 8, 8, 3), dtype=np.uint8)
        noise = generator.integers(-30, 31, (MADE_UP, 256, 256, 3))
        return Pixels(np.clip(coarse.repeat(32, 1).repeat(32, 2) + noise, 0, 255).astype(np.uint8))
    if record.modality == "text":
        many = tuple(names) * MADE_UP
        return Texts([" ".join(("this is a text about", *many[i : i + 1 + 3 * i])) for i in range(MADE_UP)])
    width = int(getattr(backbone.network, "inputs", record.width))
    return Vectors(generator.normal(size=(MADE_UP, width)).astype(np.float32))


def shown_inputs(inputs: Inputs) -> str:
    """Names, shapes and kinds of what a graph takes, in words."""
    shapes = [
        f"{name} [{', '.join({'batch': 'N', 'sequence': 'T'}.get(str(s), str(s)) for s in shape)}] {kind}"
        for name, kind, shape in inputs.listed
    ]
    return ", ".join(shapes)
