"""What a released model is: bundle, gates, promotion, and the MLflow registry that holds it."""
