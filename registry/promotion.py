"""Which version is champion, how it became so, and how to go back: an append-only log around one alias.

A promotion appends an intent (who, when, why), sets the alias, reads it back, and appends the outcome. Cut off anywhere
it can be repeated, and the log still tells what is served and why.
"""

import getpass
import json
import os
import tempfile
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from registry.bundle.promotion_note import PromotionKind, PromotionNote
from registry.gates import GateReport, judge_bundle
from registry.policy import Policy, load_policy
from registry.store import CANDIDATE, CHAMPION, GATES_TAG, ModelStore
from spect.errors import ConfigurationError, GateError, RegistryError

_PREFIX = "promotion/"
_INTENT, _OUTCOME = "intent", "outcome"
_MOVED_BY_HAND = "the alias was moved in MLflow by hand"
MAX_REASON = 500  # characters; it is a line in a table and a header of the service


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One promotion or rollback as it was intended, and whether it was carried through."""

    action: Literal["promote", "rollback"]
    version: str
    previous: str | None
    promotion: PromotionKind
    reason: str
    who: str
    when: str  # ISO 8601, UTC
    outcome: Literal["done", "failed"] | None = None  # None: cut off before the outcome was written


_INTENTS = TypeAdapter(LogEntry)


def read_promotions(store: ModelStore) -> list[LogEntry]:
    """Return the log, oldest first."""
    tags = store.read_log(_PREFIX)
    entries = []
    for key, value in tags.items():
        stem, _, part = key.rpartition("/")
        if part == _INTENT:
            outcome = _parse_outcome(tags.get(f"{stem}/{_OUTCOME}"))
            entries.append(replace(_parse_intent(store, key, value), outcome=outcome))
    return entries


def _parse_intent(store: ModelStore, tag: str, value: str) -> LogEntry:
    try:
        return _INTENTS.validate_json(value)
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
        raise RegistryError(
            f"tag {tag} of model {store.name} is no promotion ({what}); delete that tag in MLflow"
        ) from None


def _parse_outcome(value: str | None) -> Literal["done", "failed"] | None:
    if value is None:
        return None
    return "done" if value == "done" else "failed"


def describe_alias(store: ModelStore, alias: str) -> PromotionNote | None:
    """Return the version an alias points to and how it got there; None where the alias is not set."""
    version = store.alias_version(alias)
    if version is None:
        return None
    if alias == CANDIDATE:
        return PromotionNote(version=version, promotion="none", reason="followed as candidate, without a promotion")
    latest = next(reversed(_effective(read_promotions(store), version)), None)
    if latest is None or latest.version != version:
        return PromotionNote(version=version, promotion="outside", reason=_MOVED_BY_HAND)
    return PromotionNote(
        version=version, promotion=latest.promotion, reason=latest.reason, who=latest.who, when=latest.when
    )


def _effective(entries: list[LogEntry], champion: str | None) -> list[LogEntry]:
    """Entries that took effect: those carried through, and those cut off after they had set the alias."""
    found_next = [*(entry.previous for entry in entries[1:]), champion]
    return [
        entry
        for entry, found in zip(entries, found_next, strict=False)
        if entry.outcome == "done" or (entry.outcome is None and entry.version in {found, champion})
    ]


def find_previous(store: ModelStore) -> LogEntry | None:
    """Return the promotion a rollback returns to; None where the log holds no earlier champion.

    A promotion puts a version on top of those before it, a rollback takes the top off again. What a promotion found as
    champion and the log does not know was set by hand, and is returned to as well. Where the alias was moved by hand
    since, the log's top itself is the previous champion.
    """
    champion = store.alias_version(CHAMPION)
    stack: list[LogEntry] = []
    for entry in _effective(read_promotions(store), champion):
        if entry.action == "rollback":
            while stack and stack[-1].version != entry.version:
                stack.pop()
            continue
        top = stack[-1].version if stack else None
        if entry.previous not in {None, top, entry.version}:
            stack.append(_set_by_hand(entry))
        if stack and stack[-1].version == entry.version:
            stack[-1] = entry
        else:
            stack.append(entry)
    if stack and stack[-1].version == champion:
        stack.pop()
    return stack[-1] if stack else None


def _set_by_hand(entry: LogEntry) -> LogEntry:
    """Return the champion that a promotion found, as an entry of its own."""
    return replace(
        entry, version=str(entry.previous), previous=None, promotion="outside", reason=_MOVED_BY_HAND, who="unknown"
    )


def judge_version(store: ModelStore, version: str, *, policy: Policy | None = None) -> GateReport:
    """Run the gates on a version's own bundle, and against the champion; nothing is changed."""
    champion = store.alias_version(CHAMPION)
    with tempfile.TemporaryDirectory(prefix="synspect-gates-") as directory:
        bundle = store.download(version, Path(directory) / "version")
        other = store.download(champion, Path(directory) / "champion") if champion not in {None, version} else None
        return judge_bundle(policy or load_policy(), bundle, champion=other)


