"""Where synspect keeps what it makes on this machine: runs, the local registry, what it follows."""

import os
from pathlib import Path

from spect.errors import ConfigurationError


def home_directory() -> Path:
    """Return SYNSPECT_HOME, or ~/.synspect; nothing is created here."""
    return expand_path(os.environ.get("SYNSPECT_HOME") or "~/.synspect", "SYNSPECT_HOME")


def expand_path(named: str, setting: str) -> Path:
    """Return the absolute path that a setting names; raise `ConfigurationError` where ~ leads nowhere."""
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        raise ConfigurationError(f"{setting} is {named}, and there is no such home; write the whole path") from None


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database under the home directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home_directory() / 'mlflow.db'}"
