"""Laws of work in parts: pieces of a batch, activations computed again, and several processes give what the whole gives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch import distributed as dist

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Phase
from fewtune.learning.train import train
from fewtune.learning.world import ALONE, World, join_world, leave_world
from fewtune.machine import Machine
from fewtune.parts.aggregators import Famo, Fixed, GradNorm, Mean, MinNorm, PcGrad, Uncertainty, WorstCase
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.keep import Ema
from fewtune.parts.optimizers import SGD, Adam, AdamW
from fewtune.parts.plan import everything, only
from fewtune.stopping import Stopped, ask_to_stop
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows, group_tasks
from tests.laws.grounds import Asked, double_ground, maml, outer_phase
from tests.tiny import images

PAIRS = Sampled(ways=2, shots=2, queries=3, task="collection")
AGGREGATORS = (
    Mean(),
    Fixed(weights=(0.2, 3.0, 1.0)),
    WorstCase(),
    PcGrad(),
    PcGrad(gram="layer"),
    MinNorm(gram="representation"),
)
BACKBONE = only("group:*", 0.05)  # declared parameters are float32, and would round


@pytest.fixture(scope="module")
def groups(ground: Ground) -> Tasks:
    return group_tasks(ground.space)


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("parts", [2, 3, 9])
def test_a_batch_in_parts_is_the_whole(ground: Ground, groups: Tasks, aggregator: Any, parts: int) -> None:
    episodes = PAIRS.draw(groups, key(2), 0, 7)
    assert len(set(np.bincount(episodes.task.numpy(), minlength=3).tolist())) > 1  # tasks of unequal numbers of episodes
    phase = outer_phase(Centroid(), sampler=PAIRS, aggregator=aggregator, batch=7)
    weights = ground.backbone.start()
    leaves = {n: weights[n].clone().requires_grad_() for n in ground.parameters}
    answer = answering(ground, phase, leaves, key(0))
    whole, pieces = (direction(phase, answer, leaves, episodes, key(0), origin=weights, parts=p) for p in (1, parts))
    torch.testing.assert_close(pieces[1], whole[1], rtol=1e-13, atol=1e-15)
    for n in leaves:
        found, expected = pieces[0][n], whole[0][n]
        assert found is not None and expected is not None and expected.abs().max() > 1e-4
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("through", ["unroll", "first_order"])
def test_inner_loops_in_parts_draw_as_within_the_whole(ground: Ground, tasks: Tasks, weights: dict[str, Tensor], through: str) -> None:
    """Inner batches are random by an episode's place in its batch."""
    episodes = Sampled(ways=3, shots=2, queries=2).draw(tasks, key(2), 0, 3)
    phase = outer_phase(maml(steps=2, through=through, sampler=Pooled(batch=3)), batch=3)
    leaves = {n: t.clone().requires_grad_() for n, t in weights.items()}
    answer = answering(ground, phase, leaves, key(0))
    whole, pieces = (direction(phase, answer, leaves, episodes, key(0), origin=weights, parts=p)[0] for p in (1, 3))
    for n in leaves:
        torch.testing.assert_close(pieces[n], whole[n], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("aggregator", [Mean(), WorstCase(), PcGrad()], ids=lambda a: type(a).__name__)
def test_a_run_in_parts_is_the_whole_run(groups: Tasks, aggregator: Any) -> None:
    phase = Phase(sampler=PAIRS, learner=Centroid(), plan=BACKBONE, steps=3, batch=5, aggregator=aggregator)
    whole, pieces = (train(double_ground(accumulate=p), (phase,), groups, key(0)) for p in (1, 2))
    same(pieces.curve, whole.curve)
    for n in whole.weights:
        torch.testing.assert_close(pieces.weights[n], whole.weights[n], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["centroid", "first_order", "unroll", "head"])
def test_activations_computed_again_give_the_same_gradients(kind: str) -> None:
    pixels = images(24, height=16, width=16)
    space = RowSpace([make_examples(Pixels(pixels), np.repeat(np.arange(4), 6), class_names=list("abcd"))])
    phase, found = outer_phase(_image_learner(kind), sampler=Sampled(ways=3, shots=2, queries=2), batch=2), []
    for recompute in (False, True):
        backbone = load_backbone("conv4,size=16,width=4", machine=Machine(device="cpu", recompute=recompute).resolved())
        ground = Ground(backbone, space)
        leaves = {n: t.clone().requires_grad_() for n, t in backbone.start().items()}
        if kind != "centroid":
            leaves |= {n: t.requires_grad_() for n, t in Linear(ways=3, start="random").declare(backbone.width).items()}
        episodes = phase.sampler.draw(class_rows(space), key(0), 0, 2)
        found.append(direction(phase, answering(ground, phase, leaves, key(0)), leaves, episodes, key(0), origin=leaves)[0])
    for n, expected in found[0].items():
        if expected is None:
            assert found[1][n] is None
        else:
            torch.testing.assert_close(found[1][n], expected, rtol=1e-5, atol=1e-7)


def _image_learner(kind: str) -> Centroid | Adapt:
    if kind == "centroid":
        return Centroid()
    return maml(steps=2, rate=0.05, through="unroll" if kind == "head" else kind, plan="head.*" if kind == "head" else "*")


def asked_by_the_second() -> Phase:
    """One that only the second process wants to leave, after its third step."""
    sampler = Asked(PAIRS, 3, lambda: ask_to_stop() if os.environ.get("RANK") == "1" else None)
    return Phase(sampler=sampler, learner=Centroid(), plan=BACKBONE, steps=5, batch=2)


def cases(ground: Ground) -> dict[str, tuple[Phase, Tasks]]:
    """What two processes share. The odd batch leaves one of them more to do, the lone one nothing to do."""
    every, groups = class_rows(ground.space), group_tasks(ground.space)
    base = Phase(sampler=Sampled(ways=3, shots=1, queries=3), learner=Centroid(), plan=BACKBONE, steps=4, batch=4)
    moving = replace(base, optimizer=SGD(momentum=0.9))
    paired = replace(base, sampler=PAIRS, batch=5)
    inner = replace(maml(steps=2, sampler=Pooled(batch=3)), then=Linear(start="shared", ways=3))
    return {
        "batch of 4": (moving, every),
        "batch of 3": (replace(base, batch=3, optimizer=AdamW(), clip=0.1, keep=Ema(decay=0.5)), every),
        "batch of 1": (replace(moving, batch=1), every),
        "rows": (
            Phase(sampler=Pooled(batch=16), learner=Linear(rows="class", start="random"), plan=everything(0.05), steps=4, optimizer=Adam()),
            every,
        ),
        "PcGrad": (replace(paired, aggregator=PcGrad()), groups),
        "WorstCase": (replace(paired, aggregator=WorstCase()), groups),
        "PcGrad of episodes": (replace(moving, batch=5, aggregator=PcGrad()), every),
        "WorstCase of episodes": (replace(moving, batch=5, aggregator=WorstCase()), every),
        "PcGrad by layers": (replace(paired, aggregator=PcGrad(gram="layer", every=2)), groups),
        "MinNorm of features": (replace(paired, aggregator=MinNorm(gram="representation"), batch=3), groups),
        "one episode by layers": (replace(paired, aggregator=PcGrad(gram="layer"), batch=1), groups),
        "one episode of features": (replace(paired, aggregator=PcGrad(gram="representation"), batch=1), groups),
        "GradNorm": (replace(paired, aggregator=GradNorm()), groups),
        "Famo": (replace(paired, aggregator=Famo()), groups),
        "Uncertainty": (replace(paired, aggregator=Uncertainty()), groups),
        "Fixed": (replace(paired, aggregator=Fixed(weights=(0.2, 3.0, 1.0))), groups),
        "maml": (Phase(sampler=base.sampler, learner=inner, plan=everything(0.1), steps=2, batch=3), every),
    }


def trained(world: World, folder: Path) -> None:
    """Every case, and what came of it in files of this process."""
    torch.set_default_dtype(torch.float64)
    ground = double_ground()
    for name, (phase, tasks) in cases(ground).items():
        run = train(ground, (phase,), tasks, key(0), world=world)
        save_file({n: t.contiguous() for n, t in run.weights.items()}, folder / f"{name}-{world.rank}.safetensors")
        (folder / f"{name}-{world.rank}.json").write_text(json.dumps(run.curve))


def stopped(world: World, folder: Path) -> None:
    """A run that is stopped by one process, and gone on with by both."""
    torch.set_default_dtype(torch.float64)
    ground, kept = double_ground(), Checkpoints(folder / "kept", writes=world.leads)
    groups = group_tasks(ground.space)
    phase = asked_by_the_second()
    said = ""
    try:
        train(ground, (phase,), groups, key(0), world=world, checkpoints=kept)
    except Stopped as reason:
        said = str(reason)
    world.any(False)  # the leader has written
    run = train(ground, (replace(phase, sampler=PAIRS),), groups, key(0), world=world, checkpoints=kept)
    save_file({n: t.contiguous() for n, t in run.weights.items()}, folder / f"stopped-{world.rank}.safetensors")
    (folder / f"stopped-{world.rank}.json").write_text(json.dumps({"said": said, "curve": run.curve}))


def work(folder: str) -> None:
    """What each of several processes does."""
    world = join_world()
    group = weakref.ref(dist.group.WORLD)
    trained(world, Path(folder))
    stopped(world, Path(folder))
    leave_world()
    assert group() is None  # its threads have ended: one that outlives the interpreter aborts the process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("shared")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).resolve().parents[2]
    script = f"from tests.laws.test_parallel import work; work({str(folder)!r})"
    given = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**given, "RANK": str(r)}, stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    trained(ALONE, folder)
    torch.set_default_dtype(torch.float32)
    return folder


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Two curves, losses and the weights of tasks to rounding and all else exactly."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        rounded = ("loss", "task_weights")
        assert {k: v for k, v in a.items() if k not in rounded} == {k: v for k, v in b.items() if k not in rounded}
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-12, abs=1e-13)
        assert (a.get("task_weights") is None) == (b.get("task_weights") is None)
        assert a.get("task_weights", {}) == pytest.approx(b.get("task_weights", {}), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", list(cases(double_ground())))
def test_two_processes_are_one(shared: Path, alone: Path, name: str) -> None:
    expected = load_file(alone / f"{name}-0.safetensors")
    same(json.loads((shared / f"{name}-0.json").read_text()), json.loads((alone / f"{name}-0.json").read_text()))
    first, second = (load_file(shared / f"{name}-{rank}.safetensors") for rank in range(2))
    for n in expected:
        assert torch.equal(first[n], second[n])
        torch.testing.assert_close(first[n], expected[n], rtol=1e-12, atol=1e-12)
    assert any(not torch.equal(expected[n], t) for n, t in double_ground().start().items())


def test_one_process_that_is_asked_to_stop_stops_all(shared: Path, ground: Ground, groups: Tasks) -> None:
    found = [json.loads((shared / f"stopped-{rank}.json").read_text()) for rank in range(2)]
    assert [f["said"] for f in found] == [
        "stopped after step 3 of 5 of phase 0; run the same command again with --resume to go on from there."
    ] * 2
    whole = train(ground, (replace(asked_by_the_second(), sampler=PAIRS),), groups, key(0))
    same(found[0]["curve"], whole.curve)
    ended = load_file(shared / "stopped-0.safetensors")
    for n in ground.parameters:
        torch.testing.assert_close(ended[n], whole.weights[n], rtol=1e-12, atol=1e-12)


def test_a_world_of_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_world() == ALONE
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_world() == ALONE
