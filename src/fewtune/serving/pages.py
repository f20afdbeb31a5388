"""The page to drop photos or paste texts on, and the page that describes the addresses. They load nothing from other machines."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment

from fewtune.serving.requests import KEYS
from fewtune.serving.served import Served

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_SHOWN = 40  # class names on the page


def page(name: str, answering: Served) -> str:
    """The page for people."""
    (names,) = answering.knows.values()
    said = {"title": answering.title, "key": KEYS[answering.modality], "row": json.dumps(answering.row, ensure_ascii=False)}
    return _rendered("page.html", name=name, names=names[:_SHOWN], more=max(0, len(names) - _SHOWN), **said)


def documentation(name: str, said: dict[str, Any], answering: Served) -> str:
    """The OpenAPI description for people: what is asked, what comes back, what is refused."""
    post = said["paths"]["/predict"]["post"]
    content = post["requestBody"]["content"]
    key = content["application/json"]["schema"]["required"][0]
    example = {"input": "photo.jpg" if key == "photos" else f"{key[:-1]} 1", **answering.example}
    return _rendered(
        "docs.html",
        name=name,
        key=key,
        listed=content["application/json"]["schema"]["properties"][key],
        form="multipart/form-data" in content,
        refusals={code: one["description"] for code, one in post["responses"].items() if code != "200"},
        row=json.dumps({"rows": [answering.row]}, ensure_ascii=False),
        example=json.dumps({"predictions": [example]}, indent=1, ensure_ascii=False),
    )


def script(modality: str) -> str:
    """The page's JavaScript."""
    return f'"use strict";\nconst KEY = "{KEYS[modality]}";\n{_file("page.js")}'


def style() -> str:
    return _file("page.css")


def _rendered(template: str, **values: Any) -> str:
    made = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_file(template)).render(**values)
    return made.encode("utf-8", "replace").decode()


def _file(name: str) -> str:
    return files("fewtune.serving").joinpath("static", name).read_text(encoding="utf-8")
