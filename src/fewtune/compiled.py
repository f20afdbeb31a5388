"""How kernels are compiled: by numba (`pip install 'fewtune[fast]'`), which this file alone imports.

A kernel is a function over arrays and numbers that writes into the arrays it is given. It is compiled when it is first called with new
types of arguments, which takes seconds, and kept in numba's cache on disk. That looks at the kernel's own file only: whoever changes this
file, or a function that kernels of other files call, removes `__pycache__/*.nb*`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

_NJIT: Any = numba.njit
_INTRINSIC: Any = intrinsic
_FUNCTION: Any = cgutils.get_or_insert_function
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: F) -> F:
    """A kernel, or a function that kernels call."""
    return _compiled(function, {"contract", "nsz"})


def reordered(function: F) -> F:
    """The same for sums over many numbers: they are added in an order that suits the machine. NaN and infinity are kept."""
    return _compiled(function, {"contract", "nsz", "reassoc"})


def _compiled(function: F, free: set[str]) -> F:
    try:
        return _NJIT(cache=True, fastmath=free, **_OPTIONS)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder that a cache could be written to
        return _NJIT(fastmath=free, **_OPTIONS)(function)  # type: ignore[no-any-return]


@_INTRINSIC  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """Ask for array[place], of a flat array, to be brought to the cache: rows at random places otherwise cost a wait each."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = _FUNCTION(builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0")
        read, second_level, of_data = word(0), word(2), word(1)
        builder.call(function, [builder.bitcast(builder.gep(data, [given[1]]), byte), read, second_level, of_data])
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp), code


@_INTRINSIC  # type: ignore[untyped-decorator]
def wide(typing: Any, value: Any) -> Any:  # noqa: ARG001
    """A float32, or the 16 bits (uint16) of a bfloat16, as a float32."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ARG001
        if signature.args[0] == numba.types.float32:
            return given[0]
        bits = builder.shl(builder.zext(given[0], ir.IntType(32)), ir.IntType(32)(16))
        return builder.bitcast(bits, ir.FloatType())

    return numba.types.float32(value), code
