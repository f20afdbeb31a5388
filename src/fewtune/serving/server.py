"""The server process: a socket, uvicorn, and an orderly end. The only file that imports uvicorn."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

from fewtune.errors import InputError
from fewtune.progress import resting
from fewtune.serving.slow import closing_slow

_INSTALL = "serving needs three more packages: pip install 'fewtune[serve]'."
_CONNECTIONS = 256
_HEAD = 10.0  # seconds for the head of a request to arrive
_GRACE = 30  # seconds for answers under way when the server is stopped


def need_server() -> None:
    """Raise InputError, with the line that installs them, where the optional packages are missing."""
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as problem:
        raise InputError(f"{_INSTALL} ({problem})") from None


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError where the port is taken or the host is not this machine's."""
    if not 0 <= port <= 65535:
        raise InputError(f"expected --port from 0 to 65535, found {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except OSError as problem:
        raise InputError(f"cannot listen on {host}, port {port} ({problem.strerror}): choose another with --host and --port.") from None


def run_server(application: Any, listening: socket.socket, started: Callable[[], None]) -> None:
    """Answer until SIGINT or SIGTERM; requests under way are answered before it returns."""
    import uvicorn

    settings = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,
        ws="none",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_GRACE,
        limit_concurrency=_CONNECTIONS,
        server_header=False,
        timeout_notify=1,
    )
    server = uvicorn.Server(settings)
    settings.callback_notify = closing_slow(lambda: server.server_state.connections, _HEAD)
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:  # uvicorn takes the signals over, and raises them again at its end
        started()
        with resting():
            server.run(sockets=[listening])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
