"""Texts to pretrain on and rows to compare on, of the self-pretraining study: no text is in both.

    python benchmarks/halves.py KIT OUT [--sets sst2 trec6 subj tweet_emotion4]

Three of five texts of a set, by the CRC-32 of the text modulo 5, go to OUT/SET-texts.jsonl, the others to OUT/SET-rows.jsonl. A text that a
set has twice is in one of them, whatever its order.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path

SETS = ("sst2", "trec6", "subj", "tweet_emotion4")


def part_of(text: str) -> str:
    """The file that a text goes to."""
    return "texts" if zlib.crc32(text.encode()) % 5 < 3 else "rows"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("kit", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--sets", nargs="*", default=SETS)
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        rows = [json.loads(line) for line in (given.kit / "text" / f"{name}.jsonl").read_text().splitlines()]
        for part in ("texts", "rows"):
            lines = [json.dumps({"text": r["text"], "label": r["label"]}) for r in rows if part_of(r["text"]) == part]
            (given.out / f"{name}-{part}.jsonl").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
