"""Where a training run reports: files, and MLflow, which may be away."""
