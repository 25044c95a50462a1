"""Fuzz by hand: `python -m tests.fuzz.run --format nifti --count 2000 --seed 0 [--only 137] [--keep DIR]`."""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.corpus import FORMATS, build_case
from tests.fuzz.harness import GIB, Harness, Result
from tests.fuzz.importing import import_files


def main() -> int:
    """Run the cases asked for, print a table for each format, and return 1 where one ended badly."""
    arguments = _parser().parse_args()
    bad = 0
    for format_name in arguments.format or list(FORMATS):
        indices = [arguments.only] if arguments.only is not None else list(range(arguments.count))
        results, started = {}, time.monotonic()
        with Harness() as harness:
            for index in indices:
                results[index] = harness.run_one(build_case(format_name, arguments.seed, index), import_files)
                _tell(format_name, arguments.seed, index, results[index], always=arguments.only is not None)
                if not results[index].good and arguments.keep is not None:
                    build_case(format_name, arguments.seed, index).write(arguments.keep / f"{format_name}-{index}")
        _summarise(format_name, results, time.monotonic() - started)
        bad += sum(not result.good for result in results.values())
    return int(bad > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--format", action="append", choices=list(FORMATS), help="again for another; all without it")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one case to run")
    parser.add_argument("--keep", type=Path, help="folder for the files of cases that end badly")
    return parser


def _tell(format_name: str, seed: int, index: int, result: Result, *, always: bool) -> None:
    if result.good and not always:
        return
    how = build_case(format_name, seed, index).how
    words = result.words if always else " ".join(result.words.split())[-300:]
    taken = f"{result.cpu_seconds:.2f} s, {result.peak_bytes / 2**20:.0f} MiB"
    sys.stdout.write(f"{format_name} {index} ({how}): {result.outcome.upper()}, {taken}: {words}\n")
    sys.stdout.flush()


def _summarise(format_name: str, results: dict[int, Result], seconds: float) -> None:
    counted = Counter(result.outcome for result in results.values())
    slowest = max(results, key=lambda index: results[index].cpu_seconds)
    largest = max(results, key=lambda index: results[index].peak_bytes)
    outcomes = ", ".join(f"{outcome} {count}" for outcome, count in counted.most_common())
    sys.stdout.write(
        f"{format_name}: {len(results)} cases in {seconds:.0f} s: {outcomes}; "
        f"slowest {results[slowest].cpu_seconds:.2f} s (case {slowest}), "
        f"largest {results[largest].peak_bytes / GIB:.2f} GiB (case {largest})\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
