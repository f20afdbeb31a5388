"""The application (ASGI): paths, limits and what is said when something is refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fewtune.errors import InputError
from fewtune.serving.batches import Batches, Full
from fewtune.serving.metrics import Metrics
from fewtune.serving.openapi import description
from fewtune.serving.pages import HEADERS, documentation, page, script, style
from fewtune.serving.requests import Asked, Limits, Refused, read_request
from fewtune.serving.served import Served

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
_TWICE = "the request says its length twice, as Content-Length and as Transfer-Encoding, which may hide another request: send one."
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """`batch`: items in one pass; `wait`: seconds that an item waits for others; `queue`: items held at once; `open`: requests at once.

    `local`: only requests to a name of this machine are answered, so that no web page elsewhere can reach the model through a browser.
    """

    limits: Limits = field(default_factory=Limits)
    batch: int = 32
    wait: float = 0.005
    queue: int = 256
    open: int = 64
    local: bool = True


@final
class Service:
    """What answers requests to one model, while it lives (`life`)."""

    batches: Batches
    _readers: ThreadPoolExecutor

    def __init__(self, answering: Served, name: str, settings: Settings) -> None:
        self.answering, self.name, self.settings, self.metrics = answering, name, settings, Metrics()
        self._open = 0

    async def predict(self, request: Request) -> Response:
        if self._open >= self.settings.open:
            raise Refused(503, "too many requests are being answered: try again in a second.", after=1)
        self._open += 1
        stage = 408
        try:
            async with asyncio.timeout(self.settings.limits.seconds):
                asked = await read_request(request, self.answering.modality, self.settings.limits)
                stage = 504
                return JSONResponse({"predictions": await self._answered(asked)})
        except TimeoutError:
            what = "the request did not arrive" if stage == 408 else "the answer was not ready"
            raise Refused(stage, f"{what} within {self.settings.limits.seconds:g} s.") from None
        except Full as full:
            raise Refused(503, str(full), after=full.after) from None
        finally:
            self._open -= 1

    async def _answered(self, asked: Asked) -> list[dict[str, Any]]:
        count = len(asked.items)
        self.batches.hold(count)
        try:
            prepared = await self._prepared(asked)
            try:
                found = await self.batches.ask(prepared)
            except InputError as problem:
                raise Refused(422, str(problem)) from None
        finally:
            self.batches.release(count)
        record = self.answering.record
        return [{"input": name, **record(one, asked.threshold)} for (name, _), one in zip(asked.items, found, strict=True)]

    async def _prepared(self, asked: Asked) -> list[Any]:
        """Items made ready in threads. Raises Refused with all that cannot be."""
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._readers, self.answering.prepare, given, name) for name, given in asked.items]
        made = await asyncio.gather(*jobs, return_exceptions=True)
        wrong = [(number, str(one)) for number, one in enumerate(made) if isinstance(one, InputError)]
        if wrong:
            raise Refused(422, wrong[0][1], tuple(wrong))
        for one in made:
            if isinstance(one, BaseException):
                raise one
        return made

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self.name, "reads": self.answering.modality, **self.answering.knows})

    async def numbers(self, _: Request) -> Response:
        return PlainTextResponse(self.metrics.text(self.batches.held), media_type="text/plain; version=0.0.4")

    @contextlib.asynccontextmanager
    async def life(self, _: Starlette) -> AsyncIterator[None]:
        """The queue is answered, in its own threads, as long as the application lives."""
        s = self.settings
        self.batches = Batches(self.answering.answers, most=s.batch, wait=s.wait, queue=s.queue, seen=self.metrics.batch)
        self._readers = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="reading")
        running = asyncio.create_task(self.batches.run())
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            self.batches.close()
            self._readers.shutdown(wait=True, cancel_futures=True)


def application(answering: Served, name: str, settings: Settings | None = None) -> Starlette:
    """The application for one model. `name` is shown on its page."""
    service = Service(answering, name, settings or Settings())
    said = description(service.name, answering, service.settings.limits)
    pages = {
        "/": ("text/html", page(service.name, answering)),
        "/docs": ("text/html", documentation(service.name, said, answering)),
        "/page.js": ("text/javascript", script(answering.modality)),
        "/page.css": ("text/css", style()),
    }

    async def openapi(_: Request) -> Response:
        return JSONResponse(said)

    def shown(kind: str, content: str) -> Handler:
        async def answer(_: Request) -> Response:
            return Response(content, media_type=kind, headers=HEADERS)

        return answer

    routes = [
        Route("/predict", _counted(service, "/predict", service.predict), methods=["POST"]),
        Route("/health", _counted(service, "/health", service.health), methods=["GET"]),
        Route("/metrics", _counted(service, "/metrics", service.numbers), methods=["GET"]),
        Route("/openapi.json", _counted(service, "/openapi.json", openapi), methods=["GET"]),
        *(Route(path, _counted(service, path, shown(*what)), methods=["GET"]) for path, what in pages.items()),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _not_here}, lifespan=service.life)


def _counted(service: Service, path: str, handler: Handler) -> Handler:
    """A handler whose refusals are answered in JSON, and whose answers are counted."""

    async def answer(request: Request) -> Response:
        began = time.perf_counter()
        try:
            if service.settings.local and not _is_local(request.headers.get("host", "")):
                raise Refused(400, "this server answers requests to localhost only; --host lets others in.")
            if "transfer-encoding" in request.headers and "content-length" in request.headers:
                raise Refused(400, _TWICE)
            response = await handler(request)
        except Refused as refused:
            response = _refusal(refused)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it
        except asyncio.CancelledError:
            raise
        except Exception:
            response = JSONResponse({"error": "the server failed to answer; nothing is known against the request."}, 500)
        service.metrics.requests[path, response.status_code] += 1
        if path == "/predict":
            service.metrics.latency.add(time.perf_counter() - began)
        return response

    return answer


def _refusal(refused: Refused) -> Response:
    said: dict[str, Any] = {"error": refused.sentence}
    if refused.items:
        said["items"] = [{"item": number, "error": why} for number, why in refused.items]
    headers = {"Retry-After": str(refused.after)} if refused.after is not None else {}
    if refused.status in (408, 413) or refused.sentence == _TWICE:
        headers["Connection"] = "close"  # the rest of the body is not read, or not to be believed
    return JSONResponse(said, refused.status, headers)


async def _not_here(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    what = {
        404: "there is nothing at this address: / is the page, /docs describes the rest.",
        405: "this address does not take this method.",
    }
    return JSONResponse({"error": what.get(problem.status_code, str(problem.detail))}, problem.status_code, problem.headers)


def _is_local(host: str) -> bool:
    name, _, port = host.rpartition(":")
    return host in _LOCAL or (name in _LOCAL and port.isdecimal())
