"""The model registry in MLflow; beside training.tracking.mlflow, MLflow is met here alone."""
