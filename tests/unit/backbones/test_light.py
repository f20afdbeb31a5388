"""What makes a command start and answer soon: no compiler for timm, and no functional call where weights are the network's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from fewtune.backbones.passes import Passes
from fewtune.machine import Machine

NO_COMPILER = """
import sys
from fewtune.backbones.load import load_backbone
from fewtune.machine import Machine
b = load_backbone("timm:mobilenetv2_100,pretrained=false", machine=Machine(device="cpu", compile={compile}))
print("torch._dynamo" in sys.modules, "torch._dynamo.utils" in sys.modules)
import torch
from fewtune.backbones.providers.quiet import without_compiler
with without_compiler():
    import torchvision.ops.roi_align
import torch._dynamo.utils
taken = sys.modules["torchvision.ops.roi_align"]
print(taken.is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu"), torch.compiler.disable.__module__)
"""


@pytest.mark.parametrize(("compile", "loaded"), [(False, "False False"), (True, "True True")])
def test_timm_is_imported_without_the_compiler_unless_it_is_needed(compile: bool, loaded: str) -> None:
    code = NO_COMPILER.format(compile=compile)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert ran.stdout.splitlines() == [loaded, "True torch.compiler"], ran.stderr


def test_predicting_imports_nothing_that_it_does_not_need() -> None:
    heavy = [
        "scipy",
        "pyarrow",
        "sklearn",
        "pandas",
        "matplotlib",
        "transformers",
        "timm",
        "torchvision",
        "fewtune.learning.train",
        "fewtune.learners.choice",
    ]
    code = (
        "import sys, fewtune.models.predict, fewtune.models.bundle, fewtune.models.extras, fewtune.report.predictions\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert ran.stdout == "[]\n", ran.stderr


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> tuple[Passes, list[str]]:
    """A network with a buffer and tied weights, and a list that grows with every functional call."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)).eval()
    network[2].weight = network[0].weight
    called: list[str] = []
    real = torch.func.functional_call

    def counted(*args: object, **named: object) -> object:
        called.append("functional")
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.func, "functional_call", counted)
    return Passes(network, Machine(device="cpu").resolved()), called


def own(passes: Passes) -> dict[str, torch.Tensor]:
    named = passes.network.state_dict(keep_vars=True).items()
    return {name: tensor.detach() for name, tensor in named if name != "2.weight"}  # tied weights have one name, as in `Backbone.start`


def test_own_weights_need_no_functional_call_and_give_the_same(passes: tuple[Passes, list[str]]) -> None:
    made, called = passes
    x, weights = torch.randn(3, 4), own(made)
    plain = made.forward(weights, x)
    assert called == [] and not plain.requires_grad
    copied = made.forward({name: tensor.clone() for name, tensor in weights.items()}, x)
    assert called == ["functional"] and torch.equal(plain, copied)


@pytest.mark.parametrize("change", ["value", "view", "gradient"])
def test_other_weights_are_used_as_they_are(passes: tuple[Passes, list[str]], change: str) -> None:
    made, called = passes
    x, weights = torch.randn(3, 4), own(made)
    plain = made.forward(weights, x)
    name = "0.weight"
    if change == "value":
        weights[name] = weights[name] + 1
    elif change == "view":  # the same memory, read in another way
        weights[name] = weights[name].t()
    else:
        weights[name] = weights[name].clone().requires_grad_()
    found = made.forward(weights, x)
    assert called == ["functional"]
    assert found.requires_grad == (change == "gradient") and torch.equal(found, plain) == (change == "gradient")
