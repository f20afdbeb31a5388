"""Label words: the word, or words, that stand for a class at the mask of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from fewtune.data.templates import readable
from fewtune.errors import InputError

BETWEEN = "/\u2063"  # the words of a class where they are its name: a slash, and an invisible mark that no slash of a name has


@final
@dataclass(frozen=True)
class LabelWords:
    """`words`: by class name, one or more words. A class without words of its own is its name."""

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, class_name: str) -> tuple[str, ...]:
        """The words of a class. Blanks, underscores and capitals of its name do not matter."""
        return self._folded.get(_fold(class_name)) or (readable(class_name),)

    def has(self, class_name: str) -> bool:
        """Whether a class has words of its own."""
        return _fold(class_name) in self._folded

    @property
    def _folded(self) -> dict[str, tuple[str, ...]]:
        return {_fold(name): words for name, words in self.words.items()}

    @property
    def text(self) -> str:
        """`class=word/word;class=word`, in which other marks are written as %2C and so on."""
        return ";".join(f"{_encoded(name)}={'/'.join(map(_encoded, words))}" for name, words in self.words.items())

    def check(self, class_names: Sequence[str]) -> None:
        """Raise InputError for words that belong to no class of the data."""
        known = {_fold(name) for name in class_names}
        if strange := [name for name in self.words if _fold(name) not in known]:
            raise InputError(f"--words names the class {strange[0]!r}, but the classes are {', '.join(class_names[:8])}.")


def read_words(given: Sequence[str]) -> LabelWords:
    """Words as people type them: `positive=great`, or several for a class, `positive=great,good`. Raises InputError for anything else.

    >>> read_words(["positive=great,good"]).of("Positive")
    ('great', 'good')
    """
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        name, equals, words = one.rpartition("=")
        split = tuple(word.strip() for word in words.split(",") if word.strip())
        if not equals or not name.strip() or not split:
            raise InputError(f"--words are class=word, as in positive=great, found {one!r}.")
        if _fold(name) in map(_fold, found):
            raise InputError(f"--words has the class {name.strip()!r} twice: give all its words at once, as in positive=great,good.")
        if same := [other for other, theirs in found.items() if set(theirs) == set(split)]:
            raise InputError(f"--words gives {same[0]!r} and {name.strip()!r} the same word, so they cannot be told apart: found {one!r}.")
        found[name.strip()] = split
    return LabelWords(found)


def _encoded(word: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in "%,;=/" or ord(c) < 32 else c for c in word)


def _fold(class_name: str) -> str:
    return readable(class_name).casefold()
