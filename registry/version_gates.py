"""The gates of a registered version: its own bundle, and the champion's beside it, held against the policy."""

import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from registry.bundle.directory import Bundle
from registry.bundle.panel import Panel
from registry.bundle.served_model import load_servable_bundle
from registry.gates import GateReport, judge_bundle
from registry.history import History
from registry.policy import Policy, load_policy
from registry.promotion import read_history
from registry.store.facts import GENERATOR_TAG
from registry.store.model_store import ModelStore
from spect.errors import BundleError, ConfigurationError, VersionError


def judge_version(
    store: ModelStore, version: str, *, policy: Policy | None = None, champion_panel: Panel | None = None
) -> GateReport:
    """Run the gates on a version's own bundle, and against the champion; nothing is changed.

    Where the champion was set by hand, or there is none, the last one that was promoted is compared with as well.
    `champion_panel` stands for the panel of a champion's bundle where the two were validated on different cohorts.

    Raises
    ------
    ConfigurationError
        The policy cannot be read, or the panel given is none of the champion's; before anything is downloaded.
    VersionError, BundleError
        There is no such version, or what it holds does not verify or could not be served.
    """
    policy = policy or load_policy()
    history = read_history(store)
    compared = _find_compared(store, history, version)
    if champion_panel is not None:
        _check_champion_panel(store, champion_panel, compared, version=version, champion=history.champion)
    with tempfile.TemporaryDirectory(prefix="synspect-gates-") as directory:
        store.download(version, Path(directory) / "version")
        bundle = load_servable_bundle(Path(directory) / "version")
        champions = {
            name: _load_champion(store, other, Path(directory) / f"champion-{other}", champion_panel)
            for other, name in compared.items()
        }
        report = judge_bundle(policy, bundle, champions=champions)
    return replace(report, version=version, champion=history.champion)


def _find_compared(store: ModelStore, history: History, version: str) -> dict[str, str]:
    """Return the versions that one must not be worse than, and what the gates call them.

    Were it the present champion alone, a poor version set by hand would lower the gate for whatever is promoted next.
    """
    compared = {}
    note = history.describe_champion()
    if note is not None:
        compared[note.version] = f"champion {note.version}"
    if note is None or note.promotion == "outside":
        there = {facts.version for facts in store.versions()}
        # Where every one was deleted the last is named, so that it takes an override to go on without any.
        promoted = history.find_previous(admit_outside=False, among=there) or history.find_previous(admit_outside=False)
        if promoted is not None:
            compared[promoted.version] = f"the last promoted champion {promoted.version}"
    compared.pop(version, None)
    return compared


def _check_champion_panel(
    store: ModelStore, panel: Panel, compared: Collection[str], *, version: str, champion: str | None
) -> None:
    """Raise `ConfigurationError` for a panel that says nothing of a champion, or that nothing would be held against.

    The tag names a champion's graph as its manifest does; neither is downloaded for it.
    """
    if not compared and champion == version:
        raise ConfigurationError(
            f"version {version} is the champion, and is compared with no other; leave --champion-panel out"
        )
    if not compared:
        raise ConfigurationError("there is no champion that a panel could be of; leave --champion-panel out")
    graphs = {other: store.find_version(other).tags.get(GENERATOR_TAG, "unknown") for other in compared}
    if panel.onnx_sha256 not in graphs.values():
        known = " and ".join(f"champion {other} is {graph[:12]}" for other, graph in graphs.items())
        raise ConfigurationError(
            f"the panel given for the champion measured {panel.onnx_sha256[:12]}, {known}; validate the champion's "
            "bundle"
        )
    if panel.quick:
        raise ConfigurationError("the panel given for the champion is a quick one; validate it without --quick")


def _load_champion(store: ModelStore, champion: str, directory: Path, panel: Panel | None) -> Bundle | str:
    """Return the champion to compare with, or why it cannot be compared: what is broken must stay replaceable."""
    try:
        bundle = store.download(champion, directory)
    except BundleError as error:
        return f"does not verify ({error})"
    except VersionError:
        return "is no longer in the registry"
    return replace(bundle, panel=panel) if panel is not None and panel.onnx_sha256 == bundle.sha256 else bundle
