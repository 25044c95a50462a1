"""The released directory: its manifest, its verification, and the generator inside it; knows no MLflow."""
