"""How soon the command line answers: `python benchmarks/startup.py [RUNS]`. One JSON object a line; --help is wanted within 0.4 s."""

from __future__ import annotations

import json
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


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(runs + 1):  # the first fills the disk cache
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            seconds.append(time.perf_counter() - began)
        kept = seconds[1:]
        print(json.dumps({"what": name, "seconds": round(statistics.median(kept), 3), "best": round(min(kept), 3)}), flush=True)


if __name__ == "__main__":
    main()
