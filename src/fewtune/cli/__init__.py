"""The command line: thin, quick to answer, and plain when something is wrong.

Exit codes: 0 ok; 2 usage, data or the machine (one sentence says what); 75 interrupted; 1 a bug of fewtune (one sentence, and a traceback
with FEWTUNE_DEBUG=1).
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback


def main() -> None:
    """The entry point of `fewtune`: every way in which a command can end goes through here."""
    from fewtune.cli.surroundings import mend_streams, mend_temporary_folder

    mend_streams()
    mend_temporary_folder()
    try:
        code = _run()
        sys.stdout.flush()  # here, where a full disk or a reader that went away can still be answered
    except BaseException as problem:  # a panic of a Rust library is no Exception
        code = _ended(problem)
    if code:
        sys.exit(code)


def _run() -> int:
    """Run the command and return its exit code."""
    from fewtune.cli.app import app
    from fewtune.cli.lists import spread
    from fewtune.cli.stop import stop_on_signals
    from fewtune.cli.surroundings import refuse_lost_folder
    from fewtune.progress import waiting

    refuse_lost_folder()
    stop_on_signals()
    command = " ".join(word for word in sys.argv[1:2] if not word.startswith("-"))
    try:
        quiet = "--quiet" in sys.argv or os.environ.get("FEWTUNE_QUIET", "0") not in ("", "0")
        with waiting(f"fewtune {command} is at work", quiet=quiet):
            app(spread(app, sys.argv[1:]), result_action="return_value", exit_on_error=False, print_error=False)
    except SystemExit as ended:  # rich leaves with 1 where the reader of the help went away: that is no failure
        return 2 if ended.code == 2 else 0
    return 0


def _ended(problem: BaseException) -> int:
    """Say what ended the command, in one sentence on standard error, and return the exit code."""
    from fewtune.cli.endings import ending
    from fewtune.cli.surroundings import flush_or_forget

    end = ending(problem)
    with contextlib.suppress(OSError, ValueError):  # standard error may be broken as well: the exit code still tells
        if end.traced and os.environ.get("FEWTUNE_DEBUG", "0") not in ("", "0"):
            traceback.print_exception(problem, file=sys.stderr)
        if end.sentence and os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print(f"fewtune: {end.sentence}", file=sys.stderr, flush=True)
    flush_or_forget()
    return end.code
