"""Laws of interrupted training: stopped anywhere and gone on with, a run is bit for bit the run that was not stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.errors import Diverged, InputError
from fewtune.keys import key
from fewtune.learning.checkpoints import Checkpoints, Saved
from fewtune.learning.ground import Ground
from fewtune.learning.loop import Weights
from fewtune.learning.phase import Average, Greedy, Phase, Step
from fewtune.learning.train import Trained, train
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.keep import KEEPS, Best, Ema, Swa
from fewtune.parts.optimizers import SGD, Adam, AdamW, RAdam
from fewtune.parts.plan import everything, gradual
from fewtune.parts.rates import Cosine, Learned, Steps
from fewtune.stopping import Stopped, ask_to_stop
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows
from tests.laws.grounds import WAYS, double_ground, maml, query_loss, some_episodes

EPISODES = Phase(sampler=Sampled(ways=WAYS, shots=1, queries=3), learner=Centroid(), plan=everything(0.05), steps=5, batch=2)
TABLE = replace(
    EPISODES, sampler=Pooled(batch=7), learner=Linear(rows="class", name="source"), optimizer=SGD(momentum=0.9), steps=3, batch=1
)
MAMF = replace(TABLE, sampler=InSequence(ways=3, rows=4, epochs=1, batch=5), steps=7, restart=3, optimizer=Adam())
META = replace(EPISODES, learner=maml(steps=2, plan=everything(Learned(lr=0.1)), sampler=Pooled(batch=4)), steps=3)
PROBE = replace(TABLE, plan=gradual(None, 0.1, every=1))

RUNS: dict[str, tuple[Step, ...]] = {
    "momentum": (replace(EPISODES, optimizer=SGD(momentum=0.9, nesterov=True), plan=everything(Cosine(lr=0.05, warmup=2))),),
    "adamw, clipped": (replace(EPISODES, optimizer=AdamW(), clip=0.5),),
    "radam": (replace(EPISODES, optimizer=RAdam(), steps=8),),
    "best": (replace(EPISODES, keep=Best(every=2), plan=everything(0.5)),),
    "ema": (replace(EPISODES, keep=Ema(decay=0.7), optimizer=Adam()),),
    "swa": (replace(EPISODES, keep=Swa(start=0.3, every=2), optimizer=AdamW()),),
    "restart": (MAMF,),
    "learned inner rates": (META,),
    "two phases": (PROBE, replace(EPISODES, optimizer=AdamW(), keep=Swa(start=0.5))),
    "members": (Average(members=((), (TABLE, EPISODES), (replace(TABLE, keep=Ema(decay=0.5)),)), weights=(0.2, 0.5, 0.3)), EPISODES),
    "greedy": (Greedy(members=((TABLE,), (replace(TABLE, plan=everything(1.0)),))),),
}


def test_every_way_to_keep_is_covered() -> None:
    kept = {type(phase.keep) for steps in RUNS.values() for phase in steps if isinstance(phase, Phase)}
    assert kept == set(KEEPS)


def stopped_after(ground: Ground, tasks: Tasks, stop: int) -> Callable[[Weights], float]:
    """Accuracy on validation, of sorts; its `stop`-th asking (from 1) is when somebody asks the run to stop."""
    episodes, asked = some_episodes(tasks), [0]

    def validate(weights: Weights) -> float:
        asked[0] += 1
        if asked[0] == stop:
            ask_to_stop()
        return -query_loss(ground, Centroid(), weights, episodes)

    return validate


def run(ground: Ground, tasks: Tasks, steps: tuple[Step, ...], folder: Path | None, stop: int = 0) -> Trained:
    kept = Checkpoints(folder, every=0.0)
    return train(ground, steps, tasks, key(5), validate=stopped_after(ground, tasks, stop), checkpoints=kept, watch=1)


def same(found: Trained, expected: Trained) -> None:
    assert found.curve == expected.curve
    assert (found.visits, found.steps, found.moved) == (expected.visits, expected.steps, expected.moved)
    assert set(found.weights) == set(expected.weights)
    for n, t in expected.weights.items():
        assert torch.equal(found.weights[n], t), n


@pytest.mark.parametrize("name", list(RUNS))
def test_a_run_that_is_stopped_after_every_step_is_the_run_that_is_not(ground: Ground, tasks: Tasks, name: str, tmp_path: Path) -> None:
    whole = run(ground, tasks, RUNS[name], None)
    assert whole.moved
    stops = 0
    while True:
        try:
            found = run(ground, tasks, RUNS[name], tmp_path, stop=1 if stops < whole.steps else 0)
            break
        except Stopped:
            stops += 1
    assert stops == whole.steps  # after the last step of a phase too
    same(found, whole)


@pytest.mark.parametrize("name", ["two phases", "members"])
@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_stopped_anywhere_is_the_run_that_is_not(ground: Ground, tasks: Tasks, name: str, seed: int, tmp_path: Path) -> None:
    whole = run(ground, tasks, RUNS[name], None)
    at = int(np.random.default_rng(seed).integers(1, whole.steps + 1))
    with pytest.raises(Stopped, match=r"stopped after step \d of \d of phase [\d.]+; run the same command again with --resume"):
        run(ground, tasks, RUNS[name], tmp_path, stop=at)
    same(run(ground, tasks, RUNS[name], tmp_path), whole)
    same(run(ground, tasks, RUNS[name], tmp_path), whole)  # complete: nothing is left to do


def test_without_a_folder_the_farewell_says_so(ground: Ground, tasks: Tasks) -> None:
    with pytest.raises(Stopped, match="stopped after step 2 of 5 of phase 0; nothing was saved, because there is no --out"):
        run(ground, tasks, RUNS["momentum"], None, stop=2)


def test_what_is_kept_does_not_change_what_is_learned(ground: Ground, tasks: Tasks, tmp_path: Path) -> None:
    same(run(ground, tasks, RUNS["members"], tmp_path), run(ground, tasks, RUNS["members"], None))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"phase-{place}-end.safetensors" for place in ("0.1.0", "0.1.1", "0.2.0", "1")]


def test_a_checkpoint_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save_state(
        "0", Saved({"weights/a": torch.arange(5.0), "optimizer/step": torch.tensor(3.0)}, {"step": 3, "curve": [{"loss": 0.25}]})
    )
    path = tmp_path / "phase-0.safetensors"
    good = path.read_bytes()
    found = kept.state("0")
    assert (
        found is not None
        and found.facts == {"step": 3, "curve": [{"loss": 0.25}]}
        and torch.equal(found.tensors["weights/a"], torch.arange(5.0))
    )
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"phase-0.safetensors is damaged: remove it to do this part of the run again"):
            kept.state("0")
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match="is damaged"):
        kept.state("0")


def test_a_damaged_checkpoint_stops_a_run(ground: Ground, tasks: Tasks, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(ground, tasks, RUNS["momentum"], tmp_path, stop=3)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is damaged: remove it"):
        run(ground, tasks, RUNS["momentum"], tmp_path)
    path.unlink()
    same(run(ground, tasks, RUNS["momentum"], tmp_path), run(ground, tasks, RUNS["momentum"], None))


def test_a_loss_that_is_no_number_names_step_rows_and_checkpoint(ground: Ground, tasks: Tasks, tmp_path: Path) -> None:
    wild = (replace(TABLE, plan=everything(Steps(lr=0.1, at=(3,), factor=1e300)), learner=Linear(rows="class", start="random"), steps=9),)
    with pytest.raises(Diverged) as caught:
        run(ground, tasks, wild, tmp_path)
    said = str(caught.value)
    (path,) = tmp_path.iterdir()
    saved = Checkpoints(tmp_path).state("0")
    assert saved is not None
    assert said.startswith("the loss of step 4 of phase 0 is nan") and saved.facts["step"] == 3  # after which they were numbers still
    drawn = wild[0].sampler.draw(tasks, key(5).child("source", 0).child("draw"), 4, 1)
    assert all(ground.space.row_name(int(row)) in said for row in drawn.query[0, :3])
    assert "lower the learning rate" in said and said.endswith(f"the last good checkpoint is {path}.")
    assert all(bool(t.isfinite().all()) for n, t in saved.tensors.items() if n.startswith("weights/"))
    with pytest.raises(Diverged, match="no checkpoint of this phase was kept"):
        run(ground, tasks, wild, None)


ENDLESS = replace(EPISODES, optimizer=SGD(momentum=0.9), steps=3000)


def endless(folder: str) -> None:
    """What a process does that is killed."""
    ground = double_ground()
    train(ground, (ENDLESS,), class_rows(ground.space), key(5), checkpoints=Checkpoints(Path(folder), every=0.0))


def test_kill_9_leaves_a_checkpoint_to_go_on_from(ground: Ground, tasks: Tasks, tmp_path: Path) -> None:
    root, script = Path(__file__).resolve().parents[2], f"from tests.laws.test_resume import endless; endless({str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + 60
    while not (tmp_path / "phase-0.safetensors").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1 + 0.2 * np.random.default_rng().random())
    process.kill()
    process.wait()
    kept = Checkpoints(tmp_path)
    saved = kept.state("0")
    assert saved is not None and 0 < saved.facts["step"] < 3000
    stop = int(saved.facts["step"]) + 5
    short: dict[str, Any] = {}
    for name, checkpoints in (("resumed", kept), ("whole", Checkpoints())):
        short[name] = _first_steps(ground, tasks, stop, checkpoints)
    assert short["resumed"] == short["whole"]


def _first_steps(ground: Ground, tasks: Tasks, stop: int, checkpoints: Checkpoints) -> list[float]:
    """Losses of the first steps of the endless run."""
    return [row["loss"] for row in train(ground, (replace(ENDLESS, steps=stop),), tasks, key(5), checkpoints=checkpoints).curve]


def test_weights_that_are_no_numbers_in_the_end_are_not_handed_on(ground: Ground, tasks: Tasks) -> None:
    last = (replace(TABLE, plan=everything(1e300), learner=Linear(rows="class", start="random"), steps=1),)
    with pytest.raises(Diverged, match=r"phase 0 ends with weights that are no numbers: lower the learning rate"):
        run(ground, tasks, last, None)
