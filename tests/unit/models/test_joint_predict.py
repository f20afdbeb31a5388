"""Names of the columns that hold answers."""

from __future__ import annotations

from fewtune.models.joint.predict import Answer, JointAnswers, answer_columns


def found(*names: str) -> JointAnswers:
    return JointAnswers(["row"], {name: [Answer(name, probability=0.5)] for name in names}, {})


def test_an_answer_is_named_after_its_label_column() -> None:
    assert answer_columns(found("rating")) == {"rating": ["rating"], "rating probability": [0.5]}
    assert list(answer_columns(found("rating"), ["rating"])) == ["rating_predicted", "rating_predicted probability"]


def test_no_answer_takes_the_place_of_another() -> None:
    """Of label columns rating_predicted and rating, with a column rating in the table, both would be rating_predicted."""
    for order in (("rating_predicted", "rating"), ("rating", "rating_predicted")):
        columns = answer_columns(found(*order), ["rating"])
        assert sorted(value[0] for name, value in columns.items() if "probability" not in name) == ["rating", "rating_predicted"]
        assert len(columns) == 4


def test_a_table_that_holds_answers_already_keeps_them() -> None:
    """Of `price`, `price_predicted` and what stands beside it, each is the table's; a second answer has a number."""
    taken = ["price", "price_predicted", "price_predicted probability"]
    assert list(answer_columns(found("price"), taken)) == ["price_predicted 2", "price_predicted 2 probability"]
    assert "price_predicted 3" in answer_columns(found("price"), ["price", "price_predicted 2", "price_predicted probability"])
    assert "price_predicted 2" in answer_columns(found("price_predicted"), taken)
    lost = JointAnswers(["row"], {"a": [Answer(None)]}, {0: "unreadable"})
    assert list(answer_columns(lost, ["problem"])) == ["a", "problem_predicted"]
