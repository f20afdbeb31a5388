"""How a command ends when something is raised: one sentence and an exit code, by what kind of thing was wrong."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import final

from fewtune.errors import Diverged, InputError
from fewtune.stopping import Stopped
from fewtune.words import one_line

BUG, USAGE, INTERRUPTED = 1, 2, 75

# libraries that read what users give: an error of one of these is about a file, not about our code
_READERS = ("safetensors", "safetensors_rust", "pyarrow", "pyo3_runtime", "PIL", "zipfile", "zlib", "_pickle", "_csv", "json")
# what torch, the loader of shared libraries and the threads say; none of them raises MemoryError
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "can't start new thread", "posix_memalign")
_SYSTEM = {
    errno.ENOSPC: "the disk is full{where}: free some space and run the same command again.",
    errno.EDQUOT: "your disk quota is used up{where}: free some space and run the same command again.",
    errno.EFBIG: "a file would be larger than this process may write{where}: raise the limit (ulimit -f).",
    errno.EMFILE: "this process may not open more files{where}: raise the limit (ulimit -n).",
    errno.EROFS: "the disk is read-only{where}: choose another folder (FEWTUNE_CACHE is for embedded rows, TMPDIR for temporary files).",
}


@final
@dataclass(frozen=True)
class Ending:
    """What is said, the exit code, and whether a traceback helps to find the cause."""

    sentence: str
    code: int = USAGE
    traced: bool = True


def ending(problem: BaseException) -> Ending:
    """The end that an exception stands for. Unknown ones are bugs of ours: exit code 1."""
    if isinstance(problem, InputError | Diverged):
        return Ending(one_line(str(problem)), traced=False)
    if isinstance(problem, Stopped | KeyboardInterrupt):
        said = str(problem) or "stopped; what was embedded is kept, run the same command again to go on."
        return Ending(one_line(said), INTERRUPTED, traced=False)
    if isinstance(problem, BrokenPipeError):
        return Ending("", 0, traced=False)  # the reader went away: there is nobody to tell
    if _is_usage(problem):
        return Ending(one_line(str(problem)), traced=False)
    if _is_memory(problem):
        return Ending(
            f"there is not enough memory ({_first_line(problem)}): give fewer rows or smaller ones, or a machine with more memory; "
            "--chunk, --accumulate and --recompute need less."
        )
    if isinstance(problem, OSError):
        return Ending(_of_the_system(problem))
    if isinstance(problem, RecursionError):
        return Ending("something in the input is nested too deeply to be read.")
    if isinstance(problem, ImportError):
        return Ending(f"a library cannot be used ({_first_line(problem)}): `fewtune doctor` says what is broken and what to type.")
    if type(problem).__module__.partition(".")[0] in _READERS:
        return Ending(f"a file of the input cannot be read ({_first_line(problem)}).")
    return Ending(
        f"this is a bug in fewtune, please report it ({_first_line(problem)}); with FEWTUNE_DEBUG=1 the same command says where it is.", BUG
    )


def _is_usage(problem: BaseException) -> bool:
    from cyclopts import CycloptsError

    return isinstance(problem, CycloptsError)


def _is_memory(problem: BaseException) -> bool:
    said = str(problem).lower()
    return isinstance(problem, MemoryError) or any(mark in said for mark in _NO_MEMORY)


def _of_the_system(problem: OSError) -> str:
    """What the system refused, and what to do."""
    where = f" ({one_line(os.fsdecode(problem.filename))})" if isinstance(problem.filename, str | bytes) else ""
    if problem.errno in _SYSTEM:
        return _SYSTEM[problem.errno].format(where=where)
    return f"{where.strip(' ()')}: {problem.strerror}." if where and problem.strerror else f"the system refused: {_first_line(problem)}."


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return one_line(f"{type(problem).__name__}: {lines[0].rstrip('.')}" if lines else type(problem).__name__)[:300]
