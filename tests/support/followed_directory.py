"""A followed directory without a registry: pairs of tiny bundles, and the atomic switch between them."""

from pathlib import Path

from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from tests.support.drift_samples import make_profile
from tests.support.tiny_bundle import build_tiny_bundle


def make_pair(
    directory: Path,
    name: str,
    *,
    version: str,
    output_gain: float = 1.0,
    promotion: str = "gates",
    graph: bytes | None = None,
) -> Path:
    """Put a bundle and its promotion note side by side; nothing points at them yet."""
    pair = directory / "pairs" / name
    build_tiny_bundle(pair / "bundle", profile=make_profile().to_json(), output_gain=output_gain, graph=graph)
    note = PromotionNote.model_validate({"version": version, "promotion": promotion, "reason": "why"})
    save_promotion_note(note, pair / PROMOTION_NAME)
    return pair


def switch(directory: Path, pair: Path) -> None:
    """Point `current` at a pair, atomically."""
    link = directory / ".next"
    link.symlink_to(pair)
    link.replace(directory / "current")


def kept_versions(directory: Path) -> list[str]:
    """Return the versions that a followed directory keeps."""
    return sorted(path.name.split("-")[0] for path in (directory / "versions").iterdir())
