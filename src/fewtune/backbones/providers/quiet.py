"""Silence for other libraries: they warn and log while they are imported and while models are made. We check the result ourselves."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, final


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, there are no log messages and no warnings; afterwards everything is as before."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@contextmanager
def transformers_quietly() -> Iterator[None]:
    """The same, and no progress bars of transformers."""
    with quietly():
        from transformers.utils import logging as theirs

        shown = theirs.is_progress_bar_enabled()
        if shown:
            theirs.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            if shown:
                theirs.enable_progress_bar()  # type: ignore[no-untyped-call]


_COMPILER = "torch._dynamo.utils"


@contextmanager
def without_compiler(needed: bool = False) -> Iterator[None]:
    """Inside, timm and torchvision are imported without torch's compiler, unless it is `needed`: loading it is half of the time that they
    take.

    torchvision takes one function of it, for an operation that no backbone uses; that function loads the compiler when it is called. timm
    marks a few functions that must not be compiled; without a compiler they need no mark.
    """
    if needed or _COMPILER in sys.modules:
        yield
        return
    import torch

    marking = torch.compiler.disable
    torch.compiler.disable = _unmarked
    sys.modules[_COMPILER] = _Later(_COMPILER)
    try:
        yield
    finally:
        torch.compiler.disable = marking
        if isinstance(sys.modules.get(_COMPILER), _Later):
            del sys.modules[_COMPILER]


def _unmarked(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:  # noqa: ARG001  (as torch calls it)
    return fn if fn is not None else lambda function: function


@final
class _Later(ModuleType):
    """A module whose functions are imported when they are called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(_COMPILER), name)(*args, **named)

        return call
