"""Prompts: templates with one mask, and the label words that answer at it.

`Template` fills texts in, `LabelWords` says which words stand for a class, `shipped` has those of fifteen common tasks.
"""

from fewtune.data.prompts.shipped import Prompting, prompted, read_template, shipped, shipped_tasks
from fewtune.data.prompts.template import MASK, Filled, Prompt, Template
from fewtune.data.prompts.words import LabelWords, read_words

__all__ = [
    "MASK",
    "Filled",
    "LabelWords",
    "Prompt",
    "Prompting",
    "Template",
    "prompted",
    "read_template",
    "read_words",
    "shipped",
    "shipped_tasks",
]
