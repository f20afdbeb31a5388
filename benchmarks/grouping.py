"""Which columns of the films should be learned together, and does it pay on other films to do what `fewtune tasks` says?

    OMP_NUM_THREADS=1 python benchmarks/grouping.py KIT OUT.json [--seeds 0 1 2]

The ten label columns of `tables/movies.csv` (as in `columns.py`: title by all-MiniLM-L6-v2 and year, length, budget). Written down before
it was run: who helps whom, groups of at most three networks (looks ahead, and by retraining a linearised network), widths 16 and 256 and
the advice are found once, by seed 0, on the films to learn from. Then 2,400 test films are answered, three training seeds each, by

- a network for each column, and one network for all;
- a network for each group, of both ways to find groups (a column in two groups is answered by the one that serves it);
- the words of the advice: a column that is to be trained apart or left out has its own network, one that is to be trained only with some
  others is answered by its group, and all others share a network.

Asked: is one of the last three better than one network for all, and than a network for each? In pairs on the same films and seeds: by
column (95% bootstrap over films and seeds), and the mean over columns (95% t over seeds).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from columns import backbone_of, movies

from fewtune.joint.adapt import sharing_method
from fewtune.joint.groups import of_tasks
from fewtune.joint.judged import metric_of, truth_of
from fewtune.joint.networks import fit_network
from fewtune.joint.relations import Relations, RelationSettings, relate_columns
from fewtune.joint.rows import JointRows
from fewtune.keys import key
from fewtune.models.joint.model import answers_of
from fewtune.report.relations import relations_tables
from fewtune.report.tables import to_terminal
from fewtune.sides.job import Workplace
from fewtune.statistics import Grouping, choose_groups, t_interval
from fewtune.statistics.metric_seeds import runs_gain

ALONE, TOGETHER = "a network for each column", "one network for all"
Networks = list[tuple[tuple[int, ...], tuple[int, ...]]]  # (columns that are learned, columns that are answered)
Answers = list[np.ndarray[Any, np.dtype[np.float64]]]


def by_groups(found: Grouping) -> Networks:
    return [(group, tuple(t for t in group if found.served[t] == number)) for number, group in enumerate(found.groups)]


def by_words(found: Relations) -> Networks:
    """What the advice says of columns, as networks."""
    own = {one.tasks[0] for one in found.advice if one.kind in ("apart", "leave out")}
    less = {one.tasks[0] for one in found.advice if one.kind == "less"}
    shared = tuple(t for t in range(len(found.affinity.names)) if t not in own | less)
    rest = [(shared, shared)] if shared else []
    groups = [(group, tuple(t for t in answers if t in less)) for group, answers in by_groups(found.grouping)]
    return [((t,), (t,)) for t in sorted(own)] + [(group, answers) for group, answers in groups if answers] + rest


def answered(rows: JointRows, networks: Networks, alone: Answers | None, seed: int) -> Answers:
    """What networks say of the test rows of each column; a network of one column is that of `alone`."""
    found: Answers = [np.zeros(0)] * len(rows.tasks)
    for learned, answers in networks:
        if alone is not None and len(learned) == 1:
            found[learned[0]] = alone[learned[0]]
            continue
        inside = of_tasks(rows, learned)
        method = sharing_method("independent" if alone is None else "shared_bottom")
        outputs = fit_network(inside, method, inside.train, key(seed, "columns"), seed=seed).outputs(inside, rows.test)
        for place, task, output in zip(learned, inside.tasks, outputs, strict=True):
            if place in answers:
                found[place] = answers_of(task.column.kind, output[task.test], task.scale)
    return found


def rows_of(rows: JointRows, runs: dict[str, list[Answers]]) -> list[dict[str, Any]]:
    """A row for each way: its mean over columns, and its gains over both ends."""
    made = []
    metrics = [metric_of(task.column.kind, {}) for task in rows.tasks]
    truths = [truth_of(task, task.test) for task in rows.tasks]

    def values(way: str) -> np.ndarray[Any, np.dtype[np.float64]]:  # [seeds, columns]
        return np.array([[m.of(a, t) for m, a, t in zip(metrics, run, truths, strict=True)] for run in runs[way]])

    for way in runs:
        row: dict[str, Any] = {"way": way, "columns": values(way).mean(0).tolist(), "mean": float(values(way).mean())}
        for end in (ALONE, TOGETHER):
            if way in (end, ALONE):
                continue
            gain = t_interval((values(way) - values(end)).mean(1))
            pairs = [
                runs_gain(m, [run[t] for run in runs[way]], [run[t] for run in runs[end]], truths[t])[0] for t, m in enumerate(metrics)
            ]
            up, down = [sum(one.low > 0 for one in pairs), sum(one.high < 0 for one in pairs)]
            row[f"minus {end}"] = {"mean": gain.mean, "half": gain.half_width, "up": up, "down": down}
        made.append(row)
    return made


def table(made: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"| | mean over columns | minus {ALONE} | columns up, down | minus {TOGETHER} | columns up, down |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in made:
        cells = [row["way"], f"{row['mean']:.3f}"]
        for end in (ALONE, TOGETHER):
            gain = row.get(f"minus {end}")
            cells += ["", ""] if gain is None else [f"{gain['mean']:+.3f} ± {gain['half']:.3f}", f"{gain['up']}, {gain['down']}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    how = RelationSettings(groups=3, widths=(16, 256), affinity="linearised", minutes=15.0)
    found = relate_columns(movies(asked.kit), backbone_of("movies", asked.kit), how, Workplace(cache=asked.cache))
    for one in relations_tables(found):
        print(to_terminal(one), flush=True)
    print("\n".join(one.sentence for one in found.advice), time.process_time(), flush=True)

    rows = found.outcome.rows
    every = tuple(range(len(rows.tasks)))
    ahead = choose_groups(np.nan_to_num(found.affinity.help.mean), how.groups)
    ways: dict[str, Networks] = {
        TOGETHER: [(every, every)],
        "groups by looks ahead": by_groups(ahead),
        "groups by retraining": by_groups(found.grouping),
        "the words of the advice": by_words(found),
    }
    names = found.affinity.names
    said = {way: [[[names[t] for t in part] for part in network] for network in networks] for way, networks in ways.items()}
    runs: dict[str, list[Answers]] = {ALONE: [], **{way: [] for way in ways}}
    for seed in asked.seeds:
        runs[ALONE].append(answered(rows, [(every, every)], None, seed))
        for way, networks in ways.items():
            runs[way].append(answered(rows, networks, runs[ALONE][-1], seed))
    made = rows_of(rows, runs)
    asked.out.write_text(json.dumps({"networks": said, "rows": made, "seconds": time.process_time()}))
    print(json.dumps(said), table(made), f"{time.process_time():.0f} s", sep="\n")


if __name__ == "__main__":
    main()
