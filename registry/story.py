"""The whole story of one version: what it was made of, how it was judged, who promoted it, when it served."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry.bundle.directory import Bundle
from registry.gates import GateReport
from registry.history import History, LogEntry, Reign
from registry.promotion import read_history
from registry.store.facts import VersionFacts
from registry.store.model_store import ModelStore
from registry.version_gates import judge_version
from spect.errors import BundleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a version's bundle says of where it comes from; fingerprints, never paths or patients."""

    released_at: str
    run: str
    git_commit: str
    training_cohort: str
    training_fingerprint: str
    training_slices: int
    test_cohort: str | None
    test_fingerprint: str | None
    validated_at: str | None
    generator_sha256: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is known of a version; without origin or gates where its bundle cannot be served."""

    facts: VersionFacts
    origin: Origin | None
    gates: GateReport | None
    problem: BundleError | None
    log: tuple[LogEntry, ...]  # in which it was promoted, returned to, or replaced
    reigns: tuple[Reign, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            **asdict(self.facts),
            "origin": asdict(self.origin) if self.origin else None,
            **(self.gates.to_dict() if self.gates else {"passed": None, "gates": []}),
            "version": self.facts.version,
            "problem": str(self.problem) if self.problem else None,
            "log": [asdict(entry) for entry in self.log],
            "served": [asdict(reign) for reign in self.reigns],
        }


def tell_story(store: ModelStore, version: str) -> Story:
    """Gather the story of a version; a bundle that does not verify is part of it."""
    facts = store.find_version(version)
    history = read_history(store)
    origin, gates, problem = None, None, None
    try:
        with tempfile.TemporaryDirectory(prefix="synspect-show-") as directory:
            origin = _find_origin(store.download(version, Path(directory)))
        gates = judge_version(store, version)
    except BundleError as error:
        problem = error
    return Story(
        facts=facts,
        origin=origin,
        gates=gates,
        problem=problem,
        log=tuple(entry for entry in history.entries if version in {entry.version, entry.previous}),
        reigns=_find_reigns(history, version),
    )


def _find_reigns(history: History, version: str) -> tuple[Reign, ...]:
    return tuple(reign for reign in history.reigns() if reign.version == version)


def _find_origin(bundle: Bundle) -> Origin:
    manifest, panel = bundle.manifest, bundle.panel
    trained = manifest.training_cohort
    return Origin(
        released_at=manifest.created_at,
        run=manifest.run_id,
        git_commit=manifest.git_commit,
        training_cohort=_name_cohort(trained.source, trained.simulator_version),
        training_fingerprint=trained.fingerprint,
        training_slices=trained.slices,
        test_cohort=_name_cohort(panel.cohort_source, panel.cohort_simulator_version) if panel else None,
        test_fingerprint=panel.cohort_fingerprint if panel else None,
        validated_at=panel.created_at if panel else None,
        generator_sha256=bundle.sha256,
        manifest_sha256=bundle.manifest_sha256,
    )


def _name_cohort(source: str, simulator_version: str | None) -> str:
    return f"{source} (simulator {simulator_version})" if simulator_version else source
