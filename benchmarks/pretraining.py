"""What pretraining from random weights brings to new classes: supervised, SimCLR (with its loss, and with one negative as a draw or over
all draws) and image-text, at the same number of rows looked at.

    python benchmarks/pretraining.py KIT OUT [--set tiny_imagenet] [--most 100] [--visits 40000] [--seeds 0 1]

Each objective trains the network on the train classes (`--most` rows of each class), with the settings that `fewtune pretrain` ships. Then
5-way, 5-shot episodes of the test classes are answered by nearest centroid on frozen features; every objective and the random start answer
the same 600 episodes. The interval is over episodes (95%), of the mean over training seeds; "gain" is over the random start, paired by
episode. A line of JSON for each objective.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.answers import score_each
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.run_folder import Keeping
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.machine import Machine
from fewtune.parts.heads import Centroid
from fewtune.pretraining.pretrain import pretrain_examples
from fewtune.pretraining.settings import PretrainSettings
from fewtune.statistics.intervals import normal_interval
from fewtune.tasks.samplers import Sampled

CPU = Machine(device="cpu")
WEAKER = "simclr(strength=0.5, least=0.3, blur=0.0)"
GIVEN: dict[str, dict[str, object]] = {
    "supervised": {"objective": "supervised"},
    "simclr": {"objective": "simclr", "view": WEAKER},
    "one_negative": {"objective": "simclr", "loss": "one_negative", "view": WEAKER},
    "population": {"objective": "simclr", "loss": "population", "view": WEAKER},
    "contrastive": {"objective": "contrastive"},
}


def few(examples: Examples, most: int) -> Examples:
    """At most so many rows of each class, drawn at random."""
    generator = np.random.default_rng(0)
    rows = [generator.permutation(np.flatnonzero(examples.labels == c))[:most] for c in range(len(examples.class_names))]
    return examples.take(np.sort(np.concatenate(rows)))


def accuracies(backbone: Backbone, examples: Examples) -> np.ndarray:
    """The accuracy of each episode of test classes."""
    protocol = Protocol(sampler=Sampled(ways=5, shots=5, queries=15), classes="test")
    tested = examples.take(protocol.rows(examples))
    space = RowSpace([tested])
    episodes = protocol.sampler.draw(protocol.tasks(space), key(0, "episodes"), 0, protocol.episodes)
    return score_each(Ground(backbone, space), Centroid(), backbone.start(), [episodes])[0].accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", default="tiny_imagenet")
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--visits", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--network", default="conv4,size=32,width=32")
    parser.add_argument("--objectives", nargs="+", default=list(GIVEN))
    asked = parser.parse_args()
    examples = few(read_examples(asked.kit / "images" / f"{asked.set}.npz"), asked.most)
    start = accuracies(load_backbone(asked.network, machine=CPU), examples)
    found = normal_interval(start)
    print(
        json.dumps({"objective": "none", "accuracy": round(100 * found.mean, 1), "half": round(50 * (found.high - found.low), 1)}),
        flush=True,
    )
    for objective in asked.objectives:
        name = asked.network if objective != "contrastive" else f"pair:{asked.network}+hf:{asked.kit / 'weights' / 'bert-tiny-mlm'}"
        each, probes, spent = [], [], 0.0
        for seed in asked.seeds:
            how = PretrainSettings(visits=asked.visits, seed=seed, checkpoints=3, **GIVEN[objective])  # type: ignore[arg-type]
            began = time.process_time()
            out = asked.out / f"{objective}-{seed}"
            made = pretrain_examples([examples], load_backbone(name, machine=CPU), how, Keeping(out=out, resume=True))
            assert made is not None
            spent += time.process_time() - began
            each.append(accuracies(made.backbone, examples))
            probes.append([round(100 * one["accuracy"], 1) for one in made.record["probe"]["accuracies"]])
        mean = np.mean(each, axis=0)
        found, gain = normal_interval(mean), normal_interval(mean - start)
        row = {"objective": objective, "accuracy": round(100 * found.mean, 1), "half": round(50 * (found.high - found.low), 1)}
        row |= {"gain": round(100 * gain.mean, 1), "gain_half": round(50 * (gain.high - gain.low), 1), "probes": probes}
        print(json.dumps({**row, "cpu_seconds": round(spent)}), flush=True)


if __name__ == "__main__":
    main()
