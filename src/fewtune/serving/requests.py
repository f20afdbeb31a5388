"""From the body of a request to its items, or to a refusal in one sentence. Nothing in a request is taken for a path or an address."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from fewtune.serving.served import Given
from fewtune.words import one_line

KEYS = {"image": "photos", "text": "texts", "vector": "vectors", "table": "rows"}
_NOUN = {"photos": "photo", "texts": "text", "vectors": "embedding", "rows": "row"}
_LONGEST_NAME = 200


@final
class Refused(Exception):  # noqa: N818  (not an error of the server)
    """A refusal: its status, its sentence, and for items one by one their numbers and reasons."""

    def __init__(self, status: int, sentence: str, items: tuple[tuple[int, str], ...] = (), after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.items, self.after = status, sentence, items, after


@final
@dataclass(frozen=True)
class Limits:
    """`body`: bytes of a request; `items` in one request; `text`: letters of one text; `seconds` until a request must be answered."""

    body: int = 20_000_000
    items: int = 64
    text: int = 100_000
    seconds: float = 30.0


@final
@dataclass(frozen=True)
class Asked:
    """The items of a request by name, and the probability below which no label is wanted (None: the model's own)."""

    items: tuple[tuple[str, Given], ...]
    threshold: float | None


async def read_request(request: Request, modality: str, limits: Limits) -> Asked:
    """What a request asks. Raises Refused: 400 for a broken body, 413 for too large a one, 415 for another type, 422 for wrong items."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in ("application/json", "multipart/form-data"):
        raise Refused(415, f"expected content of type application/json or multipart/form-data, found {one_line(kind)[:80] or 'none'}.")
    if kind == "multipart/form-data" and modality in ("vector", "table"):
        raise Refused(
            415, f"this model reads {'embeddings' if modality == 'vector' else 'rows'}: expected content of type application/json."
        )
    body = await _body(request, limits)
    if kind == "application/json":
        return _from_json(body, KEYS[modality], limits)
    return await _from_form(request, body, KEYS[modality], limits)


async def _body(request: Request, limits: Limits) -> bytes:
    too_large = Refused(413, f"the request is larger than {limits.body / 1e6:g} MB: send fewer or smaller items.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.body:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _from_json(body: bytes, key: str, limits: Limits) -> Asked:
    try:
        said = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise Refused(400, f"the body is not JSON ({one_line(str(problem))[:120].rstrip('.') or 'nested too deeply'}).") from None
    example = _EXAMPLES[key]
    if isinstance(said, dict) and isinstance(said.get(key), list):
        _check_count(len(said[key]), key, limits)  # before a name is made for each
    if not isinstance(said, dict) or not isinstance(said.get(key), list):
        raise Refused(422, f"expected {example}, found {_kind(said)}{'' if not isinstance(said, dict) else f' without a list {key}'}.")
    if strange := sorted(set(said) - {key, "threshold"}):
        raise Refused(422, f"unknown key {one_line(strange[0])[:80]!r}: expected {example}, and threshold if you like.")
    named = tuple((f"{_NOUN[key]} {number + 1}", item) for number, item in enumerate(said[key]))
    threshold = said.get("threshold")
    return _checked(named, key, _threshold(threshold), limits)


async def _from_form(request: Request, body: bytes, key: str, limits: Limits) -> Asked:
    """Photos are files of the field `photos`, texts values (or files in UTF-8) of the field `texts`."""

    async def again() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        whole = Request(request.scope, again)
        async with whole.form(max_files=limits.items + 1, max_fields=limits.items + 2, max_part_size=limits.body) as form:
            named: list[tuple[str, Any]] = []
            threshold: float | None = None
            for name, value in form.multi_items():
                if name == "threshold" and isinstance(value, str):
                    threshold = _threshold(value)
                    continue
                if name != key:
                    raise Refused(422, f"unknown field {one_line(name)[:80]!r}: expected {key}, and threshold if you like.")
                title = f"{_NOUN[key]} {len(named) + 1}"
                if isinstance(value, UploadFile):
                    title = one_line(value.filename or title)[-_LONGEST_NAME:] or title
                    named.append((title, await value.read()))
                else:
                    named.append((title, value))
    except MultiPartException as problem:
        raise Refused(400, f"the form cannot be read ({one_line(problem.message)[:120].rstrip('.')}).") from None
    except (ValueError, KeyError, AttributeError, AssertionError) as problem:  # what its parser raises on hostile bytes
        raise Refused(400, f"the form cannot be read ({type(problem).__name__}).") from None
    except Exception as problem:
        if isinstance(problem, Refused):
            raise
        detail = getattr(problem, "detail", type(problem).__name__)
        raise Refused(400, f"the form cannot be read ({one_line(str(detail))[:120].rstrip('.')}).") from None
    return _checked(tuple(named), key, threshold, limits)


def _checked(named: tuple[tuple[str, Any], ...], key: str, threshold: float | None, limits: Limits) -> Asked:
    """Every item of the kind that it must be. Raises Refused with all that are not."""
    noun = _NOUN[key]
    if not named:
        raise Refused(422, f"expected at least one {noun}, found none.")
    _check_count(len(named), key, limits)
    read, wrong = [], []
    for number, (name, item) in enumerate(named):
        found, why = _READERS[key](item, limits)
        if why:
            wrong.append((number, f"{name} {why}"))
        else:
            read.append((name, found))
    if wrong:
        raise Refused(422, wrong[0][1], tuple(wrong))
    return Asked(tuple(read), threshold)


def _check_count(count: int, key: str, limits: Limits) -> None:
    if count > limits.items:
        raise Refused(422, f"expected at most {limits.items} {key} in one request, found {count}: send several requests.")


def _photo(item: Any, _: Limits) -> tuple[bytes, str]:
    if isinstance(item, bytes):
        return item, ""
    if not isinstance(item, str):
        return b"", f"is {_kind(item)}: expected a photo in base64."
    content = item.partition(",")[2] if item.startswith("data:") else item
    try:
        return base64.b64decode(content, validate=True), ""
    except (binascii.Error, ValueError):
        return b"", "is not base64: expected the bytes of an image file in base64 (paths and addresses are not read)."


def _text(item: Any, limits: Limits) -> tuple[str, str]:
    if isinstance(item, bytes):
        try:
            item = item.decode("utf-8")
        except UnicodeDecodeError:
            return "", "is not UTF-8."
    if not isinstance(item, str):
        return "", f"is {_kind(item)}: expected a text."
    return (item, "") if len(item) <= limits.text else ("", f"has {len(item):,} letters: expected at most {limits.text:,}.")


def _vector(item: Any, _: Limits) -> tuple[list[float], str]:
    if not isinstance(item, list):
        return [], f"is {_kind(item)}: expected a list of numbers."
    try:
        if not all(type(number) in (int, float) for number in item):
            raise TypeError
        return [float(number) for number in item], ""
    except (TypeError, OverflowError):
        return [], "holds something else than numbers."


def _row(item: Any, limits: Limits) -> tuple[dict[str, Any], str]:
    """A row as it is; what it holds beside numbers is read as elsewhere."""
    if not isinstance(item, dict):
        return {}, f"is {_kind(item)}: expected an object with the columns that this model reads."
    read = dict(item)
    for name, reader in (("photo", _photo), ("text", _text), ("vector", _vector)):
        if read.get(name) is not None and not isinstance(read[name], int | float):
            read[name], why = reader(read[name], limits)
            if why:
                return {}, f"has a {name} that {why}"
    return read, ""


_READERS: Mapping[str, Any] = {"photos": _photo, "texts": _text, "vectors": _vector, "rows": _row}
_EXAMPLES = {
    "photos": '{"photos": ["BASE64", ...]}',
    "texts": '{"texts": ["...", ...]}',
    "vectors": '{"vectors": [[0.1, ...], ...]}',
    "rows": '{"rows": [{"NUMBER": 1.5, ...}, ...]}',
}


def _threshold(value: Any) -> float | None:
    """A number from 0 to 1, as a number or (in a form) as text."""
    if value is None or value == "":
        return None
    try:
        number = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise Refused(422, f"expected a threshold between 0 and 1, found {one_line(str(value))[:40]}.")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _kind(value: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
