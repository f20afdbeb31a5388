"""The words of `--method`, so that a misspelt one is told before anything slow is imported. A test compares them with `WORDS`."""

from __future__ import annotations

import ast
import re

from fewtune.errors import unknown
from fewtune.plugins import registered
from fewtune.recipes import _WHERE

RECIPES = frozenset(name for name, file in _WHERE.items() if file not in ("language", "spelled"))
PARTS = frozenset(
    [
        "Adam",
        "AdamW",
        "Adapt",
        "Additive",
        "After",
        "Again",
        "AlignedMtl",
        "Anchor",
        "AsMany",
        "AtMost",
        "Augment",
        "Average",
        "Best",
        "BinaryCrossEntropy",
        "BlackBox",
        "Blend",
        "BlockShuffle",
        "Blur",
        "ByKind",
        "CaGrad",
        "Centroid",
        "Chosen",
        "ClassAnchor",
        "ConsistencyDiversity",
        "Constant",
        "Context",
        "Contrast",
        "Cosine",
        "CrossEntropy",
        "CrossStitch",
        "Cutout",
        "Dare",
        "Decaying",
        "Displacement",
        "Distil",
        "Dwa",
        "Ema",
        "Ensemble",
        "Entropy",
        "FairGrad",
        "Famo",
        "FewTasks",
        "Film",
        "Fixed",
        "Gating",
        "Gaussian",
        "GradNorm",
        "GradVac",
        "GradientAffinity",
        "GradientRow",
        "Greedy",
        "Grey",
        "GroupDro",
        "HScore",
        "Hard",
        "Hue",
        "Identity",
        "Imbalanced",
        "Implicit",
        "ImtlG",
        "ImtlL",
        "InOrder",
        "InSequence",
        "InTurn",
        "Independent",
        "IsoC",
        "KernelPrior",
        "Laplace",
        "Last",
        "Learned",
        "Leep",
        "Less",
        "Linear",
        "LinearDecay",
        "LoRA",
        "LogMe",
        "Logistic",
        "LpPlus",
        "Matching",
        "Mean",
        "MeanCosine",
        "Method",
        "MinNorm",
        "Mmoe",
        "ModelStock",
        "Mtan",
        "MultiLogistic",
        "Named",
        "NamedGaussian",
        "NamedLogistic",
        "Nash",
        "NearestClasses",
        "NearestRow",
        "Noise",
        "NtXent",
        "OneNegative",
        "Paired",
        "Pairs",
        "PcGrad",
        "PerTask",
        "Phase",
        "Plan",
        "Points",
        "Pooled",
        "Population",
        "RAdam",
        "Ranked",
        "RegMean",
        "Relation",
        "Relative",
        "Replayed",
        "Ridge",
        "Rlw",
        "Rotate",
        "RoundRobin",
        "SGD",
        "Sampled",
        "SharedBottom",
        "Shrink",
        "SigmoidContrast",
        "Sobel",
        "SoftSharing",
        "SquaredError",
        "Stch",
        "Steps",
        "SupervisedContrast",
        "Svm",
        "Swa",
        "TagAffinity",
        "TaskArithmetic",
        "TaskQueries",
        "TaskRelation",
        "Text",
        "TextPrior",
        "TextProbe",
        "Ties",
        "TipAdapter",
        "TorchJd",
        "Twins",
        "Uncertainty",
        "Uniform",
        "UpGrad",
        "Upper",
        "Varied",
        "WorstCase",
        "all",
        "bias_and_norm",
        "consistency_diversity",
        "everything",
        "gradients",
        "gradual",
        "no_consistency",
        "no_diversity",
        "one_group",
        "only",
        "random",
        "round_robin",
        "upper",
    ]
)

_NUMBERS = frozenset({"inf", "nan"})
_TORCHJD = re.compile(r"""(?<![^=(,\[\s])(?P<quote>['"]?)torchjd:(?P<name>\w+)(?P=quote)(?!\w)""")


def spelled_out(source: str) -> str:
    """The text of a method with the short names of parts of other libraries written as what they stand for.

    >>> spelled_out("shared_bottom(aggregator=torchjd:UPGrad)")
    "shared_bottom(aggregator=TorchJd(name='UPGrad'))"
    """
    return _TORCHJD.sub(r"TorchJd(name='\g<name>')", source)


def named(source: str) -> tuple[str, str]:
    """(name, method) of a text such as "mine=ridge(penalty=10)"; a text without a name is its own name.

    >>> named("mine=ridge(penalty=10)"), named("ridge(penalty=10)")
    (('mine', 'ridge(penalty=10)'), ('ridge(penalty=10)', 'ridge(penalty=10)'))
    """
    name, _, method = source.partition("=")
    return (name.strip(), method.strip()) if name.strip() and method.strip() and "(" not in name else (source, source)


def check_words(source: str) -> None:
    """Raise InputError for a word in the text of a method that is no name of a method or a part of one.

    A text that cannot be read at all, and options, are left to `read_method`.
    """
    try:
        tree = ast.parse(spelled_out(source).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in RECIPES | PARTS | _NUMBERS:
            others = {*registered("fewtune.heads"), *registered("fewtune.methods")}
            if node.id not in others:
                raise (
                    unknown("method", node.id, RECIPES | others)
                    if tree.body in (node, _caller(node, tree))
                    else unknown("name", node.id, RECIPES | PARTS | others)
                )


def _caller(node: ast.Name, tree: ast.Expression) -> ast.expr | None:
    """The whole expression, if it is a call of this name."""
    return tree.body if isinstance(tree.body, ast.Call) and tree.body.func is node else None
