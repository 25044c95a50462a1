"""What the promotion log says: who is champion and how, who was before, and from when to when; pure, no registry.

A promotion writes an intent, sets the alias, reads it back, and writes the outcome. Clocks of several machines differ,
so entries are ordered by numbers: each intent and each outcome takes one above the highest it found in the log.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from registry.bundle.promotion_note import PromotionKind, PromotionNote
from spect.errors import RegistryError
from spect.faults import describe_fault

LOG_PREFIX = "promotion/"
INTENT, OUTCOME = "intent", "outcome"
MOVED_BY_HAND = "the alias was moved in MLflow by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a promotion ended."""

    result: Literal["done", "failed"]
    detail: str = ""  # why it failed
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One promotion or rollback as it was intended, and whether it was carried through."""

    action: Literal["promote", "rollback"]
    version: str
    previous: str | None  # the champion it found
    promotion: PromotionKind
    reason: str
    who: str
    when: str  # ISO 8601, UTC
    gates: str = ""  # their verdict in words, as they were judged for this promotion
    number: int = 0
    key: str = ""  # of its tags, without the last part
    outcome: Outcome | None = None  # None: cut off before the outcome was written

    @property
    def settled(self) -> int:
        """Its place in the log: the outcome's, for that was written right after the alias was read back."""
        return self.outcome.number if self.outcome else self.number

    @property
    def is_done(self) -> bool:
        """Whether it was carried through."""
        return self.outcome is not None and self.outcome.result == "done"

    @property
    def has_failed(self) -> bool:
        """Whether it gave up, having moved nothing, or having given back what it had moved."""
        return self.outcome is not None and self.outcome.result == "failed"

    def to_note(self) -> PromotionNote:
        """Return what a served bundle is told of its promotion."""
        return PromotionNote(
            version=self.version, promotion=self.promotion, reason=self.reason, who=self.who, when=self.when
        )

    def intent_json(self) -> str:
        """Return the intent as its tag holds it."""
        return json.dumps({name: value for name, value in asdict(self).items() if name not in {"key", "outcome"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """One time a version was champion; MLflow does not record when an alias was moved by hand."""

    version: str
    promotion: PromotionKind
    since: str | None  # ISO 8601, UTC; None: unknown, moved by hand
    until: str | None = None  # None: still champion, or unknown where `ended` says how it ended
    ended: str = ""  # "", or what ended it


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The alias and the log as they were at one moment."""

    champion: str | None
    entries: tuple[LogEntry, ...]

    @property
    def next_number(self) -> int:
        """The number of whatever is written next."""
        return 1 + max((max(entry.number, entry.settled) for entry in self.entries), default=0)

    @property
    def effective(self) -> tuple[LogEntry, ...]:
        """Entries that took effect: those carried through, and those cut off after they had set the alias."""
        return tuple(
            entry
            for place, entry in enumerate(self.entries)
            if entry.is_done or (entry.outcome is None and self._was_set(entry, after=self.entries[place + 1 :]))
        )

    def describe_champion(self) -> PromotionNote | None:
        """Return the champion and how it became one; None where there is none."""
        if self.champion is None:
            return None
        latest = next(reversed(self.effective), None)
        if latest is None or latest.version != self.champion:
            return PromotionNote(version=self.champion, promotion="outside", reason=MOVED_BY_HAND)
        return latest.to_note()

    def find_last(self, version: str) -> LogEntry | None:
        """Return how a version last became champion, if it ever did by the log."""
        return next((entry for entry in reversed(self.effective) if entry.version == version), None)

    def find_cut_off(self) -> LogEntry | None:
        """Return the newest entry, but for those that gave up, if it has no outcome: cut off, or on its way."""
        latest = next((entry for entry in reversed(self.entries) if not entry.has_failed), None)
        return latest if latest is not None and latest.outcome is None else None

    def find_previous(self, *, admit_outside: bool = True, among: Collection[str] | None = None) -> LogEntry | None:
        """Return the promotion a rollback returns to; None where the log holds no earlier champion.

        A promotion puts a version on top of those before it, a rollback takes the top off again. What a promotion
        found as champion and the log does not know was set by hand, and is returned to as well unless the policy
        refuses it. Where the alias was moved by hand since, the log's top itself is the previous champion. `among` are
        the versions that are still there: those that were deleted are passed over.
        """
        stack: list[LogEntry] = []
        for before, entry in _pairs(self.effective):
            if entry.action == "rollback":
                while stack and stack[-1].version != entry.version:
                    stack.pop()
                continue
            if _was_moved_by_hand(before, entry, top=stack[-1].version if stack else None):
                stack.append(_set_by_hand(entry))
            if stack and stack[-1].version == entry.version:
                stack[-1] = entry
            else:
                stack.append(entry)
        if stack and stack[-1].version == self.champion:
            stack.pop()
        return next(
            (
                entry
                for entry in reversed(stack)
                if (admit_outside or entry.promotion != "outside") and (among is None or entry.version in among)
            ),
            None,
        )

    def reigns(self) -> tuple[Reign, ...]:
        """Return who was champion and from when to when, oldest first."""
        reigns: list[Reign] = []
        for before, entry in _pairs(self.effective):
            top = reigns[-1].version if reigns else None
            if _was_moved_by_hand(before, entry, top=top) or self._was_set_by_hand_before(entry, top=top):
                _end_by_hand(reigns)
                reigns.append(Reign(version=str(entry.previous), promotion="outside", since=None))
            if reigns and (reigns[-1].version, reigns[-1].promotion) == (entry.version, entry.promotion):
                continue  # promoted once more, and by the same right
            if reigns:
                ended = f"{entry.action} of version {entry.version} by {entry.who}"
                reigns[-1] = replace(reigns[-1], until=entry.when, ended=ended)
            reigns.append(Reign(version=entry.version, promotion=entry.promotion, since=entry.when))
        if reigns and reigns[-1].version != self.champion:
            _end_by_hand(reigns)
        if self.champion is not None and (not reigns or reigns[-1].version != self.champion):
            reigns.append(Reign(version=self.champion, promotion="outside", since=None))
        return tuple(reigns)

    def _was_set(self, entry: LogEntry, *, after: Sequence[LogEntry]) -> bool:
        """Whether an entry without an outcome had set the alias before it was cut off.

        No outcome says so, but what was found afterwards does: by the entry after it, or by us where there is none.
        An entry that gave up proves nothing by finding another version: it may have looked before the alias was set,
        and have given up for that very reason; its outcome's number still puts it behind the one it gave way to. That
        it found this version does prove that the alias was set.
        """
        for other in after:
            if other.previous == entry.version:
                return True
            if not other.has_failed:
                return False
        return self.champion == entry.version

    def _was_set_by_hand_before(self, entry: LogEntry, *, top: str | None) -> bool:
        """Whether a promotion found its own version as champion already, and no other promotion had put it there."""
        return entry.previous == entry.version != top and not any(
            other.version == entry.version and other.number < entry.number <= other.settled for other in self.entries
        )


def parse_history(name: str, champion: str | None, tags: Mapping[str, str]) -> History:
    """Read the log of model `name` out of its tags; raise `RegistryError` naming a tag that is no promotion."""
    entries = []
    for key, value in tags.items():
        stem, _, part = key.rpartition("/")
        if key.startswith(LOG_PREFIX) and part == INTENT:
            outcome = _parse_outcome(tags.get(f"{stem}/{OUTCOME}"))
            entries.append(replace(_parse_intent(name, key, value), key=stem, outcome=outcome))
    # Of two that settled at the same moment the champion's was the later one.
    entries.sort(key=lambda entry: (entry.settled, entry.version == champion, entry.when))
    return History(champion=champion, entries=tuple(entries))


_INTENTS = TypeAdapter(LogEntry)
_OUTCOMES = TypeAdapter(Outcome)


def _parse_intent(name: str, tag: str, value: str) -> LogEntry:
    try:
        return _INTENTS.validate_json(value)
    except ValidationError as error:
        what = describe_fault(error)
        raise RegistryError(f"tag {tag} of model {name} is no promotion: {what}; delete that tag in MLflow") from None


def _parse_outcome(value: str | None) -> Outcome | None:
    if value is None:
        return None
    try:
        return _OUTCOMES.validate_json(value)
    except ValidationError:  # written before outcomes were JSON, or changed by hand
        result, _, detail = value.partition(": ")
        return Outcome(result="done" if result == "done" else "failed", detail=detail)


def _pairs(entries: Sequence[LogEntry]) -> Iterator[tuple[LogEntry | None, LogEntry]]:
    return zip((None, *entries), entries, strict=False)


def _was_moved_by_hand(before: LogEntry | None, entry: LogEntry, *, top: str | None) -> bool:
    """Whether an entry found a champion that the log did not put there, since the entry before it had settled."""
    if before is not None and before.settled and entry.number <= before.settled:
        return False  # both were on their way at once: what this one found was the champion before them
    return entry.previous not in {None, top, entry.version}


def _set_by_hand(entry: LogEntry) -> LogEntry:
    """Return the champion that a promotion found, as an entry of its own."""
    return replace(
        entry,
        version=str(entry.previous),
        previous=None,
        promotion="outside",
        reason=MOVED_BY_HAND,
        who="unknown",
        gates="",
    )


def _end_by_hand(reigns: list[Reign]) -> None:
    if reigns:
        reigns[-1] = replace(reigns[-1], ended=MOVED_BY_HAND)
