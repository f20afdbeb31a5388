"""Methods as functions: each recipe returns a `Method`, and its name is what `--method` takes.

What goes in are the recipe's options, by keyword or as text; what comes out is a `Method` with every default filled in, for
`learning` to run. `read_method` reads a text such as "multitask(steps=100)"; `RECIPES` lists the recipes.

>>> import fewtune.recipes
>>> fewtune.recipes.multitask(steps=6, lr=1e-3) == fewtune.recipes.read_method("multitask(steps=6, lr=1e-3)")
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.recipes.episodic import matching_networks, metaoptnet, multitask, protonet, r2d2
    from fewtune.recipes.finetuning import (
        bitfit,
        contrastive,
        gradual_unfreezing,
        l2_sp,
        layerwise,
        linear_probe_then_finetune,
        lora,
        soup,
        standard,
        surgical,
        wise_ft,
    )
    from fewtune.recipes.frozen import (
        blend,
        centroid,
        gaussian,
        logistic,
        matching,
        named_logistic,
        ridge,
        shrink,
        svm,
        text_prior,
        zero_shot,
    )
    from fewtune.recipes.language import RECIPES, WORDS, read_frozen, read_method, variants
    from fewtune.recipes.meta import anil, boil, fomaml, imaml, maml, meta_sgd, minibatch_prox, reptile
    from fewtune.recipes.sharing import (
        additive,
        cross_stitch,
        deep_relation,
        film,
        gating,
        independent,
        mmoe,
        mtan,
        shared_bottom,
        soft_sharing,
        task_queries,
    )
    from fewtune.recipes.source_training import flyp, mamf, meta_baseline, p_m_f, shared_heads
    from fewtune.recipes.spelled import check_words

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "RECIPES": "language",
    "WORDS": "language",
    "additive": "sharing",
    "anil": "meta",
    "bitfit": "finetuning",
    "blend": "frozen",
    "boil": "meta",
    "centroid": "frozen",
    "check_words": "spelled",
    "contrastive": "finetuning",
    "cross_stitch": "sharing",
    "deep_relation": "sharing",
    "film": "sharing",
    "flyp": "source_training",
    "fomaml": "meta",
    "gating": "sharing",
    "gaussian": "frozen",
    "gradual_unfreezing": "finetuning",
    "imaml": "meta",
    "independent": "sharing",
    "l2_sp": "finetuning",
    "layerwise": "finetuning",
    "linear_probe_then_finetune": "finetuning",
    "logistic": "frozen",
    "lora": "finetuning",
    "mamf": "source_training",
    "maml": "meta",
    "matching": "frozen",
    "matching_networks": "episodic",
    "meta_baseline": "source_training",
    "meta_sgd": "meta",
    "metaoptnet": "episodic",
    "minibatch_prox": "meta",
    "mmoe": "sharing",
    "mtan": "sharing",
    "multitask": "episodic",
    "named_logistic": "frozen",
    "p_m_f": "source_training",
    "protonet": "episodic",
    "r2d2": "episodic",
    "read_frozen": "language",
    "read_method": "language",
    "reptile": "meta",
    "ridge": "frozen",
    "shared_bottom": "sharing",
    "shared_heads": "source_training",
    "shrink": "frozen",
    "soft_sharing": "sharing",
    "soup": "finetuning",
    "standard": "finetuning",
    "surgical": "finetuning",
    "svm": "frozen",
    "task_queries": "sharing",
    "text_prior": "frozen",
    "variants": "language",
    "wise_ft": "finetuning",
    "zero_shot": "frozen",
}

__all__ = [
    "RECIPES",
    "WORDS",
    "additive",
    "anil",
    "bitfit",
    "blend",
    "boil",
    "centroid",
    "check_words",
    "contrastive",
    "cross_stitch",
    "deep_relation",
    "film",
    "flyp",
    "fomaml",
    "gating",
    "gaussian",
    "gradual_unfreezing",
    "imaml",
    "independent",
    "l2_sp",
    "layerwise",
    "linear_probe_then_finetune",
    "logistic",
    "lora",
    "mamf",
    "maml",
    "matching",
    "matching_networks",
    "meta_baseline",
    "meta_sgd",
    "metaoptnet",
    "minibatch_prox",
    "mmoe",
    "mtan",
    "multitask",
    "named_logistic",
    "p_m_f",
    "protonet",
    "r2d2",
    "read_frozen",
    "read_method",
    "reptile",
    "ridge",
    "shared_bottom",
    "shared_heads",
    "shrink",
    "soft_sharing",
    "soup",
    "standard",
    "surgical",
    "svm",
    "task_queries",
    "text_prior",
    "variants",
    "wise_ft",
    "zero_shot",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
