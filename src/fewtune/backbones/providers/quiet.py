"""Silence for other libraries: they warn and log while they are imported and while models are made. We check the result ourselves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


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
