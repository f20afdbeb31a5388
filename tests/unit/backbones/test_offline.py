"""Names, and the hub that cannot be reached: asked once, answered quickly, in one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers import offline
from fewtune.backbones.providers.names import read_name
from fewtune.errors import InputError


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process that was told nothing."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTPS_PROXY", "https_proxy", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "")  # remembered, so that what is set inside is undone
        monkeypatch.delenv(name)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline.hub_reachable.cache_clear()
    yield monkeypatch
    offline.hub_reachable.cache_clear()


def test_asked_once_and_everyone_is_told(fresh: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refused(address: object, timeout: float) -> None:
        asked.append((address, timeout))
        raise OSError("no route")

    fresh.setattr(socket, "create_connection", refused)
    began = time.monotonic()
    assert [offline.hub_reachable() for _ in range(3)] == [False] * 3
    assert time.monotonic() - began < 1.0 and asked == [(("huggingface.co", 443), 1.5)]
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"


def test_a_name_that_is_never_resolved_costs_no_longer_than_the_limit(fresh: pytest.MonkeyPatch) -> None:
    resolved = threading.Event()

    def hanging(*_: object, **__: object) -> None:
        resolved.wait(30)
        raise OSError("no such name")

    fresh.setattr(offline, "_SECONDS", 0.2)
    fresh.setattr(socket, "create_connection", hanging)
    began = time.monotonic()
    assert not offline.hub_reachable() and time.monotonic() - began < 1.0
    resolved.set()


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HTTPS_PROXY", "http://proxy.example:3128", ("proxy.example", 3128)),
        ("HF_ENDPOINT", "http://mirror.example", ("mirror.example", 80)),
        ("HF_ENDPOINT", "https://mirror.example:8443/hf", ("mirror.example", 8443)),
    ],
)
def test_proxies_and_mirrors_are_what_is_asked(fresh: pytest.MonkeyPatch, variable: str, value: str, expected: tuple[str, int]) -> None:
    asked: list[object] = []
    fresh.setenv(variable, value)
    fresh.setattr(socket, "create_connection", lambda address, timeout: asked.append(address) or socket.socket())  # noqa: ARG005
    assert offline.hub_reachable() and asked == [expected]
    assert "HF_HUB_OFFLINE" not in os.environ


def test_told_to_stay_offline_nothing_is_asked(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("HF_HUB_OFFLINE", "1")
    fresh.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("the network was asked"))
    assert not offline.hub_reachable()


@pytest.mark.parametrize("name", ["hf:bert-base-uncased", "timm:resnet18", "open_clip:ViT-B-32/openai", "hf:someone/some-model"])
def test_unreachable_models_are_one_quick_sentence(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    if name.startswith(("timm", "open_clip")):
        pytest.importorskip(name.partition(":")[0])
    began = time.monotonic()
    with pytest.raises(InputError, match=r"neither a local folder nor in the cache .*cannot be reached: give a local") as raised:
        load_backbone(name)
    assert time.monotonic() - began < 5 and "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tim:resnet18", "did you mean timm:resnet18"),
        ("resnet18", "unknown backbone"),
        ("pixels:8", "expected pixels"),
        ("timm", "expected timm:NAME"),
        ("pixels,size", "options such as size=160"),
        ("pixels,size=0", "whole number"),
        ("pixels,size=-4", "whole number"),
        ("pixels,size=1000000", "8192"),
        ("pixels,grey=maybe", "unknown grey"),
        ("precomputed,size=3", "unknown option"),
        ("", "unknown backbone"),
    ],
)
def test_names_that_say_nothing(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_backbone(name)


def test_a_name_taken_apart() -> None:
    name = read_name("timm:a/b.c,mean=0.1/0.2/0.3,std=2,flag=true")
    assert (name.provider, name.model) == ("timm", "a/b.c")
    assert name.numbers("mean", (0.0,) * 3) == (0.1, 0.2, 0.3) and name.numbers("std", (1.0,) * 3) == (2.0,) * 3
    assert name.flag("flag", False) and not name.flag("other", False)


def test_nothing_optional_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from fewtune.backbones.load import load_backbone\n"
        "load_backbone('pixels'); load_backbone('precomputed')\n"
        "assert not {'timm', 'open_clip', 'torchvision', 'transformers', 'rich'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
