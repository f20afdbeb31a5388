"""Two processes pretrain as one: the same weights, one run folder, written once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
import fewtune
from tests.unit.pretraining.test_pretrain import HOW, MLP, clouds
from dataclasses import replace
found = fewtune.pretrain(clouds(), backbone=MLP, out=sys.argv[1], settings=replace(HOW, groups=4, visits=1600), overwrite=True)
print(found.leads, found.record["processes"])
"""


@pytest.mark.slow  # three processes load PyTorch
def test_two_processes_pretrain_as_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    places = [{**given, "RANK": "0"}, {**given, "RANK": "1"}, {**os.environ, "OMP_NUM_THREADS": "1"}]
    outs = [tmp_path / "two", tmp_path / "two", tmp_path / "one"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(out)], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for out, env in zip(outs, places, strict=True)
    ]
    ended = [one.communicate(timeout=240) for one in running]
    assert [one.returncode for one in running] == [0, 0, 0], ended
    assert [said.strip() for said, _ in ended] == ["True 2", "False 2", "True 1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
    for suffix in ("", ",step=10"):
        two, one = (load_backbone(f"run:{tmp_path / name}{suffix}", machine=Machine(device="cpu")).start() for name in ("two", "one"))
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)
