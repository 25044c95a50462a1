"""The model registry in MLflow: versions, their bundles, two aliases and an append-only log; MLflow is met here."""

import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.bundle.directory import BUNDLE_NAME, Bundle, load_bundle
from registry.bundle.manifest import GraphTensor
from spect.errors import BundleError, RegistryError
from spect.home import tracking_uri as default_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

DEFAULT_NAME = "synspect"
CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"
ALIASES = (CANDIDATE, CHAMPION)

MANIFEST_TAG = "manifest_sha256"
GENERATOR_TAG = "generator_sha256"
RUN_TAG = "run"
GATES_TAG = "gates"
_EXPERIMENT = "synspect-releases"
_SQLITE = "sqlite:///"

# MLflow's defaults retry for minutes. A registry that is away is said at once; serving does not wait for it.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One registered version."""

    version: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_at: str  # ISO 8601, UTC


class ModelStore:
    """The versions of one registered model.

    Parameters
    ----------
    tracking_uri
        Where MLflow is; None takes MLFLOW_TRACKING_URI, else a SQLite file under the home directory.
    name
        Name of the registered model.

    Raises
    ------
    RegistryError
        MLflow cannot be reached or used; every method raises it too.
    """

    def __init__(self, tracking_uri: str | None = None, *, name: str = DEFAULT_NAME) -> None:
        self.uri = tracking_uri or default_tracking_uri()
        self.name = name
        with self._translated():
            self._client = open_client(self.uri)

    def register_bundle(self, bundle: Bundle, *, mlflow_run_id: str | None = None, gates: str = "") -> str:
        """Log a bundle byte for byte beside MLflow's onnx flavour, register it, and make it the candidate.

        The version appears only once everything is logged. `mlflow_run_id` links the training run, `gates` is their
        verdict in words.
        """
        with self._translated(), tempfile.TemporaryDirectory(prefix="synspect-register-") as staging:
            _make_default(self.uri)
            flavour = _save_onnx_flavour(bundle, Path(staging) / "model")
            model = self._client.create_logged_model(
                find_experiment(self._client, self.uri, _EXPERIMENT),
                name=self.name,
                source_run_id=mlflow_run_id,
                model_type="generator",
            )
            self._client.log_model_artifacts(model.model_id, str(flavour))
            self._client.log_model_artifacts(model.model_id, str(bundle.path), BUNDLE_NAME)
            self._client.finalize_logged_model(model.model_id, "READY")
            self._ensure_model()
            created = self._client.create_model_version(
                self.name,
                source=f"models:/{model.model_id}",
                run_id=mlflow_run_id,
                model_id=model.model_id,
                tags={
                    MANIFEST_TAG: bundle.manifest_sha256,
                    GENERATOR_TAG: bundle.sha256,
                    RUN_TAG: bundle.manifest.run_id,
                    GATES_TAG: gates or "not judged",
                },
            )
        version = str(created.version)
        self.set_alias(CANDIDATE, version)
        return version

    def versions(self) -> list[VersionFacts]:
        """Return every version, oldest first; an empty list where nothing was registered yet."""
        with self._translated():
            aliases = self._aliases()  # search_model_versions leaves them out
            found = self._client.search_model_versions(f"name='{self.name}'") if aliases is not None else []
            facts = [_to_facts(version, aliases or {}) for version in found]
        return sorted(facts, key=lambda fact: int(fact.version))

    def find_version(self, version: str) -> VersionFacts:
        """Return one version; raise `RegistryError` naming those that exist."""
        known = {fact.version: fact for fact in self.versions()}
        if version not in known:
            there = ", ".join(known) or "none: release a run first"
            raise RegistryError(
                f"model {self.name} has no version {version!r} at {public_uri(self.uri)}; there is {there}"
            )
        return known[version]

    def find_by_manifest(self, manifest_sha256: str) -> str | None:
        """Return the newest version that holds exactly this bundle, if there is one."""
        same = [fact for fact in self.versions() if fact.tags.get(MANIFEST_TAG) == manifest_sha256]
        return same[-1].version if same else None

    def download(self, version: str, directory: Path) -> Bundle:
        """Download a version's bundle to `directory`/bundle and return it verified, as it was registered."""
        import mlflow.artifacts  # noqa: PLC0415 — MLflow takes seconds to import

        facts = self.find_version(version)
        with self._translated():
            location = self._client.get_model_version_download_uri(self.name, version)
            directory.mkdir(parents=True, exist_ok=True)
            # Without dst_path a download over HTTP leaves a temporary folder behind.
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"{location}/{BUNDLE_NAME}", dst_path=str(directory), tracking_uri=self.uri
            )
        bundle = load_bundle(directory / BUNDLE_NAME)
        if bundle.manifest_sha256 != facts.tags.get(MANIFEST_TAG):
            raise BundleError(
                f"version {version} of {self.name} is not the bundle that was registered; release it again"
            )
        return bundle

    def alias_version(self, alias: str) -> str | None:
        """Return the version an alias points to, if any."""
        with self._translated():
            version = (self._aliases() or {}).get(alias)
        return None if version is None else str(version)

    def set_alias(self, alias: str, version: str) -> None:
        """Point one of the two aliases to a version."""
        if alias not in ALIASES:
            raise RegistryError(f"{alias!r} is no alias of synspect; use one of {', '.join(ALIASES)}")
        with self._translated():
            self._client.set_registered_model_alias(self.name, alias, version)

    def tag_version(self, version: str, tag: str, value: str) -> None:
        """Write a tag of one version."""
        with self._translated():
            self._client.set_model_version_tag(self.name, version, tag, value)

    def append_log(self, key: str, value: str) -> None:
        """Add one entry to the model's log; keys are never written twice."""
        with self._translated():
            self._client.set_registered_model_tag(self.name, key, value)

    def read_log(self, prefix: str) -> dict[str, str]:
        """Return the log's entries whose keys start with `prefix`, in order of their keys."""
        with self._translated():
            model = self._find_model()
        tags = dict(model.tags) if model else {}
        return {key: tags[key] for key in sorted(tags) if key.startswith(prefix)}

    def _aliases(self) -> dict[str, str] | None:
        model = self._find_model()
        return dict(model.aliases) if model else None

    def _find_model(self) -> Any:  # noqa: ANN401 — MLflow's classes are imported when used
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 — MLflow takes seconds to import

        try:
            return self._client.get_registered_model(self.name)
        except MlflowException as error:
            # A web server that is not MLflow answers 404 too, and MLflow then names the request.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" and "API request" not in str(error):
                return None
            raise

    def _ensure_model(self) -> None:
        if self._find_model() is None:
            self._client.create_registered_model(self.name)

    def _translated(self) -> AbstractContextManager[None]:
        return translated_errors(self.uri, advice="start it, or set MLFLOW_TRACKING_URI")


