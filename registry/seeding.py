"""Put a bundle that lies on disk into a registry that may not know it yet; safe to repeat."""

from dataclasses import dataclass
from pathlib import Path

from registry.bundle.directory import load_bundle
from registry.bundle.promotion_note import PromotionNote
from registry.gates import GateReport
from registry.promotion import describe_alias, promote
from registry.registration import register_release
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What a registry holds after seeding."""

    version: str  # of the bundle that was given
    champion: PromotionNote  # another version, where the registry had a champion already
    report: GateReport | None  # of the bundle, where it was judged now


def seed_registry(store: ModelStore, bundle_directory: Path, *, override: str) -> Seeded:
    """Register a bundle unless its version exists, and make it champion where there is none.

    It is promoted by its gates, or with `override` as the recorded reason where they fail. A registry that has a
    champion keeps it.
    """
    bundle = load_bundle(bundle_directory)
    version = store.find_by_manifest(bundle.manifest_sha256) or register_release(store, bundle)
    champion = describe_alias(store, CHAMPION)
    if champion is not None:
        return Seeded(version=version, champion=champion, report=None)
    report = judge_version(store, version)
    return Seeded(version=version, champion=promote(store, version, report=report, override=override), report=report)
