"""Numbers and names in sentences."""

from __future__ import annotations

import unicodedata

_SPACES = "\n\r\t\v\f\x85\u2028\u2029"
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def counted(count: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """`1 row`, `3 rows`; with verbs for one and for many, `1 row was`, `3 rows were`."""
    verb = "" if verbs is None else f" {verbs[count != 1]}"
    return f"{count:,} {noun}{'' if count == 1 else 's'}{verb}"


def rounded(number: float, digits: int = 3) -> str:
    """A number for people, with so many digits that count: `37700`, `0.0452`, `1994` (4 digits); no exponent up to 10^12.

    >>> rounded(37654.2), rounded(0.04517), rounded(1994.2, 4)
    ('37700', '0.0452', '1994')
    """
    return f"{float(f'{number:.{digits}g}'):.12g}"


def noun_of(modality: str) -> str:
    """What people call one example: photo, text, or example (a vector)."""
    return {"image": "photo", "text": "text"}.get(modality, "example")


def option(flag: str, python: str | None = None) -> str:
    """An option as the command line and as Python take it, for sentences that either may show. `python`: if the two differ by more.

    >>> option("--skip-bad")
    '--skip-bad (in Python skip_bad=True)'
    >>> option("--weights FILE")
    '--weights FILE (in Python weights=FILE)'
    >>> option("--source DATA", "sources=[...]")
    '--source DATA (in Python sources=[...])'
    """
    name, _, value = flag.removeprefix("--").partition(" ")
    return f"{flag} (in Python {python or name.replace('-', '_') + '=' + (value or 'True')})"


def one_line(text: str) -> str:
    """Text on one line without control characters: a file name must not move the cursor, nor turn the direction of the text."""
    return "".join(c if harmless(c) else " " if c in _SPACES else "\ufffd" for c in text)


def harmless(letter: str) -> bool:
    """Whether a terminal only shows a letter: no control character, no end of a line, no half of a surrogate pair, no turn of direction."""
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in _TURNING
