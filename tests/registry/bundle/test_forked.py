"""A forked process drops the sessions it inherited as if they were its own, and does not wait for their threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.bundle.directory import Bundle

ROOT = Path(__file__).parents[3]
# Two threads: the session then waits for one when it ends. The alarm ends a child that waits for ever.
FORK = """
import os, signal, sys
from pathlib import Path
from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from spect.conditions import CONDITIONS

generator = ReleasedGenerator(load_bundle(Path(sys.argv[1])), threads=2)
expected = generator.generate(CONDITIONS[0], seed=7, count=64).counts
child = os.fork()
if child == 0:
    signal.alarm(30)
    {what_the_child_does}
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    "what_the_child_does",
    [
        "del generator",
        "sys.exit()  # the interpreter drops it",
        "assert (generator.generate(CONDITIONS[0], seed=7, count=64).counts == expected).all()",
    ],
)
def test_a_fork_drops_an_inherited_generator_ends_with_it_and_uses_it(
    tiny_bundle: Bundle, what_the_child_does: str
) -> None:
    code = FORK.format(what_the_child_does=what_the_child_does)

    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle.path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
