"""Flags that say how a backbone reads texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.backbones.providers.text_options import TextOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TextFlags:
    """How the backbone reads texts.

    Parameters
    ----------
    template: str
        Ask a masked language model: a sentence with the text and one mask, such as '{text} It was [MASK].', or the name of a common task
        (sst2, sst5, mr, cr, mpqa, subj, trec, cola, mnli, snli, qnli, rte, mrpc, qqp). Two texts go where their columns are named, as in
        '{premise}? [MASK], {hypothesis}'. The backbone is then hf:NAME of a masked language model.
    words: str
        What stands for a class at the mask: class=word, such as positive=great negative=terrible. A class without a word is its name.
        Several words of a class are averaged: positive=great,good.
    pair: str
        How an encoder reads two texts: apart (the default: both are embedded, and compared) or together, in one sequence.
    long: str
        Texts longer than the backbone reads are cut, or read in parts whose features are averaged (mean).
    """

    template: str | None = None
    words: Annotated[list[str], Parameter(negative=(), consume_multiple=True)] = field(default_factory=list)
    pair: Literal["apart", "together"] | None = None
    long: Literal["cut", "mean"] | None = None

    def value(self) -> TextOptions:
        from fewtune.backbones.providers.text_options import TextOptions

        return TextOptions(template=self.template, words=tuple(self.words), pair=self.pair, long=self.long)


NO_TEXT_FLAGS = TextFlags()
