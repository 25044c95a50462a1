"""The versions of one registered model: registered, read and downloaded; two aliases and an append-only log."""

import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from registry.bundle.directory import BUNDLE_NAME, Bundle, load_bundle
from registry.store.connection import (
    check_answer,
    made_meanwhile,
    make_default,
    open_client,
    public_uri,
    translated_errors,
)
from registry.store.experiments import find_experiment
from registry.store.facts import (
    ALIASES,
    CANDIDATE,
    DEFAULT_NAME,
    GATES_TAG,
    GENERATOR_TAG,
    MANIFEST_TAG,
    RUN_TAG,
    ModelFacts,
    VersionFacts,
    check_name,
    to_facts,
)
from registry.store.onnx_flavour import save_onnx_flavour
from spect.errors import BundleError, RegistryError, VersionError
from spect.home import tracking_uri as default_tracking_uri

_EXPERIMENT = "synspect-releases"
_OF_A_DAMAGED = "release it again, or promote another version"
_DESCRIPTION = (
    "Generators of synthetic 123I-IMP brain SPECT slices. **Research use only, never for diagnosis.**\n\n"
    "`candidate` is the newest release, `champion` what is served: move it with `synspect registry promote` and "
    "`rollback`, which ask the gates and keep the log in this model's tags. Moved by hand it is shown everywhere as "
    "promoted outside the gates."
)


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
        self.uri = tracking_uri or default_tracking_uri()
        self.name = check_name(name)
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
            self._find_model()  # nothing is sent to what is not MLflow
            make_default(self.uri)
            flavour = save_onnx_flavour(bundle, Path(staging) / "model")
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
            facts = [to_facts(version, dict(model.aliases)) for version in found]
            return sorted(facts, key=lambda fact: int(fact.version))

    def find_version(self, version: str) -> VersionFacts:
        """Return one version; raise `VersionError` naming those that exist."""
        known = {fact.version: fact for fact in self.versions()}
        if version not in known:
            there = ", ".join(known) or "none: release a run first"
            raise VersionError(
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
        bundle = self._load_downloaded(version, directory / BUNDLE_NAME)
        if bundle.manifest_sha256 != facts.tags.get(MANIFEST_TAG):
            raise BundleError(
                f"version {version} of {self.name} is not the bundle that was registered; {_OF_A_DAMAGED}"
            )
        return bundle

    def _load_downloaded(self, version: str, path: Path) -> Bundle:
        """Verify what was downloaded; what is wrong is told of the version, not of a copy that is about to go."""
        try:
            return load_bundle(path)
        except BundleError as error:
            said = str(error).replace(f"{path}/", "").replace(str(path), "its bundle")
            what = said.rpartition("; ")[0] or said
            raise BundleError(f"version {version} of {self.name} is damaged: {what}; {_OF_A_DAMAGED}") from None

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
            model = self._client.get_registered_model(self.name)
        except MlflowException as error:
            # A web server that is not MLflow answers 404 too, and MLflow then names the request.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" and "API request" not in str(error):
                return None
            raise
        check_answer(self.uri, "model", asked=self.name, got=model.name)
        return model

    def _ensure_model(self) -> None:
        if self._find_model() is None:
            with made_meanwhile():
                self._client.create_registered_model(self.name, description=_DESCRIPTION)

    def _translated(self) -> AbstractContextManager[None]:
        return translated_errors(self.uri, advice="start it, or set MLFLOW_TRACKING_URI")


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
