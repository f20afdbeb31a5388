"""Whether the model hub can be reached. It is tried once in a process, for 1.5 seconds, so that no library retries for a minute."""

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
    """Whether the hub answers. If not (or with HF_HUB_OFFLINE=1), all libraries are switched to offline mode."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("0", "", "false"):
        return False
    answers: list[bool] = []
    # a name lookup can take longer than the socket's timeout, so it runs in its own thread, which is abandoned
    knocking = threading.Thread(target=_knock, args=(answers,), daemon=True)
    knocking.start()
    knocking.join(_SECONDS)
    if answers:
        return True
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    _tell_the_hub_library()
    return False


def _knock(answers: list[bool]) -> None:
    """Append True if the hub (or the proxy to it) accepts a connection."""
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or _HUB)
    proxy = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
    try:
        door = proxy if proxy.hostname else hub
        with socket.create_connection((door.hostname, door.port or (80 if door.scheme == "http" else 443)), timeout=_SECONDS):
            answers.append(True)
    except (OSError, ValueError):
        pass


def _tell_the_hub_library() -> None:
    """huggingface_hub reads the switch when it is imported; if it is already imported, set it there too."""
    import sys

    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def not_found(full: str, what: str, hint: str) -> InputError:
    """The error for weights that are not on this machine and cannot be downloaded."""
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    where = "it is not on the hub" if hub_reachable() else "the hub cannot be reached"
    return InputError(f"{full}: {what} is neither a local folder nor in the cache ({cache}), and {where}: {hint}")