def promote(
    store: ModelStore, version: str, *, report: GateReport, override: str | None = None, who: str | None = None
) -> PromotionNote:
    """Make a version champion by its gates, or against them with a reason that stays visible.

    Raises
    ------
    GateError
        If a gate failed and no override was given.
    ConfigurationError
        If the override gives no reason.
    RegistryError
        If MLflow fails, or another promotion set the alias at the same time.
    """
    if override is not None:
        override = _check_reason(override)
    store.find_version(version)
    store.tag_version(version, GATES_TAG, report.in_words())
    if not report.passed and override is None:
        raise GateError(
            f"version {version} stays where it is: {report.in_words()}; --override REASON promotes it anyway"
        )
    return _move_champion(
        store,
        LogEntry(
            action="promote",
            version=version,
            previous=store.alias_version(CHAMPION),
            promotion="gates" if report.passed else "override",
            reason="" if report.passed else str(override),
            who=who or _current_user(),
            when=_now(),
        ),
    )


def rollback(store: ModelStore, *, who: str | None = None) -> PromotionNote:
    """Return to the previous champion, with the reason it was promoted for; raise `RegistryError` if there is none."""
    target = find_previous(store)
    if target is None:
        raise RegistryError(f"model {store.name} has no earlier champion to return to; promote a version instead")
    store.find_version(target.version)
    return _move_champion(
        store,
        LogEntry(
            action="rollback",
            version=target.version,
            previous=store.alias_version(CHAMPION),
            promotion=target.promotion,
            reason=target.reason,
            who=who or _current_user(),
            when=_now(),
        ),
    )


def _move_champion(store: ModelStore, entry: LogEntry) -> PromotionNote:
    # In order of time, and never the same for two who promote at once. MLflow allows no plus sign in a key.
    stem = f"{_PREFIX}{entry.when.replace('+00:00', 'Z')}-{uuid.uuid4().hex[:6]}"
    intent = {name: value for name, value in asdict(entry).items() if name != "outcome"}
    store.append_log(f"{stem}/{_INTENT}", json.dumps(intent))
    store.set_alias(CHAMPION, entry.version)
    found = store.alias_version(CHAMPION)
    store.append_log(f"{stem}/{_OUTCOME}", "done" if found == entry.version else f"failed: alias reads {found}")
    if found != entry.version:
        raise RegistryError(
            f"champion reads version {found} after it was set to {entry.version}: another promotion ran at the same "
            "time; look at `synspect registry list` and repeat"
        )
    return PromotionNote(
        version=entry.version, promotion=entry.promotion, reason=entry.reason, who=entry.who, when=entry.when
    )


def _check_reason(reason: str) -> str:
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= MAX_REASON:
        raise ConfigurationError(f"an override needs a reason of 1 to {MAX_REASON} characters, got {len(reason)}")
    return reason


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return f"uid {os.getuid()}"


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")
