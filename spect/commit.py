"""Which code this is: the commit of the source tree that a result was made with."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """Commit of the code, "-dirty" where tracked files differ; "unknown" outside a repository."""
    code = Path(__file__).parent
    try:
        commit = _git("rev-parse", "HEAD", at=code)
        changed = _git("status", "--porcelain", "--untracked-files=no", at=code)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str, at: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True)
    return done.stdout.strip()
