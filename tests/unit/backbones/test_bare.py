"""One model of timm without the others; each case in a process of its own, where nothing is imported yet."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("timm")
_ONE = """
import sys, torch
from fewtune.backbones.providers.bare import import_timm_model
from fewtune.backbones.load import load_backbone
"""


def _run(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", _ONE + code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_one_model_is_the_same_as_with_all_of_timm() -> None:
    code = """
backbone = load_backbone("timm:mobilenetv3_small_050,pretrained=false,size=32")
print(backbone.digest(), [name for name, _ in backbone.groups], backbone.preparation.text, "timm.models.vision_transformer" in sys.modules)
"""
    alone, whole = _run(code), _run("import timm" + code)
    assert alone.removesuffix("False\n") == whole.removesuffix("True\n")
    assert alone.endswith("False\n")  # the transformers of timm were not imported for it


def test_afterwards_nothing_is_missing_from_the_packages() -> None:
    said = _run(
        """
assert import_timm_model("mobilenetv2_100")
from timm.models._factory import create_model
made = create_model("mobilenetv2_100", pretrained=False)
assert "timm.models.vision_transformer" not in sys.modules
import timm, torchvision
from timm.data import create_transform
from timm.layers import create_feature_extractor
from timm.models import *
assert isinstance(made, timm.models.EfficientNet) and isinstance(made, EfficientNet)
assert timm.create_model("vit_tiny_patch16_224", pretrained=False) is not None
print(len(timm.list_models()), torchvision.ops.nms.__name__, torchvision.models.resnet18.__name__, bool(torchvision.__version__))
"""
    )
    assert said == _run("import timm; print(len(timm.list_models()), 'nms', 'resnet18', True)")


@pytest.mark.parametrize("before", ["import timm", "import torchvision"])
def test_packages_that_are_there_are_left_alone(before: str) -> None:
    assert _run(f"{before}\nprint(import_timm_model('mobilenetv2_100'), type(sys.modules['torchvision']).__name__)") == "False module\n"


@pytest.mark.parametrize("name", ["no_such_model", "tf_efficientnet_b0_ns", "_create_effnet", "EfficientNet", "a b(", ""])
def test_an_unknown_or_old_name_is_left_to_timm(name: str) -> None:
    assert _run(f"print(import_timm_model({name!r}), 'timm' in sys.modules)") == "False False\n"


def test_another_timm_is_left_to_be_imported_as_always() -> None:
    said = _run(
        """
sys.modules["timm.models._factory"] = None  # a version without this file
print(import_timm_model("mobilenetv2_100"), [name for name in sys.modules if name.startswith(("timm", "torchvision"))])
"""
    )
    assert said == "False []\n"
