"""Move the champion: by the gates, against them with a reason, or back; an append-only log around one alias.

A promotion appends an intent (who, when, why), sets the alias, reads it back, and appends the outcome. Cut off anywhere
it can be repeated, and the log still tells what is served and why.
"""

import getpass
import json
import logging
import os
import tempfile
import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from registry.bundle.promotion_note import PromotionNote
from registry.bundle.served_model import load_servable_bundle
from registry.gates import GateReport
from registry.history import INTENT, LOG_PREFIX, OUTCOME, History, LogEntry, Outcome, parse_history
from registry.policy import Policy, load_policy
from registry.store.facts import CANDIDATE, CHAMPION, GATES_TAG, PROMOTION_TAG
from registry.store.model_store import ModelStore
from spect.errors import (
    AdmissionError,
    BundleError,
    ConfigurationError,
    GateError,
    PermissionDeniedError,
    RegistryError,
    VersionError,
)

log = logging.getLogger(__name__)

MAX_REASON = 500  # characters; it is a line in a table and a header of the service


def read_history(store: ModelStore) -> History:
    """Return the champion and the promotion log, read together."""
    model = store.read_model()
    return parse_history(store.name, model.aliases.get(CHAMPION), model.tags)


def describe_alias(store: ModelStore, alias: str) -> PromotionNote | None:
    """Return the version an alias points to and how it got there; None where the alias is not set."""
    if alias == CHAMPION:
        return read_history(store).describe_champion()
    version = store.alias_version(alias)
    if version is None:
        return None
    return PromotionNote(version=version, promotion="none", reason=f"followed as {CANDIDATE}, without a promotion")


