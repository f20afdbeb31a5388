"""Weights from a local file: safetensors, or pt through `weights_only` loading. Everything must fit, or it is said what does not."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from fewtune.errors import InputError
from fewtune.files import sha256

_WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "module", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.")
_FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")


def weights_file(path: Path) -> Path:
    """The file of weights that a path means: itself, or the one in a folder."""
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"the weights {path} do not exist: expected a local safetensors or pt file, or a folder.")
        return path
    found = [path / name for name in _FOLDER_FILES if (path / name).is_file()] or sorted(path.glob("*.safetensors"))
    if not found:
        raise InputError(f"{path} holds no weights: expected a file such as {_FOLDER_FILES[0]} in it.")
    return found[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, in float32 on the CPU. Raises InputError for files that hold anything else (nothing is executed)."""
    file = weights_file(path)
    try:
        if file.suffix == ".safetensors":
            found: object = safetensors.torch.load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{file} holds more than tensors (a pickle could run code), so it is not opened: save it as safetensors."
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, safetensors.SafetensorError) as problem:
        said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise InputError(f"{file} cannot be read as weights ({said}): expected a safetensors or pt file.") from None
    tensors = _unwrapped(found)
    if not tensors:
        raise InputError(f"{file} holds no named tensors: expected a state dictionary.")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _unwrapped(found: object) -> dict[str, Tensor]:
    """The state dictionary inside checkpoints of training scripts."""
    while isinstance(found, Mapping) and not any(isinstance(v, Tensor) for v in found.values()):
        inner = [found[w] for w in _WRAPPERS if isinstance(found.get(w), Mapping)]
        if not inner:
            return {}
        found = inner[0]
    if not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def fit_weights(network: nn.Module, path: Path, *, heads: Sequence[str] = ()) -> dict[str, str]:
    """Load a file into a network; returns where the weights came from, for the record.

    Every parameter and persistent buffer must be in the file with its shape, and the file may hold nothing else, but for the classifier
    (names that begin with one of `heads`), which is left out and said. BatchNorm's batch counters may be missing.
    """
    given = read_weights(path)
    wanted = network.state_dict()
    given = _renamed(given, wanted)
    left_out = sorted(n for n in given if n not in wanted and n.startswith(tuple(heads))) if heads else []
    counters = {n for n in wanted if n.endswith("num_batches_tracked") and n not in given}
    missing = sorted(wanted.keys() - given.keys() - counters)
    unexpected = sorted(given.keys() - wanted.keys() - set(left_out))
    wrong = [
        f"{n} is {tuple(given[n].shape)}, expected {tuple(w.shape)}" for n, w in wanted.items() if n in given and given[n].shape != w.shape
    ]
    said = [
        *([f"{len(missing)} missing ({_some(missing)})"] if missing else []),
        *([f"{len(unexpected)} unexpected ({_some(unexpected)})"] if unexpected else []),
        *([f"{len(wrong)} of another shape ({_some(wrong)})"] if wrong else []),
    ]
    if said:
        raise InputError(f"the weights {path} do not fit this model: of {len(wanted)} tensors, {'; '.join(said)}.")
    network.load_state_dict({n: given[n] for n in wanted if n in given}, strict=False)
    file = weights_file(path)
    record = {"weights": file.name, "sha256": sha256(file)}
    return record | ({"head left out": _some(left_out)} if left_out else {})


def _renamed(given: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that a wrapper put before every name, where that makes more names fit."""
    best, most = given, len(given.keys() & wanted.keys())
    for prefix in _PREFIXES:
        stripped = {n.removeprefix(prefix): t for n, t in given.items()}
        if len(stripped) == len(given) and len(stripped.keys() & wanted.keys()) > most:
            best, most = stripped, len(stripped.keys() & wanted.keys())
    return best


def _some(names: Sequence[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits that stand for every weight and buffer."""
    whole = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        whole.update(tensor.view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return whole.hexdigest()
