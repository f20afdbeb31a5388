"""Weights from a local file: safetensors, or pt with `weights_only` loading. All of them must fit; else the error says what does not."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from fewtune.backbones.known_digests import known_sha256
from fewtune.errors import InputError
from fewtune.files import read_json

_WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "module", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.")
_DEEPEST = 8  # the deepest nesting of wrappers
_COUNTER = "num_batches_tracked"  # not used by any forward pass in eval mode
_FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")


def weights_files(path: Path) -> list[Path]:
    """The files of weights at a path: the file itself, or those in a folder (several if a large model is split into parts)."""
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"the weights {path} do not exist: expected a local safetensors or pt file, or a folder.")
        return [path]
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}.index.json").is_file():
            return _parts(path / f"{name}.index.json")
    found = sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        told = f"{len(found)} files of weights and no {_FOLDER_FILES[0]}: give one of them" if found else "no weights"
        raise InputError(f"{path} holds {told}: expected a file such as {_FOLDER_FILES[0]} in it.")
    return found


def _parts(index: Path) -> list[Path]:
    """The files that are listed in the index of a split model; all of them are beside it."""
    try:
        names = sorted({str(name) for name in read_json(index)["weight_map"].values()})  # type: ignore[index]  # reported below
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError) as problem:
        raise InputError(f"{index} is not an index of weights ({problem!r}): download the model again.") from None
    files = [index.parent / Path(name).name for name in names]
    if lost := [file.name for file in files if not file.is_file()]:
        raise InputError(f"{index.parent} lacks {_some(lost)} of the {len(files)} parts of its weights: download the model again.")
    return files


def weights_record(path: Path) -> dict[str, str]:
    """Name and sha256 of the files at a path, for the record (if there are several: the sha256 of their sha256 values)."""
    files = weights_files(path)
    sums = [known_sha256(file) for file in files]
    whole = sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
    return {"weights": files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more", "sha256": whole}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, in float32 on the CPU. Raises InputError for files that hold anything else (nothing is executed)."""
    tensors: dict[str, Tensor] = {}
    for file in weights_files(path):
        tensors |= _unwrapped(_opened(file))
    if not tensors:
        raise InputError(f"{path} holds no named tensors: expected a state dictionary.")
    for name, tensor in tensors.items():
        if odd := _odd(tensor):
            raise InputError(f"{path}: the tensor {name} {odd}: expected plain tensors of real numbers; save it as safetensors.")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _odd(tensor: Tensor) -> str:
    """Why a tensor cannot be a weight; empty for an ordinary one."""
    if tensor.is_meta:
        return "has a shape and no values"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "is sparse"
    return "is quantised" if tensor.is_quantized else "holds complex numbers" if tensor.is_complex() else ""


def _opened(file: Path) -> object:
    try:
        if file.suffix == ".safetensors":
            found: object = safetensors.torch.load_file(file)
            return found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about old formats before it refuses them
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        with open(file, "rb") as opened:
            start = opened.read(2)
        if start not in (b"PK", b"\x80\x02"):
            raise InputError(f"{file} cannot be read as weights: expected a safetensors or pt file.") from None
        raise InputError(
            f"{file} holds more than tensors. It is not opened, because a pickle can run code: save it as safetensors."
        ) from None
    except MemoryError:
        raise
    except Exception as problem:  # torch raises many kinds of errors on bytes that are not weights
        said = str(problem).splitlines()[0].rstrip(".") if str(problem) else type(problem).__name__
        raise InputError(f"{file} cannot be read as weights ({said}): expected a safetensors or pt file.") from None


def _unwrapped(found: object) -> dict[str, Tensor]:
    """The state dictionary inside checkpoints of training scripts."""
    for _ in range(_DEEPEST):  # a dictionary can contain itself
        if not isinstance(found, Mapping) or any(isinstance(v, Tensor) for v in found.values()):
            break
        inner = [found[w] for w in _WRAPPERS if isinstance(found.get(w), Mapping)]
        if not inner:
            return {}
        found = inner[0]
    if not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def fit_weights(
    network: nn.Module,
    path: Path,
    *,
    heads: Sequence[str] = (),
    spare: Sequence[str] = (),
    prefixes: Sequence[str] = (),
    convert: Callable[[dict[str, Tensor]], Mapping[str, Any]] | None = None,
) -> dict[str, str]:
    """Load a file into a network; returns where the weights came from, for the record.

    Every parameter and persistent buffer must be in the file with its shape, and the file may hold nothing else. Exceptions: the classifier
    (names that begin with one of `heads`) is left out and reported; names that begin with one of `spare` may be in only one of the two;
    BatchNorm's batch counters may be missing. `prefixes`: prefixes that a file may put before every name. `convert`: the library's own
    conversion from other layouts, tried if the names or shapes do not fit.
    """
    wanted = network.state_dict()
    read = _renamed(read_weights(path), wanted, (*_PREFIXES, *prefixes))
    given, said = read, _differences(read, wanted, heads, spare)
    if said and convert is not None:
        with contextlib.suppress(Exception):  # if the conversion fails, the first reason is reported
            converted = {name: tensor for name, tensor in convert(dict(read)).items() if isinstance(tensor, Tensor)}
            if not _differences(converted, wanted, heads, spare):
                given, said = converted, []
    if said:
        raise InputError(f"the weights {path} do not fit this model: of {len(wanted)} tensors, {'; '.join(said)}.")
    network.load_state_dict({n: given[n] for n in wanted if n in given}, strict=False)
    left_out = sorted(n for n in given if n not in wanted)
    absent = sorted(n for n in wanted if n not in given and not n.endswith(_COUNTER))
    record = weights_record(path)
    record |= {"head left out": _some(left_out)} if left_out else {}
    return record | ({"not in the file": ", ".join(absent)} if absent else {})


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], heads: Sequence[str], spare: Sequence[str]) -> list[str]:
    """Why a file does not fit, in words; empty if it fits."""
    missing = sorted(n for n in wanted if n not in given and not n.endswith(_COUNTER) and not n.startswith(tuple(spare)))
    unexpected = sorted(n for n in given if n not in wanted and not n.startswith((*heads, *spare)))
    wrong = [
        f"{n} is {tuple(given[n].shape)}, expected {tuple(w.shape)}" for n, w in wanted.items() if n in given and given[n].shape != w.shape
    ]
    kinds = ((missing, "missing"), (unexpected, "unexpected"), (wrong, "of another shape"))
    return [f"{len(names)} {kind} ({_some(names)})" for names, kind in kinds if names]


def _renamed(given: dict[str, Tensor], wanted: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The tensors without prefixes that wrappers put before names, as long as more names fit without them."""
    best, most = given, len(given.keys() & wanted.keys())
    for prefix in prefixes:
        stripped = {n.removeprefix(prefix): t for n, t in given.items()}
        if len(stripped) == len(given) and len(stripped.keys() & wanted.keys()) > most:
            best, most = stripped, len(stripped.keys() & wanted.keys())
    if best is not given:
        return _renamed(best, wanted, prefixes)
    # two wrappers: more names fit only if both prefixes are removed
    twice = [{n.removeprefix(a).removeprefix(b): t for n, t in given.items()} for a in prefixes for b in prefixes if a and b and a != b]
    return max([given, *(t for t in twice if len(t) == len(given))], key=lambda t: len(t.keys() & wanted.keys()))


def _some(names: Sequence[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """A digest of all weights and buffers: 32 hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        whole.update(tensor.view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return whole.hexdigest()