def check_admitted(note: PromotionNote, policy: Policy) -> None:
    """Raise `AdmissionError` for a champion set by hand where the policy demands the gates or a recorded override."""
    if policy.require_gates and note.promotion == "outside":
        raise AdmissionError(
            f"version {note.version} is champion outside the gates ({note.reason}), which the policy refuses "
            f"(require_gates: true); run `synspect registry promote {note.version}`, or `synspect registry rollback`"
        )


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
        If MLflow fails, or somebody else moved the champion meanwhile; the promotion can be repeated.
    """
    if override is not None:
        override = check_reason(override)
    facts = store.find_version(version)
    store.tag_version(version, GATES_TAG, report.in_words())
    if facts.logged_model_id is not None:
        store.log_files(version, _gate_files(report))
    if not report.passed and override is None:
        raise GateError(
            f"version {version} stays where it is: {report.in_words()}; --override REASON promotes it anyway"
        )
    history = read_history(store)
    _check_compared(report, history)
    return _move_champion(
        store,
        history,
        LogEntry(
            action="promote",
            version=version,
            previous=history.champion,
            promotion="gates" if report.passed else "override",
            reason="" if report.passed else str(override),
            who=who or _current_user(store),
            when=_now(),
            gates=report.in_words(),
        ),
    )


def _check_compared(report: GateReport, history: History) -> None:
    if report.version is not None and report.champion != history.champion:
        raise RegistryError(
            f"champion is version {history.champion or 'none'} now, the gates compared with "
            f"{report.champion or 'none'}: somebody moved it meanwhile; repeat the promotion"
        )


def _gate_files(report: GateReport) -> dict[str, bytes]:
    """Return the table as it is kept beside the bundle, under a name that no other judgement has."""
    stem = f"gates/{_now()[:19].replace(':', '')}Z-{uuid.uuid4().hex[:4]}"
    return {
        f"{stem}.json": json.dumps(report.to_dict(), indent=1).encode(),
        f"{stem}.md": report.to_markdown().encode(),
    }


def rollback(store: ModelStore, *, who: str | None = None, policy: Policy | None = None) -> PromotionNote:
    """Return to the previous champion, with the reason it was promoted for.

    A rollback that was cut off after it had moved the alias is completed, not repeated. Versions that were deleted are
    passed over, and those that no longer verify or cannot be served too, with a line in the log.

    Raises
    ------
    VersionError
        If there is no earlier champion that could be served.
    RegistryError
        If MLflow fails.
    InferenceError
        If this machine cannot run the earlier champion.
    """
    history = read_history(store)
    cut_off = history.find_cut_off()
    if cut_off is not None and cut_off.action == "rollback" and cut_off.version == history.champion:
        _settle(store, cut_off, "done", number=history.next_number)
        return cut_off.to_note()
    target = _find_servable_before(store, history, policy or load_policy())
    entry = replace(
        target, action="rollback", previous=history.champion, who=who or _current_user(store), when=_now(), gates=""
    )
    return _move_champion(store, history, entry)


def _find_servable_before(store: ModelStore, history: History, policy: Policy) -> LogEntry:
    """Return the promotion to go back to: of the newest version before that a follower would not refuse."""
    there = {facts.version for facts in store.versions()}
    damaged = False
    while (target := history.find_previous(admit_outside=not policy.require_gates, among=there)) is not None:
        try:
            with tempfile.TemporaryDirectory(prefix="synspect-rollback-") as directory:
                store.download(target.version, Path(directory))
                load_servable_bundle(Path(directory))
        except BundleError as error:
            damaged = True
            log.warning("a rollback passes over version %s: %s", target.version, error)
            there.discard(target.version)
        else:
            return target
    whole = " that could be served" if damaged else ""
    raise VersionError(f"model {store.name} has no earlier champion{whole} to return to; promote a version instead")


def _move_champion(store: ModelStore, history: History, entry: LogEntry) -> PromotionNote:
    # In order of time, and never the same for two who promote at once. MLflow allows no plus sign in a key.
    key = f"{LOG_PREFIX}{entry.when.replace('+00:00', 'Z')}-{uuid.uuid4().hex[:6]}"
    entry = replace(entry, key=key, number=history.next_number, outcome=None)
    try:
        store.append_log(f"{key}/{INTENT}", entry.intent_json())
        _give_up_if_moved(store, entry)
        store.set_alias(CHAMPION, entry.version)
        _read_back(store, entry)
        _check_still_champion(store, entry)
    except (_AnotherMovedError, PermissionDeniedError):  # repeating it would not help
        raise
    except RegistryError as error:
        raise RegistryError(
            f"{error}; the {entry.action} of version {entry.version} was cut off: repeat it, which is safe"
        ) from error
    return entry.to_note()


class _AnotherMovedError(RegistryError):
    """Somebody else moved the champion at the same time; the log says so already."""


def _give_up_if_moved(store: ModelStore, entry: LogEntry) -> None:
    """Stop before the alias is set where it is no longer what the decision was made on."""
    found = store.alias_version(CHAMPION)
    if found != entry.previous:
        _give_up(store, entry, f"champion became version {found or 'none'} before it was set")


def _read_back(store: ModelStore, entry: LogEntry) -> None:
    """Look what the alias became, and append the outcome; give way to another promotion that came in between."""
    history = read_history(store)
    if history.champion != entry.version:
        _give_up(store, entry, f"champion reads version {history.champion} after it was set")
    overwritten = _find_overwritten(history, entry)
    if overwritten is not None:
        store.set_alias(CHAMPION, overwritten.version)
        _give_up(store, entry, f"version {overwritten.version} was promoted in between, and is champion again")
    words = f"{entry.when} {entry.action} by {entry.who}: {entry.promotion} {entry.reason}".strip()
    store.tag_version(entry.version, PROMOTION_TAG, words)
    _settle(store, entry, "done", number=history.next_number)


def _check_still_champion(store: ModelStore, entry: LogEntry) -> None:
    """Say so where another promotion went over this one between its reading back and its outcome.

    That one could not see it yet; whoever sets the alias after this look sees the outcome, and gives the champion back.
    """
    found = store.alias_version(CHAMPION)
    if found != entry.version:
        raise _AnotherMovedError(
            f"version {entry.version} became champion and is no longer, version {found or 'none'} is: somebody else "
            "moved it at the same time; look at `synspect registry list`, then repeat"
        )


def _find_overwritten(history: History, entry: LogEntry) -> LogEntry | None:
    """Return what was carried through between the last look before the alias was set and its setting.

    MLflow cannot compare and set: the alias was taken from a champion that this promotion was never compared with.
    """
    return next(
        (
            other
            for other in reversed(history.entries)
            if other.is_done and other.settled > entry.number and other.version != entry.version
        ),
        None,
    )


def _give_up(store: ModelStore, entry: LogEntry, detail: str) -> None:
    _settle(store, entry, "failed", detail, number=read_history(store).next_number)
    raise _AnotherMovedError(
        f"version {entry.version} is not champion: {detail}; somebody else moved it at the same time; look at "
        "`synspect registry list`, then repeat"
    )


def _settle(
    store: ModelStore, entry: LogEntry, result: Literal["done", "failed"], detail: str = "", *, number: int
) -> None:
    outcome = Outcome(result=result, detail=detail, number=number)
    store.append_log(f"{entry.key}/{OUTCOME}", json.dumps(asdict(outcome)))


def check_reason(reason: str) -> str:
    """Return an override's reason in one line; raise `ConfigurationError` for none, or for one that is too long."""
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= MAX_REASON:
        raise ConfigurationError(f"an override needs a reason of 1 to {MAX_REASON} characters, got {len(reason)}")
    return reason


def _current_user(store: ModelStore) -> str:
    if name := store.user_name():
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return f"uid {os.getuid()}"


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")
