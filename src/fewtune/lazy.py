"""Names of a package that are imported when they are first used, so that `import fewtune` and `fewtune --help` answer at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def opened(package: str, where: Mapping[str, str], rooms: Sequence[str] = ()) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package (PEP 562).

    `where`: the file of each name, below the package. `rooms`: packages inside that open by their own name.
    """

    def get(name: str) -> object:
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        setattr(sys.modules[package], name, found)  # asked for once
        return found

    def names() -> list[str]:
        module = sys.modules[package]
        return sorted({*vars(module), *module.__all__, *rooms})

    return get, names
