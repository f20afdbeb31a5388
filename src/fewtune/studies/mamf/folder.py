"""The folder of a study that has run: its rows, what may be claimed, its page, and what it ran on. Whole or absent."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fewtune.errors import InputError
from fewtune.evaluation.run_folder import machine_facts
from fewtune.files import ANOTHER, RECORD, foreign, new_folder, read_record, recover, refuse_existing, sealed, sha256, write_bytes
from fewtune.machine import Machine
from fewtune.spec import digest
from fewtune.studies.mamf.cell import SCHEMA, Seen
from fewtune.studies.mamf.run import Picture, Ran
from fewtune.studies.mamf.settings import MamfSettings
from fewtune.studies.mamf.summary import summarise, to_json

KIND, FORMAT = "mamf study", 1
ROWS, SUMMARY, PAGE, FACTS, MACHINE, FEATURES = "result.parquet", "summary.json", "report.html", "study.txt", "machine.json", "features.npz"
FILES = (ROWS, SUMMARY, PAGE, FACTS, MACHINE, FEATURES)


def refuse(out: Path, *, overwrite: bool) -> None:
    """Raise InputError where the folder exists and must not be replaced: better now than after the run."""
    in_the_way = [name for name in foreign(out) if name in FILES] if out.is_dir() else []
    refuse_existing(out, overwrite=overwrite, writes=[*FILES, *in_the_way])


def save(ran: Ran, page: str, machine: Machine, out: Path, *, overwrite: bool = False) -> Path:
    """Write the folder, whole or not at all, and return where it is."""
    refuse(out, overwrite=overwrite)
    with (made := new_folder(out, overwrite=overwrite)) as folder:
        rows, features = io.BytesIO(), io.BytesIO()
        pq.write_table(ran.rows, rows, compression="zstd")
        arrays: dict[str, Any] = {
            f"{number}/{place}": seen.features.astype(np.float32)
            for number, picture in enumerate(ran.pictures)
            for place, seen in enumerate(picture.seen.values())
        }
        np.savez_compressed(features, **arrays)
        write_bytes(folder / ROWS, rows.getvalue())
        write_bytes(folder / FEATURES, features.getvalue())
        write_bytes(folder / FACTS, (ran.facts + "\n").encode(errors="backslashreplace"))
        write_bytes(folder / SUMMARY, json.dumps(to_json(summarise(ran), ran), indent=1).encode())
        write_bytes(folder / MACHINE, json.dumps(machine_facts(machine), indent=1).encode())
        write_bytes(folder / PAGE, page.encode("utf-8", "replace"))
        pictures = [
            {"data": p.data, "ways": p.ways, "seed": p.seed, "labels": list(p.labels), "names": list(p.names), "ratios": _ratios(p)}
            for p in ran.pictures
        ]
        record = {"kind": KIND, "format": FORMAT, "study": ran.identity, "ratios": [list(one) for one in ran.ratios]}
        write_bytes(folder / RECORD, sealed(record | {"pictures": pictures, "notes": list(ran.notes)}))
    return made.where


def known(out: Path, facts: str, settings: MamfSettings) -> Ran | None:
    """What is complete in `out`, if it is this very study. Raises InputError where it was changed since."""
    recover(out.resolve())
    try:
        record, whole = read_record(out)
    except (OSError, ValueError):
        return None
    if record.get("kind") != KIND or record.get("study") != digest(facts):
        return None
    if not whole or any(record["files"].get(name) != sha256(out / name) for name in (ROWS, FEATURES)):
        raise InputError(f"the study in {out} was changed or damaged after it was saved (a digest differs): {ANOTHER}.")
    rows = pq.read_table(out / ROWS)
    if rows.schema.names != SCHEMA.names:
        raise InputError(f"{out / ROWS} does not hold the rows of this study: {ANOTHER}.")
    ratios = tuple((str(d), int(n), int(s), str(m), float(r)) for d, n, s, m, r in record["ratios"])
    return Ran(rows, ratios, _pictures(out, record["pictures"]), tuple(record["notes"]), settings, facts)


def _pictures(out: Path, listed: list[dict[str, Any]]) -> tuple[Picture, ...]:
    found = []
    with np.load(out / FEATURES, allow_pickle=False) as stored:
        for number, one in enumerate(listed):
            seen = {
                name: Seen(stored[f"{number}/{place}"].astype(np.float64), ratio)
                for place, (name, ratio) in enumerate(one["ratios"].items())
            }
            found.append(Picture(one["data"], one["ways"], one["seed"], tuple(one["labels"]), tuple(one["names"]), seen))
    return tuple(found)


def _ratios(picture: Picture) -> dict[str, float]:
    return {name: seen.ratio for name, seen in picture.seen.items()}
