"""What a worker no longer needs goes back to the system."""

import subprocess
import sys

import pytest

# Answers of 4 MiB pieces, each followed by something small that stays: in a heap, it would hold the pieces' place.
_SCRIPT = """
import sys
from pathlib import Path

from serving.memory import give_back_large_blocks


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


if sys.argv[1] == "asked":
    give_back_large_blocks()
del [bytes(16 * 2**20)][0]  # from now on glibc by itself would keep blocks of this size in its heap
before = resident_mib()
pieces, kept = [], []
for _ in range(20):
    pieces.append(b"x" * (4 * 2**20))
    kept.append(b"y" * 10_000)
del pieces
print(round(resident_mib() - before))
"""


def held_mib(how: str) -> int:
    """Return the MiB that a process holds after it let go of 80."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_large_blocks_leave_the_process_when_they_are_free() -> None:
    assert held_mib("asked") < 10
