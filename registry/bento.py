"""Build a Bento: the champion's bundle, the service and the domain, without torch or MLflow."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from registry.bundle.directory import BUNDLE_NAME, Bundle, load_bundle
from registry.bundle.promotion_note import PROMOTION_NAME, save_promotion_note
from spect.errors import ConfigurationError, RegistryError, ServiceError

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


def build_bento(*, name: str = "synspect", bundle_directory: Path | None = None) -> BuiltBento:
    """Build a Bento of the champion, or of a bundle on disk; nothing is downloaded but the bundle.

    Raises
    ------
    RegistryError
        If MLflow is away, or there is no champion.
    BundleError
        If the bundle does not verify.
    ServiceError
        If BentoML cannot build it.
    """
    bentofile = _ROOT / BENTOFILE_NAME
    if not bentofile.is_file():
        raise ConfigurationError(f"{bentofile} is missing; build from a source tree of synspect")
    with tempfile.TemporaryDirectory(prefix="synspect-build-") as directory:
        context = Path(directory)
        bundle = _bake_bundle(context / BAKED, name=name, bundle_directory=bundle_directory)
        _pack_sources(context)
        shutil.copyfile(bentofile, context / BENTOFILE_NAME)
        tag = _run_bentoml(context, bundle)
    return BuiltBento(tag=tag, version=bundle.version, sha256=bundle.sha256)


def _bake_bundle(pair: Path, *, name: str, bundle_directory: Path | None) -> Bundle:
    if bundle_directory is not None:
        given = load_bundle(bundle_directory)
        shutil.copytree(given.path, pair / BUNDLE_NAME)
        note = given.promotion
    else:
        # MLflow is needed for the champion alone.
        from registry.promotion import describe_alias  # noqa: PLC0415 — imports MLflow when used
        from registry.store import CHAMPION, ModelStore  # noqa: PLC0415 — imports MLflow when used

        store = ModelStore(name=name)
        note = describe_alias(store, CHAMPION)
        if note is None:
            raise RegistryError(f"model {name} has no champion to build from; promote a version, or give --bundle DIR")
        store.download(note.version, pair)
    if note is not None:
        save_promotion_note(note, pair / PROMOTION_NAME)
    return load_bundle(pair)


def _pack_sources(context: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    for package in _PACKED:
        shutil.copytree(_ROOT / package, context / package, ignore=ignore)
    shutil.copyfile(_ROOT / "registry" / "__init__.py", context / "registry" / "__init__.py")


def _run_bentoml(context: Path, bundle: Bundle) -> str:
    labels = {
        "model-version": bundle.version,
        "model-sha256": bundle.sha256[:16],
        "promotion": bundle.promotion.promotion if bundle.promotion else "none",
    }
    command = [sys.executable, "-m", "bentoml", "build", str(context), "--output", "tag"]
    command += [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    # BentoML imports the service to build it: from the context, not from where synspect was started.
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "true"}
    try:
        finished = subprocess.run(
            command, cwd=context, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"BentoML did not build within {_TIMEOUT_SECONDS} s; look at the machine's load") from None
    tags = [line.removeprefix("__tag__:") for line in finished.stdout.splitlines() if line.startswith("__tag__:")]
    if finished.returncode != 0 or not tags:
        said = (finished.stderr or finished.stdout).strip().splitlines()
        raise ServiceError(f"BentoML could not build the Bento: {said[-1] if said else 'it said nothing'}")
    return tags[0]
