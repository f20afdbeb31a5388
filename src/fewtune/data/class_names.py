"""Sentences on doubtful class names: names that look the same, and names that often mean a missing label."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.examples import Examples
from fewtune.data.twins import difference, twins

_ABSENT = frozenset({"nan", "null", "none", "na", "n/a", "<na>", "nat"})
_SIGNS = ({"-1", "1"}, {"-1", "0", "1"})  # sets of labels in which -1 is a real class
_SHOWN = 3


def remarks_on(examples: Examples) -> tuple[str, ...]:
    """What a person should know before learning: how the data was read, and doubtful names among the classes that have rows."""
    if examples.column.kind != "class":
        return examples.remarks
    names = [name for name, count in zip(examples.class_names, examples.counts().tolist(), strict=True) if count]
    return (*examples.remarks, *odd_names(names))


def odd_names(names: Sequence[str]) -> list[str]:
    """Sentences on class names that look the same and on names such as `nan`; empty if all is well. The classes are not changed."""
    said = []
    alike = twins(names)
    for group in alike[:_SHOWN]:
        listed = " and ".join(repr(name) for name in group)
        said.append(f"The classes {listed} differ only in {difference(group)}: if they are one class, give them the same name.")
    if len(alike) > _SHOWN:
        said.append(f"{len(alike) - _SHOWN} more groups of classes differ as little as that.")
    doubtful = [name for name in names if name.casefold() in _ABSENT]
    if "-1" in names and set(names) not in _SIGNS:
        doubtful.append("-1")
    for name in doubtful[:_SHOWN]:
        said.append(f"There is a class called {name!r}: if it means that the label is missing, leave the label empty.")
    return said
