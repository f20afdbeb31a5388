"""What `fewtune inspect` says of how a backbone would read the texts."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.examples import Examples
from fewtune.report.prompts_said import PromptsSaid, prompts_said


def reading_said(examples: Examples, template: str | None, words: Sequence[str], backbone: str | None) -> PromptsSaid:
    """The prompts of a template, and what a backbone cannot read whole. Raises InputError where these do not fit the texts."""
    from fewtune.backbones.providers.text_options import TextOptions

    asked = TextOptions(template=template, words=tuple(words))
    cut: tuple[str, ...] = ()
    if backbone is not None:
        from fewtune.backbones.features.readable import remarks_on_length
        from fewtune.models.reading_texts import backbone_for

        cut = remarks_on_length(examples, backbone_for(examples, backbone, asked)) or ("The backbone reads every text whole.",)
    if template is None:
        asked.check()
        return PromptsSaid((), {}, cut)
    return prompts_said(examples, asked, cut)
