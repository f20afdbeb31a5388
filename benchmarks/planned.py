"""Does the time that `adapt` prints hold? Small jobs on photos and texts, with and without other data, on one thread.

    FEWTUNE_KIT=... python benchmarks/planned.py [--jobs 3]    # one JSON object a line

`adapt` prints two kinds of times: for embedding, before it begins ("takes at most about 6 s"), and for each way of finetuning, from a few
steps of it ("about 25 s"). Both are compared with the time from that line to the next one. `total` is the time from the first line to the
end, beside the limit of --budget. Run it on a machine that does nothing else: these are wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shell import BACKBONE, KIT, photos

SMALL = ("--backbone", f"hf:{KIT / 'weights' / 'bert-tiny-mlm'}")
MINILM = ("--backbone", f"hf:{KIT / 'weights' / 'all-minilm-l6-v2'}")
_UNITS = {"s": 1, "minutes": 60}


def texts(file: Path, name: str, each: int, skip: int = 0) -> Path:
    """A JSONL file with so many texts of each class of one of the kit's sets, after the first `skip` of each."""
    seen: dict[str, int] = {}
    kept = []
    for line in (KIT / "text" / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        label = str(record["label"])
        seen[label] = seen.get(label, 0) + 1
        if skip < seen[label] <= skip + each:
            kept.append(json.dumps({"text": record["text"], "label": label}))
    file.write_text("\n".join(kept) + "\n")
    return file


def seconds(line: str) -> float | None:
    """What a line says that the next step takes."""
    found = re.search(r"about (a second|([\d,.]+) (s|minutes))[ ,.]", f"{line} ")
    if not found or not line.startswith(("Embedding", "Finetuning")):
        return None
    return 1.0 if found[1] == "a second" else float(found[2].replace(",", "")) * _UNITS[found[3]]


def run(name: str, *arguments: str | Path) -> None:
    """One job. Prints what was planned and what it took."""
    began = time.monotonic()
    lines: list[tuple[float, str]] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "fewtune", "adapt", *map(str, arguments), "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        lines.append((time.monotonic() - began, line.rstrip()))
    if process.wait():
        raise SystemExit(process.communicate()[1])
    end = time.monotonic() - began
    steps, first = [], None
    for place, (at, line) in enumerate(lines):
        planned = seconds(line)
        if planned is None:
            continue
        first = at if first is None else first
        after = next((then for then, said in lines[place + 1 :] if then - at > 0.05), end)
        steps.append({"step": line.split(" ")[0], "planned": planned, "actual": round(after - at, 1)})
    print(json.dumps({"job": name, "steps": steps, "total": round(end - (first or 0.0), 1), "start": round(first or 0.0, 1)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="*", help="the numbers of the jobs to run, from 0")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        few, many = photos(here / "few", 4, 6), photos(here / "many", 12, 30)
        trec, subj, emotion = (
            texts(here / f"{name}.jsonl", name, each) for name, each in (("trec6", 8), ("subj", 16), ("tweet_emotion4", 8))
        )
        source = texts(here / "source.jsonl", "clinc150", 10)
        jobs = (
            ("photos 4 x 6, frozen", few, *BACKBONE, "--finetune", "never"),
            ("photos 12 x 30, frozen", many, *BACKBONE, "--finetune", "never"),
            ("photos 4 x 6, own labels, 1 minute", few, *BACKBONE, "--finetune", "own", "--budget", "minutes=1"),
            ("texts trec6 6 x 8, frozen, MiniLM", trec, *MINILM, "--finetune", "never"),
            ("texts trec6 6 x 8, own labels, small", trec, *SMALL, "--finetune", "own", "--budget", "minutes=1"),
            ("texts subj 2 x 16, own labels, MiniLM", subj, *MINILM, "--finetune", "own", "--budget", "minutes=2"),
            ("texts emotion 4 x 8, source clinc150, small", emotion, *SMALL, "--source", source, "--budget", "minutes=1"),
            ("texts trec6 6 x 8, source clinc150, MiniLM", trec, *MINILM, "--source", source, "--budget", "minutes=2"),
        )
        for number, (name, *arguments) in enumerate(jobs):
            if given.jobs is None or number in given.jobs:
                os.environ["FEWTUNE_CACHE"] = str(here / f"cache {number}")
                run(name, *arguments, "--out", here / f"run {number}")


if __name__ == "__main__":
    main()
