"""Build a Bento: the champion's bundle, the service and the domain, without torch or MLflow.

The same champion and the same commit give the same Bento, byte for byte, but for the time in its `bento.yaml`, which
BentoML writes (BentoML 1.4).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.bundle.directory import BUNDLE_NAME, Bundle, compute_sha256, load_bundle
from registry.bundle.promotion_note import PROMOTION_NAME, save_promotion_note
from registry.bundle.served_model import NO_PROMOTION, load_servable_bundle
from registry.policy import Policy, load_policy
from registry.promotion import check_admitted, describe_alias
from registry.store.facts import CHAMPION, DEFAULT_NAME
from registry.store.model_store import ModelStore
from spect.commit import git_commit
from spect.errors import AdmissionError, ConfigurationError, ServiceError, VersionError

BENTOFILE_NAME = "bentofile.yaml"
# Where the service looks for the bundle that came with it (serving/settings.py).
BAKED = Path("models") / "champion"

_ROOT = Path(__file__).resolve().parent.parent
_PACKED = ("spect", "serving", "registry/bundle")
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltBento:
    """A Bento in BentoML's store and the model inside it."""

    tag: str
    version: str
    sha256: str
    was_there: bool  # the store held exactly this Bento already


def build_bento(*, name: str = DEFAULT_NAME, bundle_directory: Path | None = None) -> BuiltBento:
    """Build a Bento of the champion, or of a bundle on disk; nothing is downloaded but the bundle.

    Raises
    ------
    RegistryError
        If MLflow is away, there is no champion (`VersionError`), or the policy refuses how it became one
        (`AdmissionError`).
    BundleError
        If the bundle does not verify or could not be served.
    ServiceError
        If BentoML cannot build it, or holds another Bento under this tag.
    """
    bentofile = _ROOT / BENTOFILE_NAME
    if not bentofile.is_file():
        raise ConfigurationError(f"{bentofile} is missing; build from a source tree of synspect")
    with tempfile.TemporaryDirectory(prefix="synspect-build-") as directory:
        context = Path(directory)
        bundle = _bake_bundle(context / BAKED, name=name, bundle_directory=bundle_directory)
        _pack_sources(context)
        shutil.copyfile(bentofile, context / BENTOFILE_NAME)
        labels = _labels(bundle, content_sha256=_digest_tree(context))
        tag, was_there = _build(context, name_version(bundle, labels), labels)
    return BuiltBento(tag=tag, version=bundle.version, sha256=bundle.sha256, was_there=was_there)


def name_version(bundle: Bundle, labels: Mapping[str, str]) -> str:
    """Return the Bento's version: the model's and the commit's; the digest of what is inside where no commit names it.

    "3-0123456789ab", "unregistered.01234567-0123456789ab", "3-0123456789ab-dirty.01234567".
    """
    model = bundle.version if bundle.promotion else f"{bundle.version}.{bundle.manifest_sha256[:8]}"
    commit, _, dirty = labels["git-commit"].partition("-")
    version = f"{model}-{commit[:12]}"
    if dirty or commit == "unknown":
        version += f"-{dirty or 'source'}.{labels['content-sha256'][:8]}"
    return version.lower()


def _labels(bundle: Bundle, *, content_sha256: str) -> dict[str, str]:
    return {
        "model-version": bundle.version,
        "model-sha256": bundle.sha256,
        "manifest-sha256": bundle.manifest_sha256,
        "run-id": bundle.manifest.run_id,
        "promotion": bundle.promotion.promotion if bundle.promotion else NO_PROMOTION,
        "git-commit": git_commit(),
        "content-sha256": content_sha256,
    }


def _digest_tree(directory: Path) -> str:
    """Return one digest of every file's name and content."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()} {compute_sha256(path)}\n".encode())
    return digest.hexdigest()


def _bake_bundle(pair: Path, *, name: str, bundle_directory: Path | None) -> Bundle:
    policy = load_policy()
    if bundle_directory is not None:
        given = load_bundle(bundle_directory)
        note = given.promotion
        _check_promoted(given, bundle_directory, policy)
        shutil.copytree(given.path, pair / BUNDLE_NAME)
    else:
        store = ModelStore(name=name)
        note = describe_alias(store, CHAMPION)
        if note is None:
            raise VersionError(f"model {name} has no champion to build from; promote a version, or give --bundle DIR")
        check_admitted(note, policy)
        store.download(note.version, pair)
    if note is not None:
        save_promotion_note(note, pair / PROMOTION_NAME)
    return load_servable_bundle(pair)


def _check_promoted(given: Bundle, directory: Path, policy: Policy) -> None:
    """Raise `AdmissionError` where the policy demands the gates, and what lies on disk tells of none."""
    note = given.promotion
    if note is not None:
        check_admitted(note, policy)
    if policy.require_gates and (note is None or note.promotion == NO_PROMOTION):
        told = "no promotion.json lies beside it" if note is None else note.reason
        raise AdmissionError(
            f"{directory} holds a bundle that nobody promoted ({told}), which the policy refuses "
            "(require_gates: true); promote its version, and build without --bundle or from what `synspect registry "
            "follow champion` keeps"
        )


def _pack_sources(context: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    for package in _PACKED:
        shutil.copytree(_ROOT / package, context / package, ignore=ignore)
    shutil.copyfile(_ROOT / "registry" / "__init__.py", context / "registry" / "__init__.py")


def _build(context: Path, version: str, labels: Mapping[str, str]) -> tuple[str, bool]:
    """Build a Bento of this version; return its tag, and whether exactly it was in the store already."""
    command = ["build", str(context), "--version", version, "--output", "tag"]
    command += [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    finished = _run_bentoml(*command, context=context)
    tags = [line.removeprefix("__tag__:") for line in finished.stdout.splitlines() if line.startswith("__tag__:")]
    if finished.returncode == 0 and tags:
        return tags[0], False
    said = (finished.stderr or finished.stdout).strip().splitlines()
    taken = re.search(r"'(\S+:\S+)' already exists", finished.stderr + finished.stdout)
    if taken is None:
        raise ServiceError(f"BentoML could not build the Bento: {said[-1] if said else 'it said nothing'}")
    tag = taken.group(1)
    if _find_content(tag, context) != labels["content-sha256"]:
        raise ServiceError(f"the store holds another Bento as {tag}; remove it with: bentoml delete {tag}")
    return tag, True


def _find_content(tag: str, context: Path) -> str | None:
    """Return the digest that a stored Bento is labelled with."""
    finished = _run_bentoml("get", tag, "--output", "json", context=context)
    try:
        found: str | None = json.loads(finished.stdout)["labels"].get("content-sha256")
    except (ValueError, KeyError):
        return None
    return found


def _run_bentoml(*arguments: str, context: Path) -> "subprocess.CompletedProcess[str]":
    # BentoML imports the service to build it: from the context, not from where synspect was started.
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "true"}
    try:
        return subprocess.run(
            [sys.executable, "-m", "bentoml", *arguments],
            cwd=context,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"BentoML did not end within {_TIMEOUT_SECONDS} s; look at the machine's load") from None
