"""`i/n`: one of several shares of the work."""

from __future__ import annotations


def share_of(text: str) -> tuple[int, int]:
    """(i, n) of "i/n". Raises InputError for another text, and for an i that is not from 1 to n."""
    from fewtune.errors import InputError

    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"--shard is i/n with i from 1 to n, such as 1/4, found {text}.")
    return int(number), int(count)
