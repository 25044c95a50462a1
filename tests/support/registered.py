"""Tiny bundles in a registry: registered, promoted, described."""

from pathlib import Path
from typing import Any

from registry.bundle.directory import Bundle
from registry.promotion import describe_alias, promote
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from tests.support.tiny_bundle import build_tiny_bundle

BAD = {("c2st_auc_inside_outline", "normal"): {"value": 0.99, "low": 0.98, "high": 1.0}}


def register(store: ModelStore, directory: Path, count: int, changes: Any = None) -> list[str]:
    """Register bundles that differ in their cards; return their versions."""
    bundles = [build_tiny_bundle(directory / f"b{i}", card=f"# {i}\n", changes=changes) for i in range(count)]
    return [store.register_bundle(bundle) for bundle in bundles]


def promote_version(store: ModelStore, version: str, override: str | None = None) -> None:
    """Judge and promote a version, as ada does."""
    promote(store, version, report=judge_version(store, version), override=override, who="ada")


def make_champion(store: ModelStore, directory: Path, number: int) -> Bundle:
    """Register and promote a bundle; return it."""
    bundle = build_tiny_bundle(directory / f"b{number}", card=f"# {number}\n")
    promote_version(store, store.register_bundle(bundle))
    return bundle


def describe_champion(store: ModelStore) -> tuple[str, str]:
    """Return the champion's version and how it was promoted."""
    note = describe_alias(store, CHAMPION)
    assert note is not None
    return note.version, note.promotion


def break_card(directory: Path, text: str) -> None:
    """Change, behind the registry's back, the card that reads so."""
    (card,) = [path for path in (directory / "mlartifacts").rglob("bundle/card.md") if path.read_text() == text]
    card.write_text("changed")
