"""ONNX: written by torch, run by onnxruntime. The only file that imports them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.errors import InputError
from fewtune.models.graph import Inputs

OPSET = 20
_LONGEST_SIDE = 65535  # pixels of a photo
LARGEST = 2_000_000_000  # bytes: a protobuf holds no more than 2 GiB
_INSTALL = "exporting to ONNX needs three more packages: pip install 'fewtune[onnx]'."


def need_onnx() -> None:
    """Raise InputError, with the line that installs them, where the optional packages are missing."""
    try:
        with transformers_quietly():
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    except ImportError as problem:
        raise InputError(f"{_INSTALL} ({problem})") from None


def as_onnx(
    network: nn.Module, inputs: Inputs, example: Sequence[Tensor], metadata: Mapping[str, str], outputs: Sequence[str] = ("probabilities",)
) -> bytes:
    """One whole ONNX file, weights inside; any number of rows (and tokens) at once. `outputs`: their names.

    `example`: inputs of two rows, because a single one would be taken for a constant. Raises InputError where the network cannot be
    written.
    """
    size = sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
    if size > LARGEST:
        raise InputError(f"an ONNX file holds at most 2 GB and this model has {size / 1e9:.1f} GB: take a smaller backbone.")
    dims = {"batch": torch.export.Dim("batch"), "sequence": torch.export.Dim("sequence", max=inputs.longest)}
    dims |= {side: torch.export.Dim(side, max=_LONGEST_SIDE) for side in ("height", "width")}
    dynamic = tuple({i: dims[s] for i, s in enumerate(shape) if isinstance(s, str)} for _, _, shape in inputs.listed)
    silence = io.StringIO()
    try:
        with transformers_quietly(), torch.no_grad(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            program = torch.onnx.export(
                network,
                tuple(example),
                dynamo=True,
                external_data=False,
                dynamic_shapes={"inputs": dynamic},
                input_names=list(inputs.names),
                output_names=list(outputs),
                opset_version=OPSET,
                verbose=False,
            )
            assert program is not None
            program.model.metadata_props.update(metadata)
            made: bytes = _without_traces(program.model_proto).SerializeToString()
    except KeyError as problem:  # torch 2.6 leaves out the names of inputs
        raise InputError(f"torch {torch.__version__} is too old to write this model as ONNX: pip install --upgrade torch.") from problem
    except Exception as problem:  # the exporter raises many kinds; all mean that this network has no ONNX form
        said = next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
        raise InputError(f"this model cannot be written as ONNX: {said.rstrip('.')[:300]}.") from problem
    return made


def _without_traces(model: Any) -> Any:
    """The exporter notes with every node which line of which file it came from, and so the paths of this machine."""
    left = [model.graph, *model.functions]
    while left:
        for node in left.pop().node:
            node.doc_string = ""
            del node.metadata_props[:]
            left += [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]  # the branches of a condition
    return model


def run_onnx(content: bytes, batches: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """The first output that onnxruntime gives on the CPU, a batch at a time."""
    return [outputs[0] for outputs in run_outputs(content, batches)]


def run_outputs(content: bytes, batches: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> list[list[np.ndarray[Any, np.dtype[np.float32]]]]:
    """All outputs that onnxruntime gives on the CPU, a batch at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return [session.run(None, dict(batch)) for batch in batches]
    except Exception as problem:  # likewise
        raise InputError(f"onnxruntime cannot run the exported model: {str(problem).splitlines()[0][:300]}.") from problem
