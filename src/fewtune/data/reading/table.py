"""A table: columns of plain values by name, each made when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from fewtune.data.items import Items


@final
@dataclass(frozen=True)
class Separated:
    """How a file of separated values is written: the `delimiter`, and whether it begins with the byte order `mark` that Excel asks for."""

    delimiter: str
    mark: bool


@final
@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length. `where` gives the name of a row in messages; paths in the table are relative to `folder`. `separated`: how
    the file was written, None for other kinds of files. `stays`: the items of a column whose images or texts stay in the file and are read
    where they are used, None for other columns."""

    name: str
    columns: Mapping[str, Any]
    count: int
    where: Callable[[int], str]
    folder: Path
    remarks: tuple[str, ...] = ()
    separated: Separated | None = None
    stays: Callable[[str], Items | None] = lambda _: None


@final
class Lazy(Mapping[str, Any]):
    """Columns by name, each made when it is first used."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Any]) -> None:
        self._names, self._make, self._made = dict.fromkeys(names), make, dict[str, Any]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]
