"""Templates: what they refuse, what they fill in, and the ones that come with fewtune."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.examples import make_examples
from fewtune.data.fields import DIVIDER, fields_of, joined, shown
from fewtune.data.items import Texts
from fewtune.data.near.leaks import find_leaks
from fewtune.data.prompts import LabelWords, Template, prompted, read_template, read_words, shipped, shipped_tasks
from fewtune.data.prompts.template import Filled, is_filled, texts_within
from fewtune.data.prompts.words import BETWEEN
from fewtune.errors import InputError


def test_a_template_is_filled_and_says_where_its_parts_are() -> None:
    made = Template("{text} It was [MASK].").filled("Great fun").text("<mask>")
    assert made.text == "Great fun It was <mask>."
    assert made.text[made.mask :].startswith("<mask>") and [made.text[a:b] for a, b in made.fields] == ["Great fun"]


def test_fields_go_where_their_names_are() -> None:
    template = Template("{hypothesis}? [MASK], {premise}", ("premise", "hypothesis"))
    made = template.filled(joined(["It rains.", "It is wet."])).text("[MASK]")
    assert made.text == "It is wet.? [MASK], It rains."
    assert [made.text[a:b] for a, b in made.fields] == ["It is wet.", "It rains."]
    assert (
        template.plain == "{2}? [MASK], {1}" and Template(template.plain, ("a", "b")).filled(joined(["1", "2"])).text("_").text == "2? _, 1"
    )


@pytest.mark.parametrize(
    ("sentence", "names", "said"),
    [
        ("{text} It was great.", (), "found none"),
        ("{text} [MASK] and [MASK].", (), "found 2"),
        ("It was [MASK].", (), "found no {text}"),
        ("{text} or {text}: [MASK]", (), "twice"),
        ("{title} [MASK]", (), "has the field {title}"),
        ("{premise} [MASK]", ("premise", "hypothesis"), "lacks a field: expected {premise} and {hypothesis}"),
        ("{2} [MASK]", (), "lacks a field"),
    ],
)
def test_what_is_no_template_is_refused_in_one_sentence(sentence: str, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as problem:
        Template(sentence, names)
    assert said in str(problem.value) and "\n" not in str(problem.value)


@given(st.text(max_size=40), st.text(max_size=40))
@settings(derandomize=True, max_examples=200)
def test_no_text_can_move_the_mask_or_the_fields(first: str, second: str) -> None:
    template = Template("<{1}> is {2}: [MASK]!")
    made = template.filled(joined([first, second])).text("[MASK]")
    assert made.text[made.mask : made.mask + 6] == "[MASK]" and made.text.endswith("[MASK]!") and made.mask == len(made.text) - 7
    assert len(made.fields) == 2
    assert is_filled(template.filled(joined([first, second])).marked)
    Filled(first).text("_")  # whatever the marks in it


def test_fields_are_one_text() -> None:
    assert fields_of("a" + DIVIDER + "b", 2) == ("a", "b") and fields_of("a", 2) == ("a", "")
    assert joined(["a\x1fb", "c"]) == "a b\x1fc" and joined([" ", ""]) == "" and shown("a\x1fb") == "a | b"


def test_words_are_read_by_class() -> None:
    words = read_words(["very good=great,fine", "bad=terrible"])
    assert words.of("Very_Good") == ("great", "fine") and words.of("other") == ("other",)
    for wrong in (["great"], ["=great"], ["good="], ["a=b", "A=c"]):
        with pytest.raises(InputError):
            read_words(wrong)
    with pytest.raises(InputError, match="names the class 'bad', but the classes are very good, good"):
        words.check(["very good", "good"])


def test_the_tasks_of_the_paper_have_a_template_and_words() -> None:
    assert len(shipped_tasks()) == 15
    for task in shipped_tasks():
        made = shipped(task)
        assert made is not None and len(set(made.words.words.values())) > 1
        assert all(len(word.split()) == 1 for words in made.words.words.values() for word in words)
    sst5 = shipped("SST-5")
    assert sst5 is not None and sst5.words.of("very positive") == ("great",) and sst5.words.of("neutral") == ("okay",)
    trec = shipped("trec6")
    assert trec is not None and trec.template.sentence == "[MASK] : {text}"
    assert shipped("news20") is None
    template, words = read_template("rte", ("premise", "hypothesis"))
    assert template.filled(joined(["A", "B"])).text("_").text == "A ? _ , B" and words.of("not_entailment") == ("No",)
    with pytest.raises(InputError, match="unknown template 'sst3'"):
        read_template("sst3")


def test_copies_are_found_whatever_is_around_the_texts() -> None:
    """The words of a template are in every text, and are no evidence; the text itself is, in another template too."""
    long = "a quiet film about a village by the sea that nobody leaves"
    target = make_examples(Texts([long, "short"]), ["positive", "negative"], name="target")
    asked = Template("{text} In the opinion of most people who have seen it, it was [MASK] indeed.")
    copy = make_examples(Texts(["another story of two brothers in a big city", long, long + "!"]), ["a", "b", "b"], name="copy")
    for first, second in ((target, copy), (prompted(target, asked, LabelWords()), prompted(copy, asked, LabelWords()))):
        assert {leak.row for leak in find_leaks(first, [second])} == {1, 2}
    part = prompted(copy, asked, LabelWords()).take([2, 0])
    assert {leak.row for leak in find_leaks(target, [part])} == {0}


def test_a_collection_brings_its_own_template_and_words() -> None:
    bare = make_examples(Texts(["fine", "awful"]), ["positive", "negative"])
    made = prompted(bare, Template("{text} So [MASK]."), LabelWords({"positive": ("great", "good")}))
    assert made.class_names == ("negative", f"great{BETWEEN}good") and bare.class_names == ("negative", "positive")
    text = str(made.items.fetch(1))
    assert is_filled(text) and Filled(text).text("[MASK]").text == "awful So [MASK]." and texts_within(text) == "awful"
    assert made.digest() != bare.digest() and made.take([1]).items.fetch(0) == text


def test_two_classes_cannot_share_all_their_label_words() -> None:
    for second in ("negative=great", "negative=great,great"):
        with pytest.raises(InputError, match="'positive' and 'negative' the same word, so they cannot be told apart"):
            read_words(["positive=great", second])
    assert read_words(["positive=great,good", "negative=great,bad"]).of("negative") == ("great", "bad")
