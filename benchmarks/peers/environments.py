"""Virtual environments of the peers: made once, kept in a directory, made anew when what they hold is changed."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from spect.errors import ServiceError

HERE = Path(__file__).parent
_STAMP = ".complete"
_INSTALL_SECONDS = 1800
_VENV_SECONDS = 120


def read_requirements(name: str) -> list[str]:
    """Return the lines of a requirements file that name a package."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def make_environment(requirements: str, directory: Path) -> Path:
    """Return the Python of an environment that holds a requirements file; raise `ServiceError` where pip fails."""
    path = directory / Path(requirements).stem
    digest = hashlib.sha256("\n".join([sys.version, *read_requirements(requirements)]).encode()).hexdigest()
    stamp, python = path / _STAMP, path / "bin" / "python"
    if stamp.exists() and stamp.read_text() == digest:
        return python
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "venv", "--without-pip", str(path)], _VENV_SECONDS)
    _run([*pip, "--requirement", str(HERE / requirements)], _INSTALL_SECONDS)
    stamp.write_text(digest)
    return python


def _run(command: list[str], seconds: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise ServiceError(f"its environment was not made within {seconds:g} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ServiceError(f"its environment cannot be made: {said[-1] if said else done.returncode}")
