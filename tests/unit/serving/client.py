"""Requests to an application without a network: bytes in, status, headers and bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
BOUNDARY = "frontier"


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Any, path: str, body: bytes | Sequence[bytes] = b"", *, method: str = "", headers: dict[str, str] | None = None, wait: float = 0.0
) -> Answered:
    """One request. A body in several pieces comes without a content-length; `wait`: seconds before its last piece."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    head = {"host": "localhost:8000", **({"content-length": str(len(body))} if isinstance(body, bytes) else {}), **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method or ("POST" if any(pieces) else "GET"),
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in head.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 8000),
    }
    sent: list[dict[str, Any]] = []
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(3600)
        if len(left) == 1:
            await asyncio.sleep(wait)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answered(sent[0]["status"], told, b"".join(m.get("body", b"") for m in sent[1:]))


@contextlib.asynccontextmanager
async def alive(app: Any) -> AsyncIterator[None]:
    """The application started, and stopped afterwards."""
    async with app.router.lifespan_context(app):
        yield


def during(app: Any, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` while the application lives."""

    async def whole() -> T:
        async with alive(app):
            return await work()

    return asyncio.run(whole())


def asked(app: Any, path: str, body: bytes | Sequence[bytes] = b"", **options: Any) -> Answered:
    """One request to an application that lives as long."""
    return during(app, lambda: call(app, path, body, **options))


def as_json(app: Any, said: Any, **options: Any) -> Answered:
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    return asked(app, "/predict", content, headers={"content-type": "application/json"}, **options)


def form(*fields: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    """A body of fields (name, file name or None, content), and its headers."""
    parts = []
    for name, file, content in fields:
        title = f'form-data; name="{name}"' + (f'; filename="{file}"' if file is not None else "")
        parts.append(f"--{BOUNDARY}\r\nContent-Disposition: {title}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
