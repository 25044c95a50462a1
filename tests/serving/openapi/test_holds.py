"""A real server against its own description: schemathesis asks what the description allows, and what it does not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.openapi.document import build_openapi
from synspect.server_process import ServerProcess

pytestmark = [pytest.mark.e2e]

CONFIG = Path(__file__).with_name("schemathesis.toml")
RUN = "from schemathesis.cli import schemathesis; schemathesis()"


def run_cases(server: ServerProcess, directory: Path, *arguments: str) -> tuple[int, str]:
    """Run schemathesis; return how many cases passed, and what it said."""
    command = [sys.executable, "-c", RUN, "--config-file", str(CONFIG), "run", f"{server.url}/openapi.json"]
    run = subprocess.run(
        [*command, "--seed", "7", "--request-timeout", "60", "--no-shrink", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    generated, passed = map(int, re.search(r"(\d+) generated, (\d+) passed", run.stdout).groups())
    assert generated == passed
    return passed, run.stdout


@pytest.mark.timeout(240)
def test_every_operation_keeps_what_the_description_promises(server: ServerProcess, log: Path) -> None:
    passed, said = run_cases(server, log.parent, "--max-examples", "30", "--phases", "examples,fuzzing")
    assert passed > 80
    assert f"Tested: {len(build_openapi()['paths']) - 1}" in said  # all but the description itself, which it has read
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_cases_find_no_failure(server: ServerProcess, log: Path) -> None:
    passed, _ = run_cases(server, log.parent, "--max-examples", "700")
    assert passed >= 2000
    assert "Traceback" not in log.read_text()
