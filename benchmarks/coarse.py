"""CLINC150 by its domains and by its intents: a table with coarse labels, the same rows with fine ones, and others to be judged by.

    python benchmarks/coarse.py KIT OUT    # OUT/coarse.jsonl, OUT/fine.jsonl, OUT/target.jsonl

30 texts of each of the 150 intents of the data's own train split to learn from, by domain or by intent, and 30 of its test split.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

EACH = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {"coarse": [], "fine": [], "target": []}
    seen: Counter[tuple[str, str]] = Counter()
    for line in (asked.kit / "text" / "clinc150.jsonl").read_text().splitlines():
        row = json.loads(line)
        place = (row["split"], row["label"])
        seen[place] += 1
        if row["split"] not in ("train", "test") or seen[place] > EACH:
            continue
        fine = {"text": row["text"], "label": row["label"], "group": row["group"]}
        if row["split"] == "test":
            parts["target"].append(json.dumps(fine))
        else:
            parts["fine"].append(json.dumps(fine))
            parts["coarse"].append(json.dumps({"text": row["text"], "label": row["group"]}))
    for name, lines in parts.items():
        (asked.out / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
