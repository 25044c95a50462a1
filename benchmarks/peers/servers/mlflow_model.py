"""The model that `mlflow models serve` loads, as MLflow's models from code."""

import base64

import mlflow
from peers.servers.released import Order, Released


class Slices(mlflow.pyfunc.PythonModel):
    """MLflow answers in JSON, so npz goes as base64; it has no batching across requests."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Load the model once."""
        del context
        self.released = Released()

    def predict(self, model_input: list[Order]) -> list[str]:
        """Answer each order of one request."""
        return [base64.b64encode(npz).decode() for npz in self.released.answer_all(model_input)]


mlflow.models.set_model(Slices())
