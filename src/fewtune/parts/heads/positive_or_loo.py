"""A setting of a head that is a positive number, or "loo": chosen by leave-one-out."""

from __future__ import annotations

import math

from fewtune.errors import InputError


def check_positive_or_loo(what: str, value: float | str, meaning: str) -> None:
    """Raise InputError for anything else. `what`: the name of the setting, `meaning`: what a large or small number does."""
    if isinstance(value, str):
        if value != "loo":
            raise InputError(f"{what} is a positive number or 'loo' (chosen by leave-one-out), found {value!r}.")
    elif not 0 < value < math.inf:
        raise InputError(f"{what} must be a positive number ({meaning}), found {value}.")
