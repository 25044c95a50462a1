"""`mlflow models serve` with a pyfunc model: `python serve_mlflow.py PORT`, or `... save` once before."""

import os
import runpy
import sys
from pathlib import Path

import mlflow

from synspect.lifeline import end_with_parent

MODEL = Path(os.environ["PEER_SCRATCH"]) / "mlflow-model"


def save() -> None:
    """Save the model; not part of its start."""
    mlflow.pyfunc.save_model(MODEL, python_model=str(Path(__file__).with_name("mlflow_model.py")), pip_requirements=[])


def serve(port: str) -> None:
    """Serve in this environment with one worker; 120 s is the deadline of the service."""
    end_with_parent()
    options = ["--env-manager", "local", "--workers", "1", "--timeout", "120", "--host", "127.0.0.1", "--port", port]
    sys.argv = ["mlflow", "models", "serve", "--model-uri", str(MODEL), *options]
    runpy.run_module("mlflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "save":
        save()
    else:
        serve(sys.argv[1])
