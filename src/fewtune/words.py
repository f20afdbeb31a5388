"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """`1 row`, `3 rows`; with verbs for one and for many, `1 row was`, `3 rows were`."""
    verb = "" if verbs is None else f" {verbs[count != 1]}"
    return f"{count:,} {noun}{'' if count == 1 else 's'}{verb}"
