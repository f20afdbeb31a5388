"""How sure should a text encoder be that has seen class names and no example?

    OMP_NUM_THREADS=1 python benchmarks/zero_shot.py KIT [--draws 4] [--cache FOLDER]

Training classes of five sets of texts (at most 15 a draw, up to 60 texts of each), all-MiniLM-L6-v2, `zero_shot(prompts='{}')`. Prints, for
each set, accuracy, the temperature that suits the answers (median over draws), the expected calibration error (ECE, 15 bins) at temperature
1, and at the median of the five sets, which `fewtune adapt --classes` takes for texts (`adaptation.from_names.TEXTS`).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heads import drawn, opened, usable

from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.row_space import RowSpace
from fewtune.learners.side import Side
from fewtune.models.fitting import fit_head
from fewtune.recipes.language import read_method
from fewtune.statistics import expected_calibration_error, fit_temperature, softmax

SETS = ("subj", "agnews4", "sst5", "clinc150", "hwu64")
METHOD = read_method("zero_shot(prompts='{}')")
NONE = np.zeros(0, dtype=np.int64)


def answers(kit: Path, name: str, draws: int, cache: Path | None) -> list[tuple[Any, Any]]:
    """(logits [A, K], labels [A]) of each draw; of a set without more classes than one draw takes, one."""
    examples, backbone = opened(kit, name)
    side = Side(backbone, feature_table(backbone, RowSpace([examples]), folder=cache, quiet=True).features)
    classes, found = usable(examples, "train", 1), []
    for seed in range(draws):
        taken, _, _, asked, truth = drawn(examples, classes, 1, seed)
        names = tuple(examples.class_names[c] for c in taken)
        state, parameters = fit_head(METHOD, side.features[:1], NONE, NONE, len(names), side.vectors(METHOD, names))
        with torch.inference_mode():
            found.append((METHOD.head.score(state, side.features[asked][None], parameters)[0].double().numpy(), truth))
        if len(taken) == len(classes):
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    found = {name: answers(given.kit, name, given.draws, given.cache) for name in SETS}
    own = {name: float(np.median([fit_temperature(logits, truth) for logits, truth in draws])) for name, draws in found.items()}
    median = float(np.median(list(own.values())))
    print(f"| set | accuracy | temperature | ECE at 1 | ECE at {median:.1f} |\n" + "|---" * 5 + "|")
    for name, draws in found.items():
        right = np.mean([(logits.argmax(1) == truth).mean() for logits, truth in draws])
        errors = [np.mean([expected_calibration_error(softmax(logits, t), truth) for logits, truth in draws]) for t in (1.0, median)]
        print(f"| {name} | {100 * right:.1f} | {own[name]:.1f} | {errors[0]:.3f} | {errors[1]:.3f} |")


if __name__ == "__main__":
    main()
