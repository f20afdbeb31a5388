"""Class names: what they must be, and sentences on doubtful ones, which look the same or often mean a missing label."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.examples import Examples
from fewtune.data.twins import difference, twins
from fewtune.errors import InputError

_ABSENT = frozenset({"nan", "null", "none", "na", "n/a", "<na>", "nat"})
_SIGNS = ({"-1", "1"}, {"-1", "0", "1"})  # sets of labels in which -1 is a real class
_SHOWN = 3


def check_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of two or more classes, without blanks around them. Raises InputError for anything else."""
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise InputError("expected the class names as a list of texts, such as ['cat', 'dog'].")
    names = tuple(name.strip() for name in class_names)
    if not all(names):
        raise InputError("a class name is empty: give every class a name that says what it is.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"the class {twice[0]!r} is named twice: give each class once.")
    if len(names) < 2:
        raise InputError(f"expected the names of two or more classes, found {len(names)}.")
    return names


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
