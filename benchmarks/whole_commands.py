"""What whole commands take on this machine, beside their limits: measured, limit, verdict.

    python benchmarks/whole_commands.py                       # 4 minutes on two quiet cores
    python benchmarks/whole_commands.py --only help --only quantifier --json commands.json

Every command is run as a user runs it, in a process of its own on all cores, in a directory that is removed at the end;
`help` is the median of ten processes, the others run once. What a command needs (cohorts, DICOM files) is made before
its time begins. All scans are simulated: for `import` they are written as DICOM by the product's own writer, each with
a patient's number that no synthetic slice has, since an import refuses synthetic slices.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from commands.needs import SLICES, Needs
from quantifier import best_time_ms, make_slices
from rich.progress import Progress
from side_by_side import check_places, describe_machine, pinned, print_machine, warn_unless_quiet

from spect.atomic import write_atomically
from spect.errors import SynspectError
from spect.quantify import quantify
from spect.slices import FIELD_MM
from synspect.source import find_reference_bundle

HELP_PROCESSES = 10
QUANTIFIED_MATRIX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One figure that has a limit."""

    name: str
    about: str
    most: float
    unit: str
    measure: Callable[[Needs], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was measured of a limit."""

    name: str
    about: str
    measured: float
    most: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it kept its limit."""
        return self.measured <= self.most


def measure_help(needs: Needs) -> float:
    return statistics.median(needs.time_command("--help") for _ in range(HELP_PROCESSES))


def measure_simulation(needs: Needs) -> float:
    return needs.paper[1]


def measure_import(needs: Needs) -> float:
    place, labels = needs.dicom
    return needs.time_command("cohort", "import", place, needs.directory / "imported", "--labels", labels)


def measure_panel(needs: Needs) -> float:
    report = needs.directory / "report.html"
    unseen, (training, _) = needs.unseen, needs.paper
    return needs.time_command(
        "validate", find_reference_bundle(), unseen, "--train", training, "--quick", "--report", report
    )


def measure_quantifier(_needs: Needs) -> float:
    counts = make_slices(np.random.default_rng(0), QUANTIFIED_MATRIX)
    with pinned({min(os.sched_getaffinity(0))}):
        return best_time_ms(quantify, counts, FIELD_MM / QUANTIFIED_MATRIX)


LIMITS = (
    Limit(name="help", about="synspect --help", most=0.3, unit="s", measure=measure_help),
    Limit(
        name="quantifier",
        about=f"quantifier, a slice of matrix {QUANTIFIED_MATRIX}, one core",
        most=3,
        unit="ms",
        measure=measure_quantifier,
    ),
    Limit(
        name="simulate",
        about="cohort simulate --preset paper (938 slices)",
        most=90,
        unit="s",
        measure=measure_simulation,
    ),
    Limit(
        name="import",
        about=f"cohort import of {SLICES:,} DICOM files of a slice",
        most=20,
        unit="s",
        measure=measure_import,
    ),
    Limit(
        name="panel",
        about="validate --quick --train (944 slices against 944)",
        most=120,
        unit="s",
        measure=measure_panel,
    ),
)


def main() -> int:
    arguments = _parse()
    load = os.getloadavg()[0]
    wanted = [limit for limit in LIMITS if not arguments.only or limit.name in arguments.only]
    try:
        verdicts = _measure(wanted)
    except SynspectError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    machine = describe_machine()
    print_machine(machine)
    print(to_table(verdicts))
    print(f"\nload average {load:.2f} at the start, before commands that use every core")
    warn_unless_quiet(load)
    if arguments.json:
        figures = [asdict(verdict) | {"is_met": verdict.is_met} for verdict in verdicts]
        kept = {"machine": machine, "load_average": load, "commands": figures}
        write_atomically(arguments.json, json.dumps(kept, indent=2).encode())
    return 0


def _measure(limits: list[Limit]) -> list[Verdict]:
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="synspect-commands-") as name, Progress(transient=True) as progress:
        needs = Needs(Path(name))
        task = progress.add_task("", total=len(limits))
        for limit in limits:
            progress.update(task, description=limit.about)
            measured = limit.measure(needs)
            verdicts.append(
                Verdict(name=limit.name, about=limit.about, measured=measured, most=limit.most, unit=limit.unit)
            )
            progress.advance(task)
    return verdicts


def to_table(verdicts: list[Verdict]) -> str:
    """Return verdicts as Markdown."""
    rows = []
    for one in verdicts:
        told = "met" if one.is_met else "missed"
        rows.append(f"| {one.about} | {one.measured:.3g} {one.unit} | {one.most:g} {one.unit} | {told} |")
    return "\n".join(["| command | measured | limit | verdict |", "| --- | ---: | ---: | --- |", *rows])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[limit.name for limit in LIMITS], help="may be repeated")
    parser.add_argument("--json", type=Path, help="file to keep every figure in")
    arguments = parser.parse_args()
    check_places(parser, arguments.json)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
