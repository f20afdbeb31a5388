"""Train the model `embedded` on drawn scenes, and measure what it can do without any label.

    OMP_NUM_THREADS=1 python benchmarks/embedded.py train --out embedded.safetensors [--keep kept/]
    OMP_NUM_THREADS=1 python benchmarks/embedded.py measure [--weights embedded.safetensors] [--seeds 101 102 103 104 105]

Training: CLIP's loss between scenes and their captions, which never say how many objects there are, in four stages (`STAGES`). In the
second and third, the scenes of a batch are alike in some attributes, so that the others must be told apart. Equal captions of a batch are
one text. AdamW, a rate that rises and falls along a cosine. With --keep, a run that was stopped goes on.
Measuring: zero-shot accuracy on scenes of other seeds (validation: 51; test: 101 to 105), five classes an episode or all where there are
fewer, by the templates of the attribute; 95% intervals over seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import safetensors.torch
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import NO_SPLIT, Column, Examples
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.classes import class_vectors
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.parts.heads import Text
from fewtune.parts.losses import Contrast
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import everything
from fewtune.parts.rates import Cosine
from fewtune.statistics import t_interval
from fewtune.tasks.pooled import Pairs
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows, group_tasks

BATCH, ROWS = 128, 100_000
SETS = ("counting", "colour", "shape", "size", "material", "background", "relation")


@final
@dataclass(frozen=True, kw_only=True)
class Stage:
    """Scenes of a `seed` for some `steps` at a highest `rate`; `alike`: attributes that all scenes of a batch share."""

    seed: int
    steps: int
    rate: float
    alike: tuple[str, ...] = ()


STAGES = (
    Stage(seed=0, steps=700, rate=2e-3),
    Stage(seed=1, steps=350, rate=1e-3, alike=("colour", "background", "relation")),
    Stage(seed=2, steps=450, rate=2e-3, alike=("background", "relation")),
    Stage(seed=3, steps=200, rate=7e-4),
)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = reader.add_subparsers(dest="command", required=True)
    training, measuring = commands.add_parser("train"), commands.add_parser("measure")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--keep", type=Path)
    measuring.add_argument("--weights", type=Path)
    measuring.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    measuring.add_argument("--rows", type=int, default=1000)
    given = reader.parse_args()
    if given.command == "train":
        backbone = load_backbone("embedded,pretrained=false")
        for number, stage in enumerate(STAGES):
            keep = None if given.keep is None else given.keep / str(number)
            weights = trained(backbone, stage, Checkpoints(keep))
            backbone = backbone.with_weights(weights)
            safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in weights.items()}, given.out)
        return
    backbone = load_backbone("embedded", weights=given.weights)
    for name in SETS:
        values = [zero_shot(backbone, name, seed, given.rows) for seed in given.seeds]
        print(json.dumps({"set": name, "seeds": given.seeds, "each": [round(v, 2) for v in values], **_interval(values)}), flush=True)


def trained(backbone: Backbone, stage: Stage, checkpoints: Checkpoints) -> dict[str, torch.Tensor]:
    """The backbone's weights after a stage."""
    space = RowSpace([paired(f"scenes:all,rows={ROWS},seed={stage.seed},captions=no_count", stage.alike)])
    head = Text(prompts=("{}",), temperature=20.0)
    phase = Phase(
        sampler=Sampled(ways=BATCH, shots=0, queries=1) if stage.alike else Pairs(batch=BATCH),
        learner=head,
        plan=everything(Cosine(lr=stage.rate, warmup=min(200, stage.steps // 10))),
        steps=stage.steps,
        losses=(Contrast(),),
        optimizer=AdamW(weight_decay=1e-4),
        clip=1.0,
    )
    began = time.process_time()
    tasks = group_tasks(space) if stage.alike else class_rows(space)
    ground = Ground(backbone, space)
    made = train(ground, (phase,), tasks, key(stage.seed, "embedded"), checkpoints=checkpoints, quiet=False)
    temperature = ground.read(head, made.weights)["head.temperature"]
    print(f"{stage}: {time.process_time() - began:.0f} processor seconds, temperature {float(temperature):.1f}, {made.curve[-1]}")
    return {**{name: made.weights[name].detach() for name in backbone.start()}, "logit_scale": temperature.log()}


def paired(name: str, alike: tuple[str, ...]) -> Examples:
    """Scenes with their distinct captions as the classes; a group has the same classes of the attributes `alike`."""
    made = read_examples(name)
    distinct, values = np.unique(np.array(made.caption), return_inverse=True)
    column = Column("class", values.astype(np.int64), tuple(distinct.tolist()))
    group = np.zeros(len(made), dtype=np.int64)
    for one in alike:
        group = group * len(made.columns[one].names) + made.columns[one].values
    names = tuple(str(number) for number in range(int(group.max()) + 1))
    split = np.full(len(distinct), NO_SPLIT)
    return replace(made, columns={"caption": column}, target="caption", class_split=split, group=group, group_names=names)


def zero_shot(backbone: Backbone, name: str, seed: int, rows: int, ways: int = 5, episodes: int = 600) -> float:
    """Percent right on scenes of a seed; each episode has `ways` random classes and 15 scenes of each."""
    made = read_examples(f"scenes:{name},rows={rows},seed={seed}")
    with torch.no_grad():
        features = torch.cat([f for _, f in backbone.embed_chunks(backbone.start(), RowSpace([made]), np.arange(rows))])
        vectors = class_vectors(backbone, backbone.start(), made.class_names, made.column.templates)
        scores = (torch.nn.functional.normalize(features, dim=1) @ vectors.T).numpy()
    right = []
    draws = key(seed, "zero-shot").generator()
    for _ in range(episodes):
        classes = draws.permutation(len(made.class_names))[:ways]
        for c in classes:
            chosen = draws.permutation(np.flatnonzero(made.labels == c))[:15]
            right.append(classes[scores[chosen][:, classes].argmax(1)] == c)
    return 100 * float(np.concatenate(right).mean())


def _interval(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"mean": round(float(np.mean(values)), 2)}
    found = t_interval(np.array(values))
    return {"mean": round(float(np.mean(values)), 2), "half": round((found.high - found.low) / 2, 2)}


if __name__ == "__main__":
    main()
