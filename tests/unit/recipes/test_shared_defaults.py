"""Recipes take their shared settings by keyword, and show them in their signatures."""

from __future__ import annotations

import inspect
from typing import TypedDict, Unpack

import pytest

from fewtune import recipes
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.parts.rates import Cosine
from fewtune.recipes.shared_defaults import defaults
from fewtune.spec import digest

# every option of some recipes, in order: a text gives options by place too, as in "multitask(15, 5)"
OPTIONS = {
    "multitask": "ways shots queries steps batch lr optimizer head selection again last constraint most multiplier_lr",
    "r2d2": "ways shots queries steps batch lr optimizer penalty",
    "shared_heads": "ways queries steps batch lr optimizer head",
    "mamf": "ways rows epochs batch steps lr optimizer prompts head test_steps test_lr",
    "meta_baseline": "batch probe_steps ways shots queries steps lr optimizer",
    "p_m_f": "ways shots queries steps lr test_steps test_lr optimizer view",
    "flyp": "batch steps lr prompts optimizer on",
    "standard": "on steps batch lr optimizer head last prompts test_steps test_lr",
    "contrastive": "on steps batch lr optimizer head last temperature head_lr view",
    "l2_sp": "strength on steps batch lr optimizer head last prompts",
    "linear_probe_then_finetune": "on probe_steps probe_lr steps batch lr optimizer head last",
    "surgical": "group on steps batch lr optimizer head",
    "lora": "on rank alpha steps batch lr optimizer head",
    "maml": "ways shots queries inner_steps inner_lr test_steps steps batch lr optimizer through inner head_lr prompts tasks "
    "inner_optimizer",
    "anil": "ways shots queries inner_steps inner_lr test_steps steps batch lr optimizer through",
    "meta_sgd": "ways shots queries inner_steps inner_lr per steps batch lr optimizer",
    "reptile": "ways shots inner_steps inner_batch inner_lr test_steps steps batch lr strength",
    "minibatch_prox": "ways shots strength inner_steps inner_batch inner_lr test_steps steps batch lr",
    "imaml": "ways shots queries strength inner_steps inner_lr solver_steps damping inner steps batch lr optimizer",
    "shared_bottom": "steps batch lr optimizer width depth aggregator moves last backbone_lr tower",
    "mmoe": "steps batch lr optimizer width depth aggregator moves last backbone_lr experts tower dropout",
    "cross_stitch": "steps batch lr optimizer width depth aggregator moves last backbone_lr keep stitch_lr",
}


# what the text of each recipe hashes to
TEXTS = {
    "centroid": "ad08174a51bd",
    "matching": "fb955007c7b2",
    "ridge": "f864d189ba7f",
    "logistic": "2c8986c1eeec",
    "svm": "986cfa149e31",
    "gaussian": "2c4952502f65",
    "blend": "a286755d1485",
    "named_logistic": "19c18e3fd418",
    "zero_shot": "f1745f6c36b5",
    "text_prior": "14817d8d1d19",
    "shrink": "14babefbf37e",
    "standard": "097342d084b0",
    "contrastive": "b5dd94d88658",
    "linear_probe_then_finetune": "26dc133e12aa",
    "surgical": "af3a7bceabed",
    "gradual_unfreezing": "1f6f0fb00110",
    "layerwise": "6a0935f35c63",
    "bitfit": "725bcbde702a",
    "lora": "61690d0309b7",
    "l2_sp": "0ba0a8b878e0",
    "wise_ft": "4047552ca58c",
    "soup": "a7ccf01440dd",
    "multitask": "269e3cc323f0",
    "protonet": "c6249dd07845",
    "matching_networks": "3420cfa6b0b1",
    "r2d2": "86ff40740fc6",
    "metaoptnet": "b33b83e27689",
    "shared_heads": "b0fd5b641b0d",
    "mamf": "94b69e41b7ff",
    "meta_baseline": "383208494ebb",
    "p_m_f": "bff9fa326fe5",
    "flyp": "bf3987315b80",
    "maml": "741391e5c906",
    "fomaml": "84f89212cf20",
    "anil": "5330f124f404",
    "boil": "837c430887a3",
    "meta_sgd": "86700a6dc836",
    "reptile": "1b5d64e12a9b",
    "minibatch_prox": "bb62a70d4252",
    "imaml": "759a37c61561",
    "independent": "4b6f209efa2e",
    "shared_bottom": "58ee379dd090",
    "additive": "988afd9eff7a",
    "film": "0c3ca69ee69a",
    "gating": "dd8f2456a1e1",
    "cross_stitch": "b2409ecbaec0",
    "mtan": "bd8dfd340096",
    "mmoe": "2253255f22ae",
    "deep_relation": "a7d39da22598",
    "task_queries": "f6d43077c0b5",
    "soft_sharing": "6ba1ead7a50a",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_come_in_this_order(name: str) -> None:
    parameters = inspect.signature(getattr(recipes, name)).parameters
    assert list(parameters) == OPTIONS[name].split()
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_a_keyword_call_and_its_text_are_one_method() -> None:
    called = recipes.multitask(ways=7, steps=6, lr=Cosine(lr=1e-3), head=recipes.ridge(penalty=10.0))
    assert called == recipes.read_method("multitask(ways=7, steps=6, lr=Cosine(lr=0.001), head=ridge(penalty=10))")
    assert recipes.multitask(15, 5, 9, 6) == recipes.multitask(shots=5, steps=6)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_of_a_recipe_stays_as_it_is(name: str) -> None:
    """Saved models and results are filed under the text of their method, with every default."""
    spelled = f"{name}('blocks.0')" if name == "surgical" else name
    assert digest(recipes.read_method(spelled))[:12] == TEXTS[name]


def test_what_a_recipe_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepz'"):
        recipes.multitask(stepz=6)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="reptile has no option 'queries': it takes ways, shots, inner_steps"):
        recipes.read_method("reptile(queries=3)")


def test_every_setting_of_a_group_has_one_default() -> None:
    class Group(TypedDict, total=False):
        penalty: float
        scale: float

    def mine(**settings: Unpack[Group]) -> Method:
        return recipes.ridge(penalty=settings["penalty"])

    mine.__globals__.setdefault("Group", Group)
    with pytest.raises(AssertionError, match="one default"):
        defaults(penalty=1.0)(mine)
    assert defaults(penalty=1.0, scale=2.0)(mine)() == recipes.ridge(penalty=1.0)
