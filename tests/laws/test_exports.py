"""Every room shows what it exports, and every recipe can be called from Python."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import fewtune
from fewtune.recipes import RECIPES

ROOMS = [
    "recipes",
    "learning",
    "parts",
    "parts.heads",
    "parts.losses",
    "parts.aggregators",
    "parts.sharing",
    "tasks",
    "tasks.selection",
    "statistics",
    "data",
    "data.near",
    "data.reading",
    "data.views",
    "backbones",
    "backbones.cutting",
    "backbones.features",
    "backbones.providers",
    "files",
]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_that_a_room_exports_is_there(room: str) -> None:
    module = importlib.import_module(f"fewtune.{room}")
    assert module.__all__ and len(set(module.__all__)) == len(module.__all__)
    assert all(getattr(module, name, None) is not None for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))
    assert module.__doc__ and len(module.__doc__.split()) > 10
    with pytest.raises(AttributeError):
        module.nothing_of_the_kind  # noqa: B018


def test_every_recipe_that_text_can_name_is_exported() -> None:
    for recipe in RECIPES:
        assert recipe.__name__ in fewtune.recipes.__all__ and getattr(fewtune.recipes, recipe.__name__) is recipe


def test_rooms_open_by_their_names() -> None:
    """After a plain `import fewtune`, in a new process."""
    names = "; ".join(f"fewtune.{room}.__all__" for room in ROOMS)
    subprocess.run([sys.executable, "-c", f"import fewtune; {names}; fewtune.recipes.multitask(steps=6)"], check=True, timeout=120)


def test_descriptions_that_need_no_torch_load_none() -> None:
    code = "import sys, fewtune.parts.rates, fewtune.tasks.task, fewtune.statistics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
