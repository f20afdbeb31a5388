"""The command line: thin, quick to answer, and plain when something is wrong. Exit codes: 0 ok, 2 usage or data, 75 interrupted."""

from __future__ import annotations

import codecs
import io
import os
import sys

from cyclopts import App

from fewtune.errors import Diverged, InputError
from fewtune.version import __version__

USAGE, INTERRUPTED, DISK_FULL = 2, 75, 28

app = App(
    name="fewtune",
    version=__version__,
    help="Adapt foundation models to a task with few labels, and be told honestly how good the result is.",
    help_format="plaintext",
)
for _name, _help in (
    ("demo", "The main job from end to end on real text that is on this machine: two to three minutes, offline."),
    ("adapt", "Make the best classifier from a few labelled examples, and say what to expect of it."),
    ("predict", "Label new files with a saved model."),
    ("evaluate", "Say how a saved model does on labelled data."),
    ("add-class", "Teach a saved model one more class from a few examples, without training."),
    ("export", "Write a saved model for other programs (ONNX)."),
    ("compare", "Compare methods on the same few-shot episodes."),
    ("inspect", "Say what is in a data set, and what is wrong with it."),
    ("doctor", "Explain this installation, and what is broken in it, in words."),
):
    _word = _name.replace("-", "_")
    app.command(f"fewtune.cli.{_word}:{_word}", name=_name, help=_help)


def main() -> None:
    """The entry point of `fewtune`."""
    from fewtune.cli.stop import Stopped, stop_on_signals

    _never_fail_to_print()
    try:
        stop_on_signals()
        app(sys.argv[1:], result_action="return_value")
    except (InputError, Diverged) as problem:
        _fail(str(problem), USAGE)
    except (Stopped, KeyboardInterrupt) as stopped:
        _fail(str(stopped) or "stopped; what was embedded is kept, run the same command again to go on.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away; nothing to tell it
    except OSError as problem:
        if problem.errno == DISK_FULL:
            _fail(f"the disk is full ({problem.filename or 'while writing'}): free some space and run the same command again.", USAGE)
        if problem.filename is None:
            raise
        _fail(f"{problem.filename}: {problem.strerror or problem}.", USAGE)


def _never_fail_to_print() -> None:
    """What standard output cannot encode is written as \\uXXXX: readable, and in JSON the very same string."""
    codecs.register_error("fewtune", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="fewtune")


def _escaped(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    return "".join(_plain(letter) for letter in problem.object[problem.start : problem.end]), problem.end


def _plain(letter: str) -> str:
    if "\u2500" <= letter <= "\u257f":  # the rules of tables
        return "-"
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _fail(sentence: str, code: int) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        print(f"fewtune: {sentence}", file=sys.stderr)
    sys.exit(code)
