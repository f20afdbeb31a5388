"""Several networks finetuned from one start, together and between start and end, on photos as they are and under shifts.

    OMP_NUM_THREADS=1 python benchmarks/solutions.py KIT OUT.jsonl [--seeds 0 1 2]   # a JSON line a seed
    OMP_NUM_THREADS=1 python benchmarks/solutions.py KIT OUT.jsonl --table           # the tables of the lines that are there

Written down before it was run. MobileNetV2 (ImageNet weights) at 64 px, the photos of PACS: 40 of each of 7 classes to learn from, 20 to
choose by, 30 to be judged by; the seed draws them. The start has a new head that is learned on the frozen network (60 updates of 32, Adam,
.001). Four members move all weights and the head from there, at one of four rates, 40 updates of 24. Judged, on the same 210 photos: as
they are and with three corruptions; and on 210 rows of each of the three other domains. Asked: best on validation, ensemble, greedy
ensemble, uniform and greedy soup, oracle (Wortsman et al. 2022, table 3); and the line from the start to the member that is best on
validation (WiSE-FT), at six points, alpha = .5 being what WiSE-FT recommends without a choice. Intervals are Student's t over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from by_seed import lines_of, parser_of, shown
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.data.shifts import each_shifted
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads import Linear
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import Plan, everything
from fewtune.parts.rates import Cosine
from fewtune.studies.solutions import alpha_curve, together
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.task import class_rows

NAME = "timm:mobilenetv2_100,pad_type=same,size=64"
SOURCE, OTHERS = "photo", ("art_painting", "cartoon", "sketch")
CORRUPTIONS = ("gaussian_noise:3", "blur:3", "contrast:3")
LEARNED, CHOOSING, JUDGED = 40, 20, 30  # rows of a class
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
HEAD = Linear(rows="class", name="source")


class Photos:
    """The rows of one seed as one space: those of the source as they are, its judged rows once more for each corruption, other domains."""

    def __init__(self, kit: Path, seed: int) -> None:
        whole = read_examples(kit / "images" / "pacs.npz")
        order = np.argsort(key(seed, "solutions").uniform(np.arange(len(whole), dtype=np.uint64)), kind="stable")
        cell = whole.group * len(whole.class_names) + whole.labels

        def drawn(domain: str, first: int, count: int) -> np.ndarray:
            number = whole.group_names.index(domain) * len(whole.class_names)
            return np.concatenate([order[cell[order] == number + c][first : first + count] for c in range(len(whole.class_names))])

        judged = whole.take(drawn(SOURCE, LEARNED + CHOOSING, JUDGED))
        parts = [whole.take(drawn(SOURCE, 0, LEARNED)), whole.take(drawn(SOURCE, LEARNED, CHOOSING)), judged]
        parts += [*each_shifted(judged, CORRUPTIONS, side=64, seed=seed), *(whole.take(drawn(one, 0, JUDGED)) for one in OTHERS)]
        self.space = RowSpace(parts, remember=1 << 30)
        self.names = ("learned", "chosen by", SOURCE, *CORRUPTIONS, *OTHERS)

    def rows(self, name: str) -> np.ndarray:
        place = self.names.index(name)
        return np.arange(self.space.starts[place], self.space.starts[place + 1])

    def asked(self, name: str) -> Episodes:
        """Each row of a part as an episode of its own, so that accuracy is one of rows; its classes are those of the learned part."""
        rows, first = self.rows(name), int(self.space.class_starts[self.names.index(name)])
        found = Pooled(batch=1).draw(class_rows(self.space, rows=rows), key(0, "asked"), 0, len(rows))
        return replace(found, classes=found.classes - first)


def trained(photos: Photos, ground: Ground, rate: float, seed: int) -> dict[str, Tensor]:
    """The weights after the head alone, then, at a `rate` above 0, everything; what has not moved stays the very tensor it was."""

    def phase(plan: Plan, batch: int, steps: int) -> Phase:
        return Phase(sampler=Pooled(batch=batch), learner=HEAD, plan=plan, steps=steps, optimizer=AdamW(weight_decay=0.0))

    phases = [phase(Plan(rules=(("source.*", Cosine(lr=1e-3)), ("*", 0.0))), 32, 60)]
    if rate:
        phases.append(phase(everything(Cosine(lr=rate)), 24, 40))
    run = train(ground, tuple(phases), class_rows(photos.space, rows=photos.rows("learned")), key(seed, "solutions"))
    begun = ground.backbone.start()
    return {n: begun[n] if n in begun and n not in run.moved else t for n, t in run.weights.items()}


def line_of(kit: Path, seed: int) -> dict[str, Any]:
    """One seed: the accuracies of every way to use the members on every part, and the curves from start to end."""
    photos = Photos(kit, seed)
    backbone = load_backbone(NAME, weights=kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors", machine=Machine(device="cpu"))
    ground = Ground(backbone, photos.space)
    start = trained(photos, ground, 0, seed)
    members = {f"rate {rate:g}": trained(photos, ground, rate, seed) for rate in RATES}
    spent = time.process_time()
    validation, best, ways, curves = photos.asked("chosen by"), "", dict[str, Any](), dict[str, Any]()
    for name in photos.names[2:]:
        test = photos.asked(name)
        found = together(ground, members, HEAD, validation, test)
        best = best or next(n for n in members if np.array_equal(found.members[n], found.accuracy["best on validation"]))
        ways[name] = {n: float(v.mean()) for n, v in {**found.members, **found.accuracy}.items()} | {"taken": list(found.taken)}
        curve = alpha_curve(ground, start, members[best], HEAD, test, ALPHAS)
        curves[name] = curve.accuracy.mean(1).tolist()
        print(f"seed {seed} {name}: {time.process_time():.0f} s", flush=True)
    return {"seed": seed, "best": best, "ways": ways, "curves": curves, "training": spent, "seconds": time.process_time()}


def tables(lines: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy by way and part, with the mean and the worst of the shifts; the same along alpha, as gains over alpha = 1."""
    names = list(lines[0]["ways"])
    columns = {"photos": names[:1], "corruptions": names[1:4], "domains": names[4:], "all shifts": names[1:]}
    ways = [name for name in lines[0]["ways"][names[0]] if name != "taken"]
    print(f"{len(lines)} seeds; best: {', '.join(line['best'] for line in lines)}\n")
    header = [*columns, "worst shift", "all shifts - best on validation"]
    print(f"| | {' | '.join(header)} |\n|---|{'---|' * len(header)}")
    of = lambda way, some: np.array([100 * np.mean([line["ways"][n][way] for n in some]) for line in lines])  # noqa: E731
    for way in ways:
        worst = np.array([100 * min(line["ways"][n][way] for n in names[1:]) for line in lines])
        gain = of(way, names[1:]) - of("best on validation", names[1:])
        print(f"| {way} | {' | '.join(shown(of(way, some)) for some in columns.values())} | {shown(worst)} | {shown(gain, sign=True)} |")
    print(f"\n| alpha | {' | '.join(columns)} | {' | '.join(f'{name}, gain' for name in columns)} |\n|---|{'---|' * 2 * len(columns)}")
    along = lambda i, some: np.array([100 * np.mean([line["curves"][n][i] for n in some]) for line in lines])  # noqa: E731
    for i, alpha in enumerate(ALPHAS):
        plain = [shown(along(i, some)) for some in columns.values()]
        gains = [shown(along(i, some) - along(len(ALPHAS) - 1, some), sign=True) for some in columns.values()]
        print(f"| {alpha:g} | {' | '.join(plain)} | {' | '.join(gains)} |")


def main() -> None:
    parser = parser_of(__doc__, (0, 1, 2))
    asked = parser.parse_args()
    tables(lines_of(asked, lambda seed: line_of(asked.kit, seed)))


if __name__ == "__main__":
    main()
