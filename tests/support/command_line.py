"""`synspect ...` as a shell runs it, in this process: through `main`, with its exit code and both of its streams."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

import synspect.cli


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit_code: int
    output: str
    error: str

    @property
    def sentence(self) -> str:
        """What the last line on standard error says was wrong, in one line."""
        lines = self.error.splitlines() or [""]
        assert lines[-1].startswith("error: "), self.error
        return lines[-1].removeprefix("error: ")


def run_synspect(*words: object, columns: int = 220) -> Ended:
    """Run a command to its end on a terminal of so many columns."""
    output, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(error):
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "argv", ["synspect", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            synspect.cli.main()
    return Ended(exit_code=_code(stop.value), output=output.getvalue(), error=error.getvalue())


def _code(stop: SystemExit) -> int:
    return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
