"""How many scenes a core draws in a second, the first ones too, for which the sprites are made.

    OMP_NUM_THREADS=1 python benchmarks/scenes.py [--size 64] [--rows 4000] [--seeds 0 1 2]

One line for each seed: processor seconds of `fetch` for every row, in a fresh process each, and images a second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

MEASURED = """
import sys, time
from fewtune.data.reading.read import read_examples
size, rows, seed = sys.argv[1:]
items = read_examples(f"scenes:counting,rows={rows},size={size},seed={seed}").items
began = time.process_time()
for row in range(int(rows)):
    items.fetch(row)
print(time.process_time() - began)
"""


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--size", type=int, default=64)
    reader.add_argument("--rows", type=int, default=4000)
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = reader.parse_args()
    for seed in given.seeds:
        command = [sys.executable, "-c", MEASURED, str(given.size), str(given.rows), str(seed)]
        seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"size {given.size}, seed {seed}: {given.rows} images in {seconds:.2f} processor seconds, {given.rows / seconds:,.0f} a second"
        )


if __name__ == "__main__":
    main()
