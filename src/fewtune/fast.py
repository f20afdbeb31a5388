"""Whether compiled kernels are taken: they do what the plain path does, up to rounding, and need the extra `fast`."""

from __future__ import annotations

from functools import cache

from fewtune.errors import InputError

WORTH = 100_000  # rows to draw or to label at once; below that, loading the compiler takes longer than it saves


def taken(asked: bool | None, rows: int) -> bool:
    """Whether kernels do a piece of work of so many rows: as `asked`, or where None from `WORTH` rows on if they can be compiled here.

    Raises InputError where they are asked for and numba is missing.
    """
    if asked is None:
        return rows >= WORTH and can_compile()
    if asked and not can_compile():
        raise InputError("compiled kernels were asked for, but numba cannot be imported: pip install 'fewtune[fast]'.")
    return asked


@cache
def can_compile() -> bool:
    """Whether numba is here and works with this NumPy. It is imported to know that, which takes a good half of a second."""
    try:
        import fewtune.compiled  # noqa: F401
    except ImportError:
        return False
    return True
