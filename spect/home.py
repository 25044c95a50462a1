"""Where synspect keeps what it makes on this machine: runs, the local registry, what it follows."""

import os
from pathlib import Path


def home_directory() -> Path:
    """Return SYNSPECT_HOME, or ~/.synspect; nothing is created here."""
    return Path(os.environ.get("SYNSPECT_HOME") or "~/.synspect").expanduser().absolute()


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database under the home directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home_directory() / 'mlflow.db'}"
