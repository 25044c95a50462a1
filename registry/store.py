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
from spect.errors import BundleError, ConfigurationError, RegistryError
from spect.home import home_directory
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
PROMOTION_TAG = "promotion"  # when this version was last made champion, by whom and how
_EXPERIMENT = "synspect-releases"
_DESCRIPTION = (
    "Generators of synthetic 123I-IMP brain SPECT slices. **Research use only, never for diagnosis.**\n\n"
    "`candidate` is the newest release, `champion` what is served: move it with `synspect registry promote` and "
    "`rollback`, which ask the gates and keep the log in this model's tags. Moved by hand it is shown everywhere as "
    "promoted outside the gates."
)
_SQLITE = "sqlite:///"
_ARTIFACTS = "mlartifacts"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

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
    mlflow_run_id: str | None = None
    logged_model_id: str | None = None  # None: not registered by synspect


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Aliases and tags of the registered model, read together."""

    aliases: Mapping[str, str]
    tags: Mapping[str, str]


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
    ConfigurationError
        The name is none that every part of MLflow allows.
    RegistryError
        MLflow cannot be reached or used; every method raises it too.
    """

    def __init__(self, tracking_uri: str | None = None, *, name: str = DEFAULT_NAME) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"a model is named by 1 to 100 letters, digits, hyphens and underscores, got {name!r}"
            )
        self.uri = tracking_uri or default_tracking_uri()
        self.name = name
        with self._translated():
            self._client = open_client(self.uri)

    def register_bundle(
        self,
        bundle: Bundle,
        *,
        mlflow_run_id: str | None = None,
        gates: str = "",
        description: str = "",
        files: Mapping[str, bytes] | None = None,
    ) -> str:
        """Log a bundle byte for byte beside MLflow's onnx flavour, register it, and make it the candidate.

        The version appears only once everything is logged.

        Parameters
        ----------
        bundle
            What is released.
        mlflow_run_id
            The training run, whose experiment the model is then filed under.
        gates
            Their verdict in words.
        description
            Of the version, in Markdown; links to the run and the model's files are put under it.
        files
            More to keep beside the bundle, by name.
        """
        with self._translated(), tempfile.TemporaryDirectory(prefix="synspect-register-") as staging:
            _make_default(self.uri)
            flavour = _save_onnx_flavour(bundle, Path(staging) / "model")
            experiment = self._find_home(mlflow_run_id)
            model = self._client.create_logged_model(
                experiment, name=self.name, source_run_id=mlflow_run_id, model_type="generator"
            )
            self._client.log_model_artifacts(model.model_id, str(flavour))
            self._client.log_model_artifacts(model.model_id, str(bundle.path), BUNDLE_NAME)
            self._log_files(model.model_id, files or {})
            self._client.finalize_logged_model(model.model_id, "READY")
            self._ensure_model()
            created = self._client.create_model_version(
                self.name,
                source=f"models:/{model.model_id}",
                run_id=mlflow_run_id,
                model_id=model.model_id,
                description=f"{description}\n\n{_links(experiment, model.model_id, mlflow_run_id)}".strip(),
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

    def user_name(self) -> str | None:
        """Return whom MLflow takes us for, where it asks: from its environment or its file of credentials."""
        from mlflow.utils.credentials import read_mlflow_creds  # noqa: PLC0415 — MLflow takes seconds to import

        return read_mlflow_creds().username or None

    def versions(self) -> list[VersionFacts]:
        """Return every version, oldest first; an empty list where nothing was registered yet."""
        with self._translated():
            model = self._find_model()  # search_model_versions leaves the aliases out
            found = self._client.search_model_versions(f"name='{self.name}'") if model is not None else []
            facts = [_to_facts(version, dict(model.aliases)) for version in found]
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
        if MANIFEST_TAG not in facts.tags:
            raise _not_ours(self.name, version)
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

    def log_files(self, version: str, files: Mapping[str, bytes]) -> None:
        """Keep more files beside a version's bundle, by name; the bundle itself never changes."""
        facts = self.find_version(version)
        if facts.logged_model_id is None:
            raise _not_ours(self.name, version)
        with self._translated():
            self._log_files(facts.logged_model_id, files)

    def read_model(self) -> ModelFacts:
        """Return the model's aliases and tags as they are at one moment; empty where nothing was registered yet."""
        with self._translated():
            model = self._find_model()
        if model is None:
            return ModelFacts(aliases={}, tags={})
        return ModelFacts(
            aliases={alias: str(version) for alias, version in model.aliases.items()}, tags=dict(model.tags)
        )

    def alias_version(self, alias: str) -> str | None:
        """Return the version an alias points to, if any."""
        return self.read_model().aliases.get(alias)

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

    def _log_files(self, logged_model_id: str, files: Mapping[str, bytes]) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory(prefix="synspect-files-") as directory:
            for name, content in files.items():
                path = Path(directory) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_model_artifacts(logged_model_id, directory)

    def _find_home(self, mlflow_run_id: str | None) -> str:
        """Return the experiment a model is filed under: its run's, else one for bundles that came without a run."""
        if mlflow_run_id is not None:
            return str(self._client.get_run(mlflow_run_id).info.experiment_id)
        return find_experiment(self._client, self.uri, _EXPERIMENT)

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
            with _made_meanwhile():
                self._client.create_registered_model(self.name, description=_DESCRIPTION)

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
        what, do = _explain(error)
        raise RegistryError(f"MLflow at {public_uri(uri)} cannot be used: {what}; {do or advice}") from error


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
    if experiment is None:
        with _made_meanwhile():
            client.create_experiment(name, artifact_location=_choose_artifact_location(uri))
        experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"experiment {name!r} was deleted in MLflow; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return str(experiment.experiment_id)


def _choose_artifact_location(uri: str) -> str | None:
    """Return where a database without a server keeps its files, not in whatever directory the command was started."""
    if uri.startswith(_SQLITE):
        return str(Path(uri.removeprefix(_SQLITE)).absolute().with_name(_ARTIFACTS))
    return None if uri.startswith("http") else str(home_directory() / _ARTIFACTS)  # a server knows its own place


@contextmanager
def _made_meanwhile() -> Iterator[None]:
    """Pass where another process made the same thing in between."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 — MLflow takes seconds to import

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _links(experiment: str, logged_model_id: str, mlflow_run_id: str | None) -> str:
    """Return links that work inside MLflow's own pages, whatever address they are served at."""
    model = f"#/experiments/{experiment}/models/{logged_model_id}"
    links = [f"[card, figures, report and bundle]({model}/artifacts)", f"[logged model]({model})"]
    if mlflow_run_id is not None:
        links.insert(0, f"[training run](#/experiments/{experiment}/runs/{mlflow_run_id})")
    return " · ".join(links)


def _not_ours(name: str, version: str) -> BundleError:
    return BundleError(
        f"version {version} of {name} holds no bundle, for it was not registered by synspect; use `synspect release`"
    )


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
        mlflow_run_id=version.run_id or None,
        logged_model_id=_find_logged_model(version.source or ""),
    )


def _find_logged_model(source: str) -> str | None:
    # MLflow's database keeps no model id of a version but in its source.
    found = re.fullmatch(r"models:/(m-[0-9a-f]+)", source)
    return found[1] if found else None


def public_uri(uri: str) -> str:
    """Return a URI without user and password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _explain(error: BaseException) -> tuple[str, str | None]:
    """Return in one line what went wrong, and what to do where that is known better than by the caller."""
    text = str(error).strip()
    if "error code 401" in text:
        return "it wants a user and a password", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if "error code 403" in text:
        return (
            "it refuses (403)",
            "ask for the permission, or start it with --allowed-hosts that names this address",
        )
    if isinstance(error, ImportError) and "psycopg" in text:
        return "the driver is missing", "pip install psycopg2-binary, and write the address postgresql+psycopg2://..."
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted", "set MLFLOW_TRACKING_SERVER_CERT_PATH to the authority's"
    if "Max retries exceeded" in text or "timed out" in text:
        return "it does not answer", None
    return public_uri(text.splitlines()[0] if text else type(error).__name__)[:300], None
