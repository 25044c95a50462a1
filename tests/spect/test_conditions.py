import pickle

import pytest

from spect.conditions import CONDITIONS, Condition, Level, Pattern, parse_condition, parse_level, parse_pattern
from spect.errors import ConditionError


def test_there_are_eight_conditions_in_a_fixed_order() -> None:
    assert [str(condition) for condition in CONDITIONS] == [
        "CER/normal",
        "CER/unilateral",
        "BG/normal",
        "BG/unilateral",
        "BG/bilateral",
        "COR/normal",
        "COR/unilateral",
        "COR/bilateral",
    ]


def test_the_index_of_a_condition_is_its_place() -> None:
    assert [condition.index for condition in CONDITIONS] == list(range(8))
    assert pickle.loads(pickle.dumps(CONDITIONS[3])).index == 3  # noqa: S301 — what a worker process receives


def test_no_condition_has_a_bilateral_cerebellum() -> None:
    with pytest.raises(ConditionError, match=r"CER x bilateral has no data.*COR/bilateral"):
        Condition(Level.CEREBELLUM, Pattern.BILATERAL)
    with pytest.raises(ConditionError, match="CER x bilateral has no data"):
        parse_condition("CER", "bilateral")


def test_words_become_a_condition() -> None:
    assert parse_condition("COR", "unilateral") == Condition(Level.CORTEX, Pattern.UNILATERAL)


@pytest.mark.parametrize("level", ["cor", "", "CEREBELLUM", "COR "])
def test_an_unknown_level_is_answered_with_the_choices(level: str) -> None:
    with pytest.raises(ConditionError, match=r"unknown level .*CER, BG, COR"):
        parse_level(level)


@pytest.mark.parametrize("pattern", ["Normal", "", "left"])
def test_an_unknown_pattern_is_answered_with_the_choices(pattern: str) -> None:
    with pytest.raises(ConditionError, match=r"unknown pattern .*normal, unilateral, bilateral"):
        parse_pattern(pattern)
