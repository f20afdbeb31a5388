"""Does what `adapt` says of more labels come true? Its forecast from few labels against models made of twice and four times as many.

    OMP_NUM_THREADS=1 python benchmarks/forecasting.py KIT --out forecasting.jsonl --draws 3 --sets ...

Sets: trec6 sst2 cr tweet_emotion4 pacs dtd10 clothing10 cifar10.

Written down before it was run. A draw takes `shots` labelled examples of each class as `heads.py` does; `adapt`'s frozen part chooses a
learner and forecasts the accuracy with twice and four times the labels. Then so many more labels are given (those at hand stay), the frozen
part chooses and fits anew, and both models answer all other examples of these classes (at most 100 of a class are kept). Heads alone, no
finetuning. One JSON line a draw; at the end a table by how many times the labels: forecast minus truth (95% t over draws), how often the
interval held the truth (in brackets, widened by the sampling error of the truth), and the mean error without its sign, beside that of
saying that the accuracy stays what `adapt` expects now. "said": draws where a forecast is given in words, for the others are said to tell
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from expected import answered
from heads import MOST_ROWS, drawn, given_by, opened, usable

from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.row_space import RowSpace
from fewtune.learners.forecast import TIMES, forecast
from fewtune.learners.labelled import Labelled
from fewtune.learners.side import Side
from fewtune.recipes.default_learners import candidates
from fewtune.sides.held_out import inner_folds
from fewtune.statistics import t_interval


def main() -> None:
    given = given_by(__doc__, shots=[8])
    with given.out.open("a") as out:
        for name in given.sets:
            examples, backbone = opened(given.kit, name)
            side = Side(backbone, feature_table(backbone, RowSpace([examples]), folder=given.cache, quiet=True).features)
            for shots in given.shots:
                most = TIMES[-1] * shots
                classes = usable(examples, given.part, most)
                for seed in range(given.draws):
                    taken, rows, _, asked, truth = drawn(examples, classes, most, seed, MOST_ROWS)
                    names = tuple(examples.class_names[c] for c in taken)
                    line = measured(side, rows.reshape(len(taken), most), names, shots, asked, truth, seed)
                    out.write(json.dumps({"set": name, "shots": shots, "seed": seed, **line}) + "\n")
                    out.flush()
    print("\n".join(table([json.loads(line) for line in given.out.read_text().splitlines()])))


def measured(side: Side, rows: Any, names: Sequence[str], shots: int, asked: Sequence[int], truth: Any, seed: int) -> dict[str, Any]:
    """What is forecast from the first `shots` of the labelled rows [classes, most], and what is true with more of them."""
    preparation = side.backbone.preparation

    def chosen(each: int) -> Any:
        some, labels = rows[:, :each].reshape(-1), np.repeat(np.arange(len(names)), each)
        methods = candidates(label_side=side.backbone.label_side, modality=preparation.modality, rows=len(some))
        choice = side.choose(methods, some, labels, names, seed)
        right = answered(choice, side, some, labels, names, asked).argmax(1) == truth
        return choice, some, labels, float(right.mean())

    choice, some, labels, now = chosen(shots)
    found = forecast(
        choice.method,
        Labelled(side.features, some, labels, len(names)),
        vectors=lambda method: side.vectors(method, names),
        seed=seed,
        folds=min(5, inner_folds(len(some))),
    )
    assert found is not None and choice.expected is not None
    ahead = [[one.mean, one.low, one.high] for _, one in found.ahead]
    then = [chosen(times * shots)[3] for times in TIMES]
    said = found.sentence.startswith("With twice")
    facts = {"chosen": choice.name, "expected": choice.expected.mean, "asked": len(asked), "sentence": found.sentence}
    return {"ways": len(names), "now": now, "ahead": ahead, "truth": then, "said": said, **facts}


def table(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| labels | draws | gain, true | forecast - true | held | mean width | mean error | of expecting no gain |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for place, times in enumerate(TIMES):
        for title, some in (("all draws", lines), ("said", [line for line in lines if line["said"]])):
            if len(some) > 1:
                yield row(f"{times} times, {title}", some, place)


def row(title: str, lines: Sequence[Mapping[str, Any]], place: int) -> str:
    mean, low, high = (np.array([line["ahead"][place][one] for line in lines]) for one in range(3))
    truth, now, expected = (np.array(each) for each in zip(*(facts(line, place) for line in lines), strict=True))
    sampling = 1.96**2 * truth * (1 - truth) / np.array([line["asked"] for line in lines])
    bound = np.where(truth > mean, high - mean, mean - low)
    nearly = np.abs(truth - mean) <= np.sqrt(bound**2 + sampling)
    gain, error = t_interval(100 * (truth - now)), t_interval(100 * (mean - truth))
    held = f"{100 * ((low <= truth) & (truth <= high)).mean():.0f}% ({100 * nearly.mean():.0f}%)"
    off = f"{100 * np.abs(mean - truth).mean():.1f} | {100 * np.abs(expected - truth).mean():.1f}"
    sure = f"{gain.mean:+.1f} ± {gain.half_width:.1f} | {error.mean:+.1f} ± {error.half_width:.1f}"
    return f"| {title} | {len(lines)} | {sure} | {held} | {100 * (high - low).mean():.0f} | {off} |"


def facts(line: Mapping[str, Any], place: int) -> tuple[float, float, float]:
    """(the truth with more labels, the truth now, what is expected now)."""
    return line["truth"][place], line["now"], line["expected"]


if __name__ == "__main__":
    main()
