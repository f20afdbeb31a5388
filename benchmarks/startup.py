"""How soon the command line answers: `python benchmarks/startup.py [RUNS] [MODEL INPUT]`. One JSON object a line: the median seconds of
the clock and of the processor, which alone says something on a busy machine; --help is wanted within 0.4 s. With a saved model and an
input, a whole `predict` too.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

from fewtune.cli.app import app

RUNS = 11
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "fewtune --help": ["-m", "fewtune", "--help"],
    "fewtune compare --help": ["-m", "fewtune", "compare", "--help"],
    "fewtune adapt (a wrong flag)": ["-m", "fewtune", "adapt", "x", "--owt", "y"],
    "python -c 'import torch'": ["-c", "import torch"],
    "python -c 'import fewtune'": ["-c", "import fewtune"],
}
COMMANDS |= {f"fewtune {name} --help": ["-m", "fewtune", name, "--help"] for name in app if not name.startswith("-")}


def spent() -> float:
    """Processor seconds of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    commands = dict(COMMANDS)
    if len(sys.argv) > 3:
        commands["fewtune predict MODEL INPUT"] = ["-m", "fewtune", "predict", *sys.argv[2:4], "--quiet"]
    for name, arguments in commands.items():
        seconds, busy = [], []
        for _ in range(runs + 1):  # the first fills the disk cache
            began, before = time.perf_counter(), spent()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            seconds.append(time.perf_counter() - began)
            busy.append(spent() - before)
        kept = seconds[1:]
        said = {
            "what": name,
            "seconds": round(statistics.median(kept), 3),
            "best": round(min(kept), 3),
            "cpu": round(statistics.median(busy[1:]), 3),
        }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
