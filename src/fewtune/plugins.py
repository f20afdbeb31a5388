"""Parts of other packages: entry points by which they add heads, methods and backbones under names of their own.

A package says in its pyproject.toml what it adds:

    [project.entry-points."fewtune.heads"]
    MyHead = "mypackage.heads:MyHead"

Nothing is imported before its name is asked for. Names of fewtune's own always win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias, final

from fewtune.errors import InputError
from fewtune.words import one_line

Group: TypeAlias = Literal["fewtune.heads", "fewtune.methods", "fewtune.backbones"]


def registered(group: Group) -> list[str]:
    """The names that other packages add to a group, sorted; nothing of theirs is imported."""
    return sorted({point.name for point in entry_points(group=group)})


def load_part(group: Group, name: str) -> Any:
    """What another package adds under this name.

    Raises KeyError where none does, and InputError where two packages do or where the part cannot be imported.
    """
    points = {_package(point): point for point in entry_points(group=group) if point.name == name}
    if not points:
        raise KeyError(name)
    if len(points) > 1:
        raise InputError(f"{one_line(name)} is registered by several packages ({', '.join(sorted(points))}): uninstall all but one.")
    ((package, point),) = points.items()
    try:
        return point.load()
    except Exception as problem:
        said = one_line(f"{type(problem).__name__}: {problem}")
        raise InputError(
            f"{one_line(name)} of the package {package} cannot be imported ({said}): repair or uninstall {package}."
        ) from problem


@final
class WordsWith(Mapping[str, Callable[..., Any]]):
    """Words of our own and, behind them, the parts that other packages register in `groups`."""

    def __init__(self, own: Mapping[str, Callable[..., Any]], *groups: Group) -> None:
        self._own, self._groups = own, groups

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name in self._own:
            return self._own[name]
        for group in self._groups:
            if name in registered(group):
                return _word(group, name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self._own or any(name in registered(group) for group in self._groups)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *(name for group in self._groups for name in registered(group))]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _word(group: Group, name: str) -> Callable[..., Any]:
    """A part that a text can call. A head is written down by the name of its class, so it must be registered under that name."""
    part: Callable[..., Any] = load_part(group, name)
    if not callable(part):
        raise InputError(f"{one_line(name)} in the group {group} is a {type(part).__name__}: expected a function or a class.")
    if group == "fewtune.heads" and (not isinstance(part, type) or part.__name__ != name):
        found = getattr(part, "__name__", type(part).__name__)
        raise InputError(f"the head {one_line(name)} is registered under another name than its class, {found}: register it as {found}.")
    return part


def _package(point: EntryPoint) -> str:
    return "unknown" if point.dist is None else one_line(point.dist.name)
