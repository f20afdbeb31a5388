"""Does a test fail when the code is wrong? `python benchmarks/mutants.py [--only PATTERN] [--jobs N]`.

Each mutant of `benchmarks/mutations.py` is one small fault. It is put into a copy of src (never into this checkout), the tests that should
notice it run on the copy, and what no test noticed is listed. One JSON object a mutant and one an area are printed. Exit status: 0; 1 where
a mutant of the honesty logic survived, or more than 10% of another area; 2 where the list no longer fits the code.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from mutations import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 240  # for the tests of one mutant; a mutant that never ends is noticed too
MOST = 0.1  # of an area may survive; of `honesty` none
FORKS = multiprocessing.get_context("forkserver")  # tests start at once: what they import but fewtune is imported in advance
IMPORTED = ["torch", "scipy.stats", "sklearn.linear_model", "sklearn.svm", "pyarrow", "PIL.Image", "pytest"]  # no plugins of pytest
FAILED = (1, 2)  # of pytest: tests failed, or could not be imported


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    noticed: bool
    how: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="an area, or a pattern of names or files: honesty, 'expected*', '*guard*'")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests on the code as it is first")
    given = parser.parse_args()
    chosen = [m for m in MUTANTS if any(fnmatch.fnmatch(of, given.only) for of in (m.area, m.name, m.file))]
    if problems := [*misfits(chosen), *([] if chosen else [f"no mutant fits {given.only!r}"])]:
        print("\n".join(problems), file=sys.stderr)
        return 2
    os.environ["OMP_NUM_THREADS"] = "1"
    FORKS.set_forkserver_preload(IMPORTED)
    copies: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(max(1, given.jobs)):
            shutil.copytree(ROOT / "src", Path(folder) / str(number), ignore=shutil.ignore_patterns("__pycache__"))
            copies.put(Path(folder) / str(number))
        with ThreadPoolExecutor(max(1, given.jobs)) as pool:
            if not given.unchecked and (broken := [t for t, code in pool.map(lambda t: (t, fresh(t, copies)), tests_of(chosen)) if code]):
                print(f"these tests fail on the code as it is, and can tell nothing: {'; '.join(map(' '.join, broken))}", file=sys.stderr)
                return 2
            outcomes = list(pool.map(lambda m: judged(m, copies), chosen))
    return summary(outcomes)


def misfits(mutants: Sequence[Mutant]) -> list[str]:
    """What keeps the list from being true: each old text must stand in its file exactly once, and each name be one mutant's."""
    found = []
    for m in mutants:
        path = ROOT / "src" / "fewtune" / m.file
        times = path.read_text().count(m.old) if path.is_file() else 0
        if times != 1 or m.old == m.new:
            found.append(f"{m.name}: expected its text once in {m.file}, found it {times} times: {m.old!r}")
        found += [f"{m.name}: {test} is not there" for test in m.tests if not (ROOT / test.partition("::")[0]).is_file()]
    names = [m.name for m in MUTANTS]
    return found + [f"{name} is the name of several mutants" for name in sorted({n for n in names if names.count(n) > 1})]


def tests_of(mutants: Sequence[Mutant]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(m.tests for m in mutants))


def fresh(tests: tuple[str, ...], copies: Queue[Path]) -> int:
    """The exit status of some tests on the code as it is; 0 is well."""
    copy = copies.get()
    try:
        return ran(copy, tests)[0]
    finally:
        copies.put(copy)


def judged(mutant: Mutant, copies: Queue[Path]) -> Outcome:
    copy = copies.get()
    file = copy / "fewtune" / mutant.file
    whole = file.read_text()
    began = time.monotonic()
    try:
        rewrite(file, whole.replace(mutant.old, mutant.new))
        code, how = ran(copy, mutant.tests)
    finally:
        rewrite(file, whole)
        copies.put(copy)
    if not how:  # neither a test nor an import failed
        how = "" if code == 0 else f"pytest could not run {' '.join(mutant.tests)} (status {code})"
    outcome = Outcome(mutant, code in FAILED and not how.startswith("pytest could"), how, time.monotonic() - began)
    said = {"mutant": mutant.name, "area": mutant.area, "noticed": outcome.noticed, "by": how, "seconds": round(outcome.seconds, 1)}
    print(json.dumps(said), flush=True)
    return outcome


def rewrite(file: Path, text: str) -> None:
    """New text, and no bytecode of the text before."""
    file.write_text(text)
    for old in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        old.unlink()


def ran(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """(pytest's exit status, 1 where time ran out; the first test that failed) with this copy of src."""
    with tempfile.NamedTemporaryFile("r") as said:
        process = FORKS.Process(target=pytest_on, args=(str(copy), tests, said.name))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return 1, "time ran out"
        failed = [line for line in said.read().splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return process.exitcode or 0, failed[0].split()[1] if failed else ""


def pytest_on(copy: str, tests: tuple[str, ...], said: str) -> None:
    """Run tests in this process, to which all but fewtune is known already."""
    sys.path.insert(0, copy)
    os.environ["PYTHONPATH"] = copy
    os.chdir(ROOT)
    with Path(said).open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    import pytest

    sys.exit(int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", "--no-header", "--tb=no", *tests])))


def summary(outcomes: Sequence[Outcome]) -> int:
    """Print a line an area and the survivors; the exit status."""
    bad = False
    for area in dict.fromkeys(o.mutant.area for o in outcomes):
        mine = [o for o in outcomes if o.mutant.area == area]
        survived = [o.mutant.name for o in mine if not o.noticed]
        print(json.dumps({"area": area, "mutants": len(mine), "noticed": len(mine) - len(survived), "survived": survived}), flush=True)
        bad |= len(survived) > (0 if area == "honesty" else MOST * len(mine))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
