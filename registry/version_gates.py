"""The gates of a registered version: its own bundle, and the champion's beside it, held against the policy."""

import tempfile
from dataclasses import replace
from pathlib import Path

from registry.bundle.directory import Bundle
from registry.bundle.panel import Panel
from registry.bundle.served_model import load_servable_bundle
from registry.gates import GateReport, judge_bundle
from registry.policy import Policy, load_policy
from registry.promotion import read_history
from registry.store.facts import CHAMPION, GENERATOR_TAG
from registry.store.model_store import ModelStore
from spect.errors import BundleError, ConfigurationError, VersionError


def judge_version(
    store: ModelStore, version: str, *, policy: Policy | None = None, champion_panel: Panel | None = None
) -> GateReport:
    """Run the gates on a version's own bundle, and against the champion; nothing is changed.

    `champion_panel` stands for the panel of the champion's bundle where the two were validated on different cohorts.

    Raises
    ------
    ConfigurationError
        The policy cannot be read, or the panel given is none of the champion's; before anything is downloaded.
    VersionError, BundleError
        There is no such version, or what it holds does not verify or could not be served.
    """
    policy = policy or load_policy()
    champion = store.alias_version(CHAMPION)
    compared = champion if champion not in {None, version} else _find_promoted_before(store, version)
    if champion_panel is not None:
        _check_champion_panel(store, champion_panel, compared or champion, version)
    with tempfile.TemporaryDirectory(prefix="synspect-gates-") as directory:
        store.download(version, Path(directory) / "version")
        bundle = load_servable_bundle(Path(directory) / "version")
        other = None
        if compared is not None:
            other = _load_champion(store, compared, Path(directory) / "champion", champion_panel)
        report = judge_bundle(policy, bundle, champion=other)
    return replace(report, version=version, champion=champion)


def _find_promoted_before(store: ModelStore, version: str) -> str | None:
    """Return the champion of the log, where the alias was taken from it by hand; None where that is this version.

    Without it a version could be set by hand first, and then be promoted as if nobody had been champion.
    """
    latest = next(reversed(read_history(store).effective), None)
    return latest.version if latest is not None and latest.version != version else None


def _check_champion_panel(store: ModelStore, panel: Panel, champion: str | None, version: str) -> None:
    """Raise `ConfigurationError` for a panel that says nothing of the champion, or that nothing would be held against.

    The tag names the champion's graph as its manifest does; neither is downloaded for it.
    """
    if champion is None:
        raise ConfigurationError("there is no champion that a panel could be of; leave --champion-panel out")
    if champion == version:
        raise ConfigurationError(
            f"version {version} is the champion, and is compared with no other; leave --champion-panel out"
        )
    expected = store.find_version(champion).tags.get(GENERATOR_TAG, "unknown")
    if panel.onnx_sha256 != expected:
        raise ConfigurationError(
            f"the panel given for the champion measured {panel.onnx_sha256[:12]}, champion {champion} is "
            f"{expected[:12]}; validate the champion's bundle"
        )
    if panel.quick:
        raise ConfigurationError("the panel given for the champion is a quick one; validate it without --quick")


def _load_champion(store: ModelStore, champion: str, directory: Path, panel: Panel | None) -> Bundle | str:
    """Return the champion to compare with, or why it cannot be compared: what is broken must stay replaceable."""
    try:
        bundle = store.download(champion, directory)
    except BundleError as error:
        return f"champion {champion} does not verify ({error})"
    except VersionError:
        return f"champion {champion} is no longer in the registry"
    return bundle if panel is None else replace(bundle, panel=panel)
