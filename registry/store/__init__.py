"""The model registry in MLflow; beside training.tracking, MLflow is met here alone."""
