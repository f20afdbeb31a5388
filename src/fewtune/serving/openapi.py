"""The OpenAPI description of a model's server."""

from __future__ import annotations

from typing import Any

from fewtune.serving.answering import Answering
from fewtune.serving.requests import KEYS, Limits
from fewtune.version import __version__

_ITEMS: dict[str, dict[str, Any]] = {
    "photos": {
        "type": "string",
        "format": "byte",
        "description": "The bytes of an image file (JPEG, PNG, WebP, GIF, BMP, TIFF), in base64.",
    },
    "texts": {"type": "string", "minLength": 1, "pattern": r"[^\s\u001c-\u001f\u0085\ufeff]"},
    "vectors": {"type": "array", "items": {"type": "number"}},
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


def description(name: str, answering: Answering, limits: Limits) -> dict[str, Any]:
    """OpenAPI 3.1. `name` of the model."""
    key, names = KEYS[answering.modality], list(answering.bundle.class_names)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"fewtune: {name}", "version": __version__, "description": f"Predictions of a model with {len(names)} classes."},
        "paths": {
            "/predict": {"post": _predict(key, limits)},
            "/health": {"get": _plain("Whether the server answers, and what the model knows.", "application/json", _health(names))},
            "/metrics": {"get": _plain("Counts for Prometheus.", "text/plain", {"type": "string"})},
        },
        "components": {"schemas": _schemas(names)},
    }


def _predict(key: str, limits: Limits) -> dict[str, Any]:
    threshold = {"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "Below this probability the label is null."}
    item = _ITEMS[key] | ({"maxLength": limits.text} if key == "texts" else {})
    listed = {"type": "array", "items": item, "minItems": 1, "maxItems": limits.items}
    body = {"type": "object", "required": [key], "additionalProperties": False, "properties": {key: listed, "threshold": threshold}}
    content: dict[str, Any] = {"application/json": {"schema": body}}
    if key != "vectors":
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


def _plain(summary: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {"schema": schema}}}}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _health(names: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["status", "model", "reads", "classes"],
        "properties": {
            "status": {"const": "ok"},
            "model": {"type": "string"},
            "reads": {"enum": ["image", "text", "vector"]},
            "classes": {"type": "array", "items": {"enum": names}},
        },
    }


def _schemas(names: list[str]) -> dict[str, Any]:
    share = {"type": "number", "minimum": 0, "maximum": 1.000001}
    prediction = {
        "type": "object",
        "required": ["input", "label", "probability", "scores"],
        "properties": {
            "input": {"type": "string"},
            "label": {"enum": [*names, None]},
            "probability": share,
            "scores": {"type": "object", "properties": dict.fromkeys(names, share), "required": names},
        },
    }
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