@contextmanager
def translated_errors(uri: str, *, advice: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one `RegistryError` that ends in the advice."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 — MLflow takes seconds to import
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 — comes with MLflow

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise RegistryError(f"MLflow at {public_uri(uri)} cannot be used: {_in_one_line(error)}; {advice}") from error


def open_client(uri: str) -> "MlflowClient":
    """Open MLflow so that it fails soon, says little and sends nothing home."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # noqa: PLC0415 — after the environment is set: MLflow reads it when imported

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if uri.startswith(_SQLITE):
        _create_database(Path(uri.removeprefix(_SQLITE)))
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_database(path: Path) -> None:
    """Make MLflow's tables under another name first: cut off in between, they could never be completed."""
    if path.exists():
        return
    from mlflow import MlflowClient  # noqa: PLC0415 — MLflow takes seconds to import

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as staging:
        made = Path(staging) / path.name
        uri = f"{_SQLITE}{made}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models(max_results=1)
        with suppress(FileExistsError):  # another process made it meanwhile
            os.link(made, path)


def _make_default(uri: str) -> None:
    # MLflow's own registry on a database looks for the logged model at the process-wide address, not at its client's.
    import mlflow  # noqa: PLC0415 — MLflow takes seconds to import

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


def find_experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """Return the id of an experiment, made where there is none."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # Beside the database, not in whatever directory the command was started; a server knows its own place.
    beside = str(Path(uri.removeprefix(_SQLITE)).absolute().with_name("mlartifacts"))
    return str(client.create_experiment(name, artifact_location=beside if uri.startswith(_SQLITE) else None))


def _save_onnx_flavour(bundle: Bundle, path: Path) -> Path:
    import onnx  # noqa: PLC0415 — needed here alone

    with warnings.catch_warnings():  # MLflow warns of type hints in its own code, which it imports when it saves
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
        import mlflow.onnx  # noqa: PLC0415 — MLflow takes seconds to import

        mlflow.onnx.save_model(
            onnx.load_model(bundle.generator_path),
            str(path),
            signature=_signature(bundle),
            pip_requirements=["onnx", "onnxruntime"],
            save_as_external_data=False,
        )
    return path


def _signature(bundle: Bundle) -> "ModelSignature":
    from mlflow.models import ModelSignature  # noqa: PLC0415 — MLflow takes seconds to import
    from mlflow.types import Schema  # noqa: PLC0415 — MLflow takes seconds to import

    inputs, outputs = (
        Schema([_tensor_spec(tensor) for tensor in tensors])
        for tensors in (bundle.manifest.inputs, bundle.manifest.outputs)
    )
    return ModelSignature(inputs=inputs, outputs=outputs)


def _tensor_spec(tensor: GraphTensor) -> Any:  # noqa: ANN401 — MLflow's classes are imported when used
    import numpy as np  # noqa: PLC0415 — needed here alone
    from mlflow.types import TensorSpec  # noqa: PLC0415 — MLflow takes seconds to import

    return TensorSpec(np.dtype(tensor.dtype), [-1 if size == "batch" else size for size in tensor.shape], tensor.name)


def _to_facts(version: Any, aliases: Mapping[str, str]) -> VersionFacts:  # noqa: ANN401 — an MLflow entity
    return VersionFacts(
        version=str(version.version),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if str(target) == str(version.version))),
        tags=dict(version.tags),
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC).isoformat(timespec="seconds"),
    )


def public_uri(uri: str) -> str:
    """Return a URI without user and password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _in_one_line(error: BaseException) -> str:
    text = str(error).strip()
    if "Max retries exceeded" in text or "timed out" in text:
        return "it does not answer"
    return public_uri(text.splitlines()[0] if text else type(error).__name__)[:300]
