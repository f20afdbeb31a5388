"""The words of --start, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.backbones.places import CHECKPOINTS, PACKED_RECORD
from fewtune.errors import InputError
from fewtune.models.starts import starts_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of an unfinished pretraining run with two checkpoints."""
    for step in (5, 20):
        place = tmp_path / "nets" / CHECKPOINTS / f"step-{step:06d}"
        place.mkdir(parents=True)
        (place / PACKED_RECORD).write_text("{}")
    return tmp_path / "nets"


def test_each_word_is_a_backbone(run: Path) -> None:
    name, file = "timm:resnet18,size=64", Path("w.safetensors")
    assert starts_of(name, ["pretrained", "random"], file) == [(name, file), (f"{name},pretrained=false", None)]
    assert starts_of(None, ["random"]) == [("small,pretrained=false", None)]
    assert starts_of("timm:resnet18,pretrained=true", ["random"]) == [("timm:resnet18,pretrained=false", None)]
    assert starts_of("conv4", ["random"]) == [("conv4", None)]
    assert starts_of("conv4", ["random", "step:20", f"run:{run}"]) == [("conv4", None), (f"run:{run},step=20", None), (f"run:{run}", None)]
    assert starts_of(f"run:{run}", ["pretrained", "step:all"]) == [
        (f"run:{run}", None),
        (f"run:{run},step=5", None),
        (f"run:{run},step=20", None),
    ]


@pytest.mark.parametrize(
    ("name", "starts", "sentence"),
    [
        ("conv4", ["pretrained"], "conv4 begins at random"),
        ("timm:resnet18,pretrained=false", ["pretrained"], "begins at random"),
        ("pixels", ["random"], "pixels has no weights"),
        ("pair:conv4+hf:x", ["random"], "a pair has no random start"),
        ("timm:resnet18", ["randm"], "unknown start 'randm'"),
        ("timm:resnet18", ["step:5"], "one pretraining run, but there is none"),
        ("timm:resnet18", ["step:5", "run:a", "run:b"], "but there are 2"),
        ("timm:resnet18", ["random", "random"], "is given twice"),
        ("timm:resnet18", ["step:x", "run:a"], "the number of a step"),
        ("timm:resnet18", ["step:all", "run:a"], "keeps no checkpoints"),
        ("run:a", ["random"], "does not keep random weights"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(name: str, starts: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as said:
        starts_of(name, starts)
    assert "\n" not in str(said.value)


def test_a_step_that_the_run_did_not_keep(run: Path) -> None:
    with pytest.raises(InputError, match="it has the steps 5, 20"):
        starts_of(f"run:{run}", ["step:6"])
