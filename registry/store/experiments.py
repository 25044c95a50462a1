"""Experiments in MLflow: found or made, with their files beside the database where no server keeps them."""

from pathlib import Path
from typing import TYPE_CHECKING

from registry.store.connection import SQLITE, check_answer, made_meanwhile
from spect.errors import RegistryError
from spect.home import home_directory

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ARTIFACTS = "mlartifacts"


def find_experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """Return the id of an experiment, made where there is none."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        with made_meanwhile():
            client.create_experiment(name, artifact_location=_choose_artifact_location(uri))
        experiment = client.get_experiment_by_name(name)
    check_answer(uri, "experiment", asked=name, got=experiment.name)
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"experiment {name!r} was deleted in MLflow; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return str(experiment.experiment_id)


def _choose_artifact_location(uri: str) -> str | None:
    """Return where a database without a server keeps its files, not in whatever directory the command was started."""
    if uri.startswith(SQLITE):
        return str(Path(uri.removeprefix(SQLITE)).absolute().with_name(_ARTIFACTS))
    return None if uri.startswith("http") else str(home_directory() / _ARTIFACTS)  # a server knows its own place
