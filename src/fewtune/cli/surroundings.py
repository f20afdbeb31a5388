"""What a command needs of the process around it, made whole at the start: standard streams and a temporary folder."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

from fewtune.errors import InputError

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def mend_streams() -> None:
    """Open what is closed of standard input, output and error on the null device, and let output never fail to encode.

    A closed stream is treated as one that goes to /dev/null. Without this, the first file that is opened would take its number, and what
    a library prints would go into that file.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (open as long as the process)
    codecs.register_error("fewtune", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="fewtune")


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)


def flush_or_forget() -> None:
    """Write out what standard output still holds; where that fails (a reader that went away), Python must not try again at its exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def mend_temporary_folder() -> None:
    """Where no temporary file can be made, say a name all the same: libraries ask for it when they are imported and write nothing there.

    Whoever does write there gets an OSError then, with the file's name.
    """
    try:
        tempfile.gettempdir()
    except OSError:
        tempfile.tempdir = os.environ.get("TMPDIR") or ("/tmp" if os.name == "posix" else os.curdir)


def refuse_lost_folder() -> None:
    """Raise InputError where the current folder was deleted: paths mean nothing there, and torch's libraries end the process."""
    try:
        Path.cwd()
    except OSError:
        raise InputError("the current folder does not exist any more: change to another one and run the command again.") from None


def _escaped(problem: UnicodeError) -> tuple[str, int]:
    """What standard output cannot encode, as \\uXXXX: readable, and in JSON the very same string."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    return "".join(_plain(letter) for letter in problem.object[problem.start : problem.end]), problem.end


def _plain(letter: str) -> str:
    if "\u2500" <= letter <= "\u257f":  # the rules of tables
        return "-"
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
