"""How `synspect registry list` and `show` lay versions, promotions and reigns out, within 80 columns."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from synspect.gate_table import print_gates
from synspect.screen import open_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.history import History, LogEntry, Reign
    from registry.store.facts import VersionFacts
    from registry.story import Origin, Story

_LOUD = {"override": "yellow", "outside": "bold yellow"}


def print_versions(versions: "Sequence[VersionFacts]", history: "History") -> None:
    """Print every version with its aliases, how it last became champion, and its gates."""
    table = _table("", "alias", "promotion", "gates", "run", "created")
    for fact in versions:
        gates, run = fact.tags.get("gates", "").partition(":")[0], fact.tags.get("run", "")
        promotion = _promotion_of(fact.version, history)
        aliases = Text("\n".join(fact.aliases))
        table.add_row(fact.version, aliases, promotion, Text(gates), Text(run), fact.created_at[:10])
    console = open_screen()
    console.print(table)
    cut_off = history.find_cut_off()
    if cut_off is not None:
        console.print(
            f"The {cut_off.action} of version {cut_off.version} by {cut_off.who} at {_minute(cut_off.when)} has no "
            f"outcome: it is on its way, or was cut off and can be repeated. Champion is version "
            f"{history.champion or 'none'}.",
        )


def print_story(story: "Story") -> None:
    """Print all that is known of one version."""
    console = open_screen()
    facts = story.facts
    console.print(f"Version {facts.version} {' '.join(facts.aliases)}".strip())
    if story.origin is not None:
        _print_facts(console, story.origin, facts)
    if story.gates is not None:
        print_gates(story.gates, about=f"of version {facts.version}, as they stand now", with_reported=True)
    _print_log(console, story.log)
    _print_reigns(console, story.reigns)


def _print_facts(console: Console, origin: "Origin", facts: "VersionFacts") -> None:
    table = Table.grid(padding=(0, 2))
    rows = {
        "registered": f"{_minute(facts.created_at)}, released {_minute(origin.released_at)}",
        "run": origin.run + (f" (MLflow {facts.mlflow_run_id})" if facts.mlflow_run_id else ""),
        "code": origin.git_commit,
        "trained on": f"{origin.training_slices} slices, {origin.training_cohort} {origin.training_fingerprint[:16]}",
        "validated on": f"{origin.test_cohort} {str(origin.test_fingerprint)[:16]}, {_minute(origin.validated_at)}"
        if origin.test_cohort
        else "nothing",
        "generator": f"sha256 {origin.generator_sha256[:16]}",
        "bundle": f"manifest sha256 {origin.manifest_sha256[:16]}",
    }
    for name, value in rows.items():
        table.add_row(f"  {name}", Text(value, overflow="fold"))
    console.print(table)


def _print_log(console: Console, log: "Sequence[LogEntry]") -> None:
    if not log:
        console.print("Never promoted.")
        return
    table = _table("when (UTC)", "who", "what", "how", "outcome", title="Promotions")
    for entry in log:
        outcome = "cut off" if entry.outcome is None else " ".join((entry.outcome.result, entry.outcome.detail)).strip()
        what = f"{entry.action} {entry.previous or 'none'} -> {entry.version}"
        table.add_row(_minute(entry.when), Text(entry.who), what, _how(entry.promotion, entry.reason), Text(outcome))
    console.print(table)


def _print_reigns(console: Console, reigns: "Sequence[Reign]") -> None:
    if not reigns:
        console.print("Never champion.")
        return
    table = _table("from (UTC)", "until (UTC)", "promotion", "ended by", title="Champion")
    for reign in reigns:
        until = _minute(reign.until) if reign.until or reign.ended else "now"
        table.add_row(_minute(reign.since), until, _how(reign.promotion, ""), Text(reign.ended))
    console.print(table)


def _promotion_of(version: str, history: "History") -> Text:
    """How the champion became one, or how an earlier one had."""
    champion = history.describe_champion()
    if champion is not None and champion.version == version:
        return _how(champion.promotion, champion.reason, champion.who, champion.when)
    last = history.find_last(version)
    return Text() if last is None else _how(last.promotion, last.reason, last.who, last.when)


def _how(promotion: str, reason: str, who: str = "", when: str = "") -> Text:
    text = Text(promotion, style=_LOUD.get(promotion, ""))
    if reason:
        text.append(f": {reason}")
    if who:
        text.append(f" ({who}, {_minute(when)})")
    return text


def _table(*headings: str, title: str | None = None) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _minute(when: str | None) -> str:
    """Return a UTC time to the minute; what is unknown says so."""
    return when[:16].replace("T", " ") if when else "unknown"
