"""`fewtune predict RUN --watch FOLDER`: files are answered as they arrive, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewtune.data.items import Wanted
    from fewtune.models.bundle import Bundle
    from fewtune.models.extras import Extras
    from fewtune.models.predict import Prediction, Running

PAUSE = 1.0  # seconds between two looks at the folder
FIELDS = ("input", "label", "probability", "problem")
SUFFIXES = (".csv", ".jsonl")


def check_watch(folder: Path, wanted: Wanted, out: Path | None, others: Mapping[str, object]) -> None:
    """Raise InputError for a folder that is not there, for a file that answers cannot be added to, and for flags that do not fit."""
    from fewtune.errors import InputError
    from fewtune.files import refuse_closed

    if given := [flag for flag, value in others.items() if value]:
        raise InputError(f"--watch answers the files of one folder, one after another: leave out {', '.join(given)}.")
    if wanted.modality == "vector":
        raise InputError("--watch is for photos and texts, but this model labels embeddings.")
    if not folder.is_dir():
        raise InputError(f"--watch {folder} is not a folder: expected one that files arrive in.")
    if out is None:
        return
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: with --watch, answers are added to .csv and .jsonl files: choose another --out.")
    if os.path.lexists(out) and not out.is_file():
        raise InputError(f"{out} is not a plain file: choose another --out.")
    if out.is_file() and out.suffix.lower() == ".csv" and out.stat().st_size and _first_line(out) != ",".join(FIELDS):
        raise InputError(f"{out} has other columns than {', '.join(FIELDS)}: choose another --out.")
    refuse_closed(out, "choose another --out")


def _first_line(path: Path) -> str:
    from fewtune.files import open_regular

    with open_regular(path) as file:
        return file.readline(1000).decode("utf-8-sig", "replace").rstrip("\r\n")


def watch_folder(
    run: Path, folder: Path, out: Path | None, *, threshold: float | None, unknown: bool, running: Running, pause: float = PAUSE
) -> None:
    """Answer the files of a folder, and new ones as they become complete, until a stop is asked for. An answer is written whole or not at
    all. A file that cannot be read has a problem instead of a label, and ends nothing. A new start answers all files again."""
    from fewtune.cli.say import note
    from fewtune.data.reading.arriving import Arriving
    from fewtune.models.bundle import load_bundle
    from fewtune.models.extras import Extras
    from fewtune.progress import resting
    from fewtune.stopping import Stopped, finishing
    from fewtune.words import counted

    bundle, extras, count = load_bundle(run), Extras(unknown=unknown), 0
    extras.check(bundle)
    here = replace(running, backbone=running.load(bundle), quiet=True)
    arriving = Arriving(folder, bundle.backbone.modality)
    note(f"Watching {folder}: files are answered as they arrive. Ctrl-C ends.")
    try:
        while True:
            for path in arriving.complete():
                with finishing():  # a stop comes after the answer is written
                    _write(_answered(bundle, path, threshold, extras, here), out)
                    count += 1
            with resting():
                time.sleep(pause)
    except Stopped:
        note(f"Stopped: {counted(count, 'file', ('was', 'were'))} answered{'' if out is None else f', in {out}'}.")


def _answered(bundle: Bundle, path: Path, threshold: float | None, extras: Extras, here: Running) -> Prediction:
    """The answer to one file, which may have gone."""
    from fewtune.data.reading.inputs import read_given
    from fewtune.errors import InputError
    from fewtune.models.predict import Prediction, predict_examples, wanted_by

    try:
        rows = read_given([path], [], wanted_by(bundle)).examples
        [p] = predict_examples(bundle, rows, threshold=threshold, skip_bad=True, running=here, tell=lambda _: None, extras=extras)
    except InputError as problem:
        return Prediction(str(path), None, 0.0, {}, str(problem))
    return p


def _write(p: Prediction, out: Path | None) -> None:
    """Show an answer, and add it to the file (see `add_line`)."""
    from fewtune.cli.say import tell
    from fewtune.report.answer_files import json_line
    from fewtune.report.encoded import csv_lines

    sure = f"{100 * p.probability:.0f}%" if p.scores else p.problem
    tell(f"{p.input}: {p.label or ('unknown' if p.unknown else 'no label')} ({sure})")
    if out is None:
        return
    record = {"input": p.input, "label": p.label, "probability": p.probability if p.scores else None, "problem": p.problem or None}
    if out.suffix.lower() == ".csv":
        probability = f"{p.probability:.6g}" if p.scores else ""
        line = csv_lines([[p.input, p.label or "", probability, p.problem]]) + "\n"
        header = ",".join(FIELDS) + "\n"
    else:
        line, header = json_line(record), ""
    add_line(out, line, header)


def add_line(out: Path, line: str, header: str = "") -> None:
    """Add a line to a file, whole or not at all: one write without a buffer, which is taken back where the disk is full. Programs that add
    to one file take turns, and the first of them writes the header. Raises OSError as the disk does.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "ab", buffering=0) as file:
        with contextlib.suppress(ImportError, OSError):  # a system or a disk without locks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        before = file.seek(0, os.SEEK_END)
        content = ((header if not before else "") + line).encode()
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise
