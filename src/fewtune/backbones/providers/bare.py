"""Packages of other libraries whose own `__init__` runs only when something in it is needed: where one model is wanted, timm's would import
hundreds, and torchvision's all of its data sets.

A bare package finds its files as always. At the first name that it does not have, its `__init__` runs, and from then on it is an ordinary
package. So nothing is missing from it, for anybody in this process.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, final

_NORMS = ("IMAGENET_DEFAULT", "IMAGENET_INCEPTION", "IMAGENET_DPN", "OPENAI_CLIP")
# the packages, and names of theirs that come from one file
_BARE: Mapping[str, Mapping[str, str]] = {
    "torchvision": {},
    "torchvision.ops": {},
    "torchvision.models": {},
    "timm": {"__version__": "version"},
    "timm.data": {f"{norm}_{part}": "constants" for norm in _NORMS for part in ("MEAN", "STD")} | {"DEFAULT_CROP_PCT": "constants"},
    "timm.models": {},
}


def import_timm_model(architecture: str) -> bool:
    """Import the one file of timm that makes a model, such as "mobilenetv2_100". False where it is not known which, or where timm or
    torchvision were imported before: then import timm as always.

    Afterwards, `timm.models._factory` and `timm.models._registry` have this model.
    """
    if "timm" in sys.modules or "torchvision" in sys.modules or (file := _file(architecture)) is None:
        return False
    try:
        for name, own in _BARE.items():
            _bare(name, own)
        importlib.import_module(f"timm.models.{file}")
        importlib.import_module("timm.models._factory")
    except Exception:  # another version of timm: what was imported is forgotten
        for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
        return False
    return True


def _file(architecture: str) -> str | None:
    """The file of timm's models that registers an architecture."""
    found = importlib.util.find_spec("timm")
    if found is None or not found.submodule_search_locations or not architecture.isidentifier():
        return None
    defined = re.compile(rf"^@register_model\s+def {architecture}\(", re.MULTILINE)
    for file in sorted(Path(found.submodule_search_locations[0], "models").glob("[!_]*.py")):
        text = file.read_text(encoding="utf-8", errors="replace")
        if f"def {architecture}(" in text and defined.search(text):
            return file.stem
    return None


@final
class _Bare(ModuleType):
    """A package whose `__init__` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):  # Python asks packages for others, such as __wrapped__
            raise AttributeError(name)
        if (file := self._own.get(name)) is not None:
            return getattr(importlib.import_module(f"{self.__name__}.{file}"), name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None and self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _bare(name: str, own: Mapping[str, str]) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None
    package = importlib.util.module_from_spec(found)
    package.__dict__["_own"] = own
    package.__class__ = _Bare
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)
