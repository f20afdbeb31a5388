"""The OpenAPI description of a model's server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewtune.serving.requests import KEYS, Limits
from fewtune.serving.served import Served
from fewtune.version import __version__

_ITEMS: dict[str, dict[str, Any]] = {
    "photos": {
        "type": "string",
        "format": "byte",
        "description": "The bytes of an image file (JPEG, PNG, WebP, GIF, BMP, TIFF), in base64.",
    },
    "texts": {"type": "string", "minLength": 1, "pattern": r"[^\s\u001c-\u001f\u0085\ufeff]"},
    "vectors": {"type": "array", "items": {"type": "number"}},
    "rows": {"type": "object"},
}
_REFUSALS = {
    "400": "The request is broken.",
    "408": "The request did not arrive in time.",
    "413": "The request is too large.",
    "415": "The request has another type of content.",
    "422": "Items cannot be read: `items` says which and why.",
    "503": "Too much is waiting: try again after `Retry-After` seconds.",
    "504": "The answer was not ready in time.",
}


def description(name: str, answering: Served, limits: Limits) -> dict[str, Any]:
    """OpenAPI 3.1. `name` of the model."""
    key = KEYS[answering.modality]
    return {
        "openapi": "3.1.0",
        "info": {"title": f"fewtune: {name}", "version": __version__, "description": f"Predictions of a model that {answering.title}."},
        "paths": {
            "/predict": {"post": _predict(key, answering.row, limits)},
            "/health": {
                "get": _plain("Whether the server answers, and what the model knows.", "application/json", _health(answering.knows))
            },
            "/metrics": {"get": _plain("Counts for Prometheus.", "text/plain", {"type": "string"})},
        },
        "components": {"schemas": _schemas(answering.shape)},
    }


def _predict(key: str, row: dict[str, Any], limits: Limits) -> dict[str, Any]:
    threshold = {"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "Below this probability the label is null."}
    item = _ITEMS[key] | ({"maxLength": limits.text} if key == "texts" else {}) | _row(row, limits)
    listed = {"type": "array", "items": item, "minItems": 1, "maxItems": limits.items}
    body = {"type": "object", "required": [key], "additionalProperties": False, "properties": {key: listed, "threshold": threshold}}
    content: dict[str, Any] = {"application/json": {"schema": body}}
    if key in ("photos", "texts"):
        files = {"type": "string", "contentMediaType": "application/octet-stream"} if key == "photos" else item
        fields = {key: {**listed, "items": files}, "threshold": {"type": "number", "minimum": 0, "maximum": 1}}
        form = {"type": "object", "required": [key], "additionalProperties": False, "properties": fields}
        content["multipart/form-data"] = {"schema": form}
    refusals = {
        code: {
            "description": said,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
            **({"headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}} if code == "503" else {}),
        }
        for code, said in _REFUSALS.items()
    }
    answer = {"description": "One prediction an item, in order.", "content": _json({"$ref": "#/components/schemas/Answers"})}
    return {
        "operationId": "predict",
        "summary": f"Label {key}.",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **refusals},
    }


def _row(row: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The schema of a row by an example of one: numbers may be null or missing, a photo, a text or an embedding may not."""
    if not row:
        return {}
    more = {"photo": _ITEMS["photos"], "text": _ITEMS["texts"] | {"maxLength": limits.text}, "vector": _ITEMS["vectors"]}
    needed = [name for name, value in row.items() if not isinstance(value, float)]
    properties = {name: more[name] if name in needed else {"type": ["number", "null"]} for name in row}
    return {"properties": properties, "required": needed, "additionalProperties": False}


def _plain(summary: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {"schema": schema}}}}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _health(knows: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    listed = {name: {"type": "array", "items": {"enum": list(names)}} for name, names in knows.items()}
    return {
        "type": "object",
        "required": ["status", "model", "reads", *listed],
        "properties": {
            "status": {"const": "ok"},
            "model": {"type": "string"},
            "reads": {"enum": ["image", "text", "vector", "table"]},
            **listed,
        },
    }


def _schemas(shape: dict[str, Any]) -> dict[str, Any]:
    prediction = {"type": "object", "required": ["input", *shape], "properties": {"input": {"type": "string"}, **shape}}
    wrong = {"type": "object", "required": ["item", "error"], "properties": {"item": {"type": "integer"}, "error": {"type": "string"}}}
    return {
        "Prediction": prediction,
        "Answers": {
            "type": "object",
            "required": ["predictions"],
            "properties": {"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}},
        },
        "Refusal": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}, "items": {"type": "array", "items": wrong}},
        },
    }
