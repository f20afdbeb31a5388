"""The frozen learners that are compared and chosen among where none is named."""

from __future__ import annotations

from fewtune.learning.method import Method
from fewtune.recipes.language import read_method

MOST_SVM_ROWS = 200  # its time grows with the cube of the rows: 0.1 s a fit here, 8 s with 800 rows of 10 classes


def candidates(*, label_side: bool, modality: str, rows: int = 0, prompts: tuple[str, ...] = ()) -> dict[str, Method]:
    """Methods by the text that spells them, simplest first; those that read class names only where they can be read.

    `prompts`: the templates of those that read class names, by default common ones. `rows`: how many there are to learn from. The support
    vector machine is left out beyond 200; logistic regression stands for it there.
    """
    texts = ["centroid", "matching", "ridge", "logistic", *(["svm"] if rows <= MOST_SVM_ROWS else [])]
    if label_side:  # images are named in sentences, texts by the class name alone
        given = repr(prompts) if prompts else "" if modality == "image" else "'{}'"
        texts += [f"{name}(prompts={given})" if given else name for name in ("zero_shot", "text_prior")]
    return {text: read_method(text) for text in texts}
