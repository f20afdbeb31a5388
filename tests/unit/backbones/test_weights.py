"""Files of weights: read without running anything, fitted whole or refused with reasons."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from fewtune.backbones.weights import digest_weights, fit_weights, read_weights, weights_record
from fewtune.errors import InputError
from tests.tiny import drawn


def network() -> nn.Module:
    with drawn(0):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()


def other() -> dict[str, torch.Tensor]:
    return {name: torch.full_like(tensor, 2) for name, tensor in network().state_dict().items()}


class Evil:
    """Unpickling it touches a file."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.file, "w")


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "teacher", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone.", "backbone.", "_orig_mod.", "model."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = {prefix + name: tensor.half() for name, tensor in other().items()}
    torch.save({wrapper: state, "epoch": 3, "args": {"lr": 0.1}} if wrapper else state, tmp_path / "w.pt")
    net = network()
    record = fit_weights(net, tmp_path / "w.pt")
    assert all(bool((t == 2).all()) and t.dtype != torch.float16 for t in net.state_dict().values())
    assert record == {"weights": "w.pt", "sha256": hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()}


def test_what_does_not_fit_is_counted_and_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = other()
    del state["0.weight"], state["1.running_mean"]
    state |= {"2.bias": torch.zeros(7), "5.weight": torch.zeros(1), "head.weight": torch.zeros(9, 2)}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    net = network()
    before = digest_weights(net.state_dict())
    with pytest.raises(InputError) as raised:
        fit_weights(net, tmp_path / "w.safetensors", heads=("head.",))
    assert "of 9 tensors, 2 missing (0.weight, 1.running_mean); 1 unexpected (5.weight)" in str(raised.value)
    assert "1 of another shape (2.bias is (7,), expected (2,))" in str(raised.value)
    assert digest_weights(net.state_dict()) == before


def test_heads_are_left_out_and_said_and_counters_may_be_missing(tmp_path: Path) -> None:
    state = other() | {"head.weight": torch.zeros(9, 2), "head.bias": torch.zeros(9)}
    del state["1.num_batches_tracked"]
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert fit_weights(network(), tmp_path / "w.safetensors", heads=("head.",))["head left out"] == "head.bias, head.weight"


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    evil = Evil(tmp_path / "ran")
    torch.save({"a": evil}, tmp_path / "new.pt")
    torch.save({"a": evil}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.bin").write_bytes(pickle.dumps(evil))
    for name in ("new.pt", "old.pt", "bare.bin"):
        with pytest.raises(InputError, match=r"can run code|cannot be read"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not a zip", bytes(1000), b"\x80\x02"])
def test_broken_files_are_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as raised:
        read_weights(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_things_that_are_no_state_dictionary(tmp_path: Path) -> None:
    for found in ([torch.zeros(2)], torch.zeros(2), {"a": 1}, {}):
        torch.save(found, tmp_path / "w.pt")
        with pytest.raises(InputError, match="no named tensors"):
            read_weights(tmp_path / "w.pt")
    with pytest.raises(InputError, match="do not exist"):
        read_weights(tmp_path / "nothing.pt")


def test_models_in_parts(tmp_path: Path) -> None:
    state = other()
    names = sorted(state)
    parts = {"model-1.safetensors": names[:4], "model-2.safetensors": names[4:]}
    for file, held in parts.items():
        safetensors.torch.save_file({n: state[n] for n in held}, tmp_path / file)
    with pytest.raises(InputError, match="2 files of weights"):
        read_weights(tmp_path)
    index = {"weight_map": {n: file for file, held in parts.items() for n in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_weights(tmp_path).keys() == state.keys()
    sums = "".join(hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() for file in sorted(parts))
    assert weights_record(tmp_path)["sha256"] == hashlib.sha256(sums.encode()).hexdigest()
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks model-2\.safetensors"):
        read_weights(tmp_path)


def test_digest_sees_every_bit_name_and_shape() -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
    same = {"b": torch.tensor(3), "a": torch.arange(6.0).reshape(3, 2).T.contiguous().T.reshape(2, 3)}
    assert digest_weights(state) == digest_weights(same)
    image = torch.arange(48.0).reshape(2, 3, 2, 4)
    assert digest_weights({"c": image}) == digest_weights({"c": image.contiguous(memory_format=torch.channels_last)})
    nudged = state["a"].clone()
    nudged[1, 2] = torch.nextafter(nudged[1, 2], torch.tensor(99.0))
    others = [{"a": nudged, "b": state["b"]}, {"a": state["a"].T, "b": state["b"]}, {"x": state["a"], "b": state["b"]}, {"a": state["a"]}]
    assert len({digest_weights(d) for d in (state, *others)}) == 5
