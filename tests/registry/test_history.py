"""The log tells who is champion, how, who was before and from when to when, whatever order it was written in."""

import json
from typing import Any

import pytest

from registry.history import History, Reign, parse_history
from spect.errors import RegistryError


class Log:
    """Tags as promotions write them, one intent and one outcome after the other."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.number = 0

    def intend(self, version: str, previous: str | None, **fields: Any) -> str:
        self.number = fields.pop("number", self.number + 1)
        hour = fields.pop("hour", len(self.tags))
        stem = f"promotion/{len(self.tags):03d}"
        entry = {
            "action": "promote",
            "version": version,
            "previous": previous,
            "promotion": "gates",
            "reason": "",
            "who": "ada",
            "when": f"2026-01-01T{hour:02d}:00:00+00:00",
            "number": self.number,
            **fields,
        }
        self.tags[f"{stem}/intent"] = json.dumps(entry)
        return stem

    def settle(self, stem: str, result: str = "done", number: int | None = None) -> None:
        self.number = number or self.number + 1
        self.tags[f"{stem}/outcome"] = json.dumps({"result": result, "detail": "", "number": self.number})

    def promote(self, version: str, previous: str | None, **fields: Any) -> None:
        self.settle(self.intend(version, previous, **fields))

    def read(self, champion: str | None) -> History:
        return parse_history("synspect", champion, self.tags)


def _how(history: History) -> tuple[str, str]:
    note = history.describe_champion()
    assert note is not None
    return note.version, note.promotion


def test_a_log_without_a_word_knows_no_champion() -> None:
    history = Log().read(None)

    assert (history.describe_champion(), history.find_previous(), history.reigns()) == (None, None, ())
    assert history.next_number == 1


def test_a_champion_without_a_log_was_set_by_hand() -> None:
    history = Log().read("4")

    assert _how(history) == ("4", "outside")
    assert history.reigns() == (Reign(version="4", promotion="outside", since=None),)


def test_a_clock_that_is_behind_does_not_reorder_the_log() -> None:
    log = Log()
    log.promote("1", None, hour=12)
    log.promote("2", "1", hour=3, who="bob, whose clock is nine hours behind")

    history = log.read("2")

    assert _how(history) == ("2", "gates")
    assert [entry.version for entry in history.entries] == ["1", "2"]
    previous = history.find_previous()
    assert previous is not None
    assert previous.version == "1"


@pytest.mark.parametrize("champion", ["2", "3"])
def test_of_two_that_settled_at_the_same_moment_the_champion_was_later(champion: str) -> None:
    log = Log()
    log.promote("1", None)
    two, three = log.intend("2", "1", number=3), log.intend("3", "1", number=3)
    log.settle(two, number=4)
    log.settle(three, number=4)

    history = log.read(champion)

    assert _how(history) == (champion, "gates")
    assert [reign.version for reign in history.reigns()] == ["1", "3" if champion == "2" else "2", champion]


def test_the_one_who_began_first_and_set_last_is_champion_by_the_gates() -> None:
    log = Log()
    log.promote("1", None)
    slow = log.intend("2", "1")
    log.promote("3", "1", number=3)  # began before the slow one had settled, and found the same champion
    log.settle(slow)

    history = log.read("2")

    assert _how(history) == ("2", "gates")
    assert [(reign.version, reign.promotion) for reign in history.reigns()] == [
        ("1", "gates"),
        ("3", "gates"),
        ("2", "gates"),
    ]


def test_a_promotion_cut_off_before_the_alias_moved_nothing() -> None:
    log = Log()
    log.promote("1", None)
    log.intend("2", "1")

    history = log.read("1")

    assert _how(history) == ("1", "gates")
    cut_off = history.find_cut_off()
    assert cut_off is not None
    assert cut_off.version == "2"
    assert [reign.version for reign in history.reigns()] == ["1"]


def test_a_promotion_cut_off_after_the_alias_took_effect_and_is_repeated_as_one() -> None:
    log = Log()
    log.promote("1", None)
    log.intend("2", "1", promotion="override", reason="why")
    assert _how(log.read("2")) == ("2", "override")
    log.promote("2", "2", promotion="override", reason="why")

    history = log.read("2")

    assert [reign.version for reign in history.reigns()] == ["1", "2"]
    previous = history.find_previous()
    assert previous is not None
    assert previous.version == "1"


def test_a_promotion_cut_off_after_the_alias_keeps_its_reason_where_another_gives_way_to_it() -> None:
    log = Log()
    log.promote("1", None)
    log.intend("2", "1", promotion="override", reason="why")
    log.settle(log.intend("3", "1", number=3), "failed")

    history = log.read("2")

    assert _how(history) == ("2", "override")
    assert [(reign.version, reign.promotion) for reign in history.reigns()] == [("1", "gates"), ("2", "override")]
    cut_off = history.find_cut_off()
    assert cut_off is not None
    assert cut_off.version == "2"
    assert [entry.version for entry in log.read("1").effective] == ["1"]


def test_a_promotion_cut_off_after_the_alias_is_proved_by_one_that_found_it_and_gave_up() -> None:
    log = Log()
    log.promote("1", None)
    log.intend("2", "1", promotion="override", reason="why")
    log.settle(log.intend("3", "2"), "failed")

    history = log.read("4")

    assert [(reign.version, reign.promotion) for reign in history.reigns()] == [
        ("1", "gates"),
        ("2", "override"),
        ("4", "outside"),
    ]


def test_reigns_tell_when_each_version_served_and_what_ended_it() -> None:
    log = Log()
    log.promote("1", None, hour=1)
    log.promote("2", "1", hour=2, promotion="override", reason="why")
    log.promote("1", "2", hour=3, action="rollback", who="bob")

    assert log.read("1").reigns() == (
        Reign(
            version="1",
            promotion="gates",
            since="2026-01-01T01:00:00+00:00",
            until="2026-01-01T02:00:00+00:00",
            ended="promote of version 2 by ada",
        ),
        Reign(
            version="2",
            promotion="override",
            since="2026-01-01T02:00:00+00:00",
            until="2026-01-01T03:00:00+00:00",
            ended="rollback of version 1 by bob",
        ),
        Reign(version="1", promotion="gates", since="2026-01-01T03:00:00+00:00"),
    )


def test_reigns_say_where_the_alias_was_moved_by_hand() -> None:
    log = Log()
    log.promote("1", None, hour=1)
    log.promote("3", "2", hour=2)

    first, by_hand, third, now = log.read("4").reigns()

    assert (first.version, first.until, first.ended) == ("1", None, "the alias was moved in MLflow by hand")
    assert (by_hand.version, by_hand.promotion, by_hand.since) == ("2", "outside", None)
    assert by_hand.until == third.since == "2026-01-01T02:00:00+00:00"
    assert (now.version, now.promotion, now.since, now.until, now.ended) == ("4", "outside", None, None, "")


def test_a_version_set_by_hand_and_promoted_afterwards_has_served_both_ways() -> None:
    log = Log()
    log.promote("1", None, hour=1)
    log.promote("2", "2", hour=2)

    assert log.read("2").reigns() == (
        Reign(
            version="1",
            promotion="gates",
            since="2026-01-01T01:00:00+00:00",
            ended="the alias was moved in MLflow by hand",
        ),
        Reign(
            version="2",
            promotion="outside",
            since=None,
            until="2026-01-01T02:00:00+00:00",
            ended="promote of version 2 by ada",
        ),
        Reign(version="2", promotion="gates", since="2026-01-01T02:00:00+00:00"),
    )


def test_a_first_champion_set_by_hand_and_promoted_afterwards_has_served_both_ways() -> None:
    log = Log()
    log.promote("1", "1", promotion="override", reason="why")

    assert [(reign.version, reign.promotion) for reign in log.read("1").reigns()] == [
        ("1", "outside"),
        ("1", "override"),
    ]


def test_a_champion_by_override_that_passes_its_gates_later_has_served_both_ways() -> None:
    log = Log()
    log.promote("1", None, promotion="override", reason="why")
    log.promote("1", "1")
    log.promote("1", "1")

    assert [reign.promotion for reign in log.read("1").reigns()] == ["override", "gates"]


def test_two_who_promote_one_version_at_once_set_nothing_by_hand() -> None:
    log = Log()
    log.promote("1", None)
    first = log.intend("2", "1")
    log.promote("2", "2")  # found what the first had set, and settled before it
    log.settle(first)

    assert [(reign.version, reign.promotion) for reign in log.read("2").reigns()] == [("1", "gates"), ("2", "gates")]


def test_an_alias_that_was_deleted_ends_the_reign() -> None:
    log = Log()
    log.promote("1", None)

    history = log.read(None)

    assert history.describe_champion() is None
    assert [reign.ended for reign in history.reigns()] == ["the alias was moved in MLflow by hand"]
    previous = history.find_previous()
    assert previous is not None
    assert previous.version == "1"


def test_a_version_set_by_hand_is_no_earlier_champion_where_the_policy_refuses_it() -> None:
    log = Log()
    log.promote("1", None)
    log.promote("3", "2")
    history = log.read("3")

    by_hand, admitted = history.find_previous(), history.find_previous(admit_outside=False)

    assert by_hand is not None
    assert admitted is not None
    assert (by_hand.version, admitted.version) == ("2", "1")


def test_a_failed_promotion_never_was_champion() -> None:
    log = Log()
    log.promote("1", None)
    log.settle(log.intend("2", "1"), "failed")

    assert [reign.version for reign in log.read("1").reigns()] == ["1"]
    assert _how(log.read("2")) == ("2", "outside")


@pytest.mark.parametrize(("text", "result"), [("done", "done"), ("failed: alias reads 3", "failed"), ("?", "failed")])
def test_an_outcome_in_words_is_read(text: str, result: str) -> None:
    log = Log()
    stem = log.intend("1", None)
    log.tags[f"{stem}/outcome"] = text

    (entry,) = log.read("1").entries
    assert entry.outcome is not None
    assert entry.outcome.result == result


@pytest.mark.parametrize("value", ["not json", "[]", "{}", '{"action": "promote", "version": 3}'])
def test_a_tag_that_is_no_promotion_is_named(value: str) -> None:
    with pytest.raises(RegistryError, match="tag promotion/1/intent of model synspect is no promotion") as caught:
        parse_history("synspect", None, {"promotion/1/intent": value, "other": "tag"})
    assert "\n" not in str(caught.value)
