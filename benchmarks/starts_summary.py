"""The results of `starts.py` as Markdown tables, which `python starts.py KIT OUT --summary` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fewtune.statistics.intervals import Interval
from fewtune.studies.starts import WHOLE, Curve, StartCurves


def summary(out: Path) -> str:
    """All sets whose results are in a folder."""
    parts = []
    for file in sorted(out.glob("*.curves.jsonl")):
        name = file.name.partition(".")[0]
        curves = [Curve.read(json.loads(line)) for line in file.read_text().splitlines() if line.endswith("}")]
        chance = {"clothing10": 10, "dtd10": 10, "pacs": 7, "omniglot8": 20}[name]
        found = StartCurves(name, 1 / chance, tuple(curves))
        facts_file = out / f"{name}.facts.jsonl"
        facts = dict(json.loads(line) for line in facts_file.read_text().splitlines() if line.endswith("]")) if facts_file.exists() else {}
        parts += [f"### {name}", *_curves(found), *_pairs(facts), *_modules(facts), f"facts: {sorted(facts)}", ""]
    return "\n".join(parts)


def _curves(found: StartCurves) -> list[str]:
    lines = ["| start | block | seeds | final | steps to 90% |", "|---|---|---|---|---|"]
    places = list(dict.fromkeys((c.start, c.block) for c in found.curves))
    for start, block in places:
        speed = found.convergence(start, block)
        seeds = len(found.of(start, block))
        lines.append(f"| {start} | {block or 'whole'} | {seeds} | {_percent(speed.final)} | {_plain(speed.steps)} |")
    said = []
    for block in dict.fromkeys(block for _, block in places):
        if {("pretrained", block), ("random", block)} <= set(places):
            gain, ratio = found.gain("pretrained", "random", block), found.ratio("pretrained", "random", block)
            said.append(f"{block or 'whole'}: gain {_percent(gain)}, times as fast {_plain(ratio)}")
    if {("pretrained, batch", WHOLE), ("random", WHOLE)} <= set(places):
        said.append(f"treated alike: gain {_percent(found.gain('pretrained, batch', 'random'))}")
    return [*lines, "", *said, ""]


def _pairs(facts: dict[str, Any]) -> list[str]:
    lines = ["| pair | ends | lowest | accuracy | loss | AUC | middle |", "|---|---|---|---|---|---|---|"]
    for what in ("pair pretrained", "pair random", "across"):
        if what in facts:
            one = facts[what]
            curve = [100 * v for v in one["curve"]]
            spread = [_three(one["accuracy"], 100, 1), _three(one["loss"], 1, 2), _three(one["auc"], 100, 1), _three(one["middle"], 100, 1)]
            lines.append(f"| {what} | {curve[0]:.1f}, {curve[-1]:.1f} | {min(curve):.1f} | {' | '.join(spread)} |")
    return [*lines, ""]


def _modules(facts: dict[str, Any]) -> list[str]:
    lines = []
    for what in ("modules pretrained", "modules random"):
        if what in facts:
            one = facts[what]
            rho, p = one["trend"]
            values = ", ".join(f"{t} {v[0]:.3g}" for t, v in one["criticality"].items())
            falls = ", ".join(f"{t} {_three(v, 100, 1)}" for t, v in one["rewound"].items())
            lines += [f"{what}: criticality {values}; with depth rho {rho:.2f} (p {p:.3f}); rewound {falls}", ""]
    return lines


def _three(values: list[float], times: float, digits: int) -> str:
    mean, low, high = (times * v for v in values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _percent(value: Interval) -> str:
    return _three([value.mean, value.low, value.high], 100, 1)


def _plain(value: Interval) -> str:
    return _three([value.mean, value.low, value.high], 1, 1)
