"""Is the model hub there? Asked once a process, within a second, so that no library retries for a minute."""

from __future__ import annotations

import functools
import os
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

from fewtune.errors import InputError

_HUB = "https://huggingface.co"
_SECONDS = 1.5


@functools.cache
def hub_reachable() -> bool:
    """Whether the hub answers; without it (or with HF_HUB_OFFLINE=1) every library is told to stay offline."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("0", "", "false"):
        return False
    answers: list[bool] = []
    # looking a name up can hang longer than any socket's limit, so it is left behind in a thread of its own
    knocking = threading.Thread(target=_knock, args=(answers,), daemon=True)
    knocking.start()
    knocking.join(_SECONDS)
    if answers:
        return True
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    _tell_the_hub_library()
    return False


def _knock(answers: list[bool]) -> None:
    """Append True when the hub (or the proxy on the way to it) takes a connection."""
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or _HUB)
    proxy = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
    try:
        door = proxy if proxy.hostname else hub
        with socket.create_connection((door.hostname, door.port or (80 if door.scheme == "http" else 443)), timeout=_SECONDS):
            answers.append(True)
    except (OSError, ValueError):
        pass


def _tell_the_hub_library() -> None:
    """huggingface_hub reads its switch when it is imported; if it was imported already, set it there too."""
    import sys

    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def not_found(full: str, what: str, hint: str) -> InputError:
    """The error for weights that are neither here nor to be had."""
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    where = "the hub does not know it" if hub_reachable() else "the hub cannot be reached"
    return InputError(f"{full}: {what} is neither a local folder nor in the cache ({cache}), and {where}: {hint}")
