"""Does the time that `adapt` prints hold? Small jobs on photos and texts, with and without other data, on one thread.

    FEWTUNE_KIT=... python benchmarks/planned.py [--jobs 3]    # one JSON object a line

Before it begins, `adapt` prints how long all work takes from there ("about 40 s"). `planned` is that, `taken` the time from that line to
the end of the command, in wall-clock seconds. `load` is the machine's load average beside it: only figures of a machine that does nothing
else (about 1, this job itself) say whether the printed time holds.
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
    """How long a line says that all work takes."""
    found = re.search(r"^All work from here takes about (a second|([\d,.]+) (s|minutes)):", line)
    if not found:
        return None
    return 1.0 if found[1] == "a second" else float(found[2].replace(",", "")) * _UNITS[found[3]]


def run(name: str, *arguments: str | Path) -> None:
    """One job. Prints what was planned and what it took."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fewtune", "adapt", *map(str, arguments), "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    planned, began = None, time.monotonic()
    for line in process.stdout:
        if planned is None and (planned := seconds(line)) is not None:
            began = time.monotonic()
    if process.wait():
        raise SystemExit(process.communicate()[1])
    if planned is None:
        raise SystemExit(f"{name}: no time was printed")
    taken = time.monotonic() - began
    found = {"job": name, "planned": planned, "taken": round(taken, 1), "ratio": round(taken / planned, 2)}
    print(json.dumps({**found, "load": round(os.getloadavg()[0], 1)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="*", help="the numbers of the jobs to run, from 0")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        few, some, many = photos(here / "few", 4, 6), photos(here / "some", 4, 8), photos(here / "many", 12, 30)
        trec, subj, emotion = (
            texts(here / f"{name}.jsonl", name, each) for name, each in (("trec6", 8), ("subj", 16), ("tweet_emotion4", 8))
        )
        source = texts(here / "source.jsonl", "clinc150", 10)
        jobs = (
            ("photos 4 x 6, frozen", few, *BACKBONE, "--finetune", "never"),
            ("photos 12 x 30, frozen", many, *BACKBONE, "--finetune", "never"),
            ("photos 4 x 8, own labels, 1 minute", some, *BACKBONE, "--finetune", "own", "--budget", "minutes=1"),
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
