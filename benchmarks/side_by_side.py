"""Processes of one measurement, each pinned to its cores: the load, what is loaded, and the machine they share."""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUIET_LOAD = 0.5
_PACKAGES = ("bentoml", "numpy", "onnxruntime-gpu", "starlette", "uvicorn")

Figures = dict[str, Any]


@contextlib.contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Pin this process, so that what it starts meanwhile is pinned as well."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_load(url: str, cores: set[int], **plan: float | str) -> Figures:
    """Put a load of `serving_load.py` on a service from cores of its own, and return what it saw."""
    return run_scripts(["serving_load.py"], cores, {"url": url, **plan})[0]


def run_scripts(scripts: Sequence[str], cores: set[int], plan: Figures) -> list[Figures]:
    """Run scripts of this directory side by side on some cores; return the last line of each, which is JSON."""
    with contextlib.ExitStack() as children:
        with pinned(cores):
            started = [children.enter_context(_start(script, plan)) for script in scripts]
        return [_read(child) for child in started]


@contextlib.contextmanager
def _start(script: str, plan: Figures) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / script), json.dumps(plan)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:  # this process was told to stop
                child.kill()


def _read(child: subprocess.Popen[str]) -> Figures:
    out, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"{child.args[1]} ended with exit code {child.returncode}")
    figures: Figures = json.loads(out.splitlines()[-1])
    return figures


def describe_machine() -> Figures:
    """Return processor, system and versions, as they stand beside every figure."""
    return {
        "processor": _name_processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def print_machine(machine: Figures) -> None:
    """Print what `describe_machine` found, and the command."""
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}")
    print(", ".join(f"{name} {number}" for name, number in machine["packages"].items()))
    print(" ".join(["python", *sys.argv]) + "\n")


def warn_unless_quiet(load: float) -> None:
    """Say that figures are not to be quoted where something else ran at the start."""
    if load > QUIET_LOAD:
        print(f"load {load:.1f} at the start: something else ran here, and these figures are not to be quoted")


def parse_cores(text: str) -> set[int]:
    """Read cores such as 0 or 0,2."""
    try:
        return {int(number) for number in text.split(",")}
    except ValueError:
        raise argparse.ArgumentTypeError(f"cores are numbers such as 0 or 0,2, got {text!r}") from None


def check_cores(parser: argparse.ArgumentParser, server_cores: set[int], load_cores: set[int]) -> None:
    """End with one sentence where the server and the load cannot have these cores."""
    if server_cores & load_cores:
        parser.error("the server and the load need cores of their own")
    if missing := (server_cores | load_cores) - os.sched_getaffinity(0):
        parser.error(f"this process may not run on core {min(missing)}; name others")


def check_places(parser: argparse.ArgumentParser, *paths: Path | None) -> None:
    """End with one sentence where a file could not be written: now, not after the measurement."""
    for path in filter(None, paths):
        if not path.parent.is_dir():
            parser.error(f"{path.parent} is no directory; make it first")
        if path.is_dir():
            parser.error(f"{path} is a directory; name a file")


def _name_processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
