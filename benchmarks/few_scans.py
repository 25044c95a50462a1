"""Ask whether synthetic slices help where scans are few: a tenth of them, and a generator trained on that tenth.

    python benchmarks/few_scans.py run WORK --train cohorts/paper --test cohorts/test
    python benchmarks/few_scans.py report WORK

For each seed a tenth of the patients is kept and written as a cohort, `brain64` is trained on it, and the classifier of
the validation panel is taught by that tenth, by it and synthetic slices, by it and Gaussian ones, by all scans, and by
synthetic slices alone; all are judged on patients never trained on. `run` can be killed at any moment, and the same
command goes on; started once more beside itself it takes the seeds that nobody is at, one on each core. `report` prints
the gain with its interval and writes it to report.md. docs/paper-study.md says how to read it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.plan import Scale
from study.progress import GO_ON, advance
from tenth.estimate import print_plan
from tenth.report import write_report
from tenth.results import MATRIX, SeedResult, TenthRecord, Tenths
from tenth.scans import Scans, load_scans, plan_tenth
from tenth.seeds import finish_seed

from spect.errors import ConfigurationError, InputError, SynspectError
from training.validation.lessons import FEWEST

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        if options.command == "report":
            _report(Tenths(options.work))
            return 0
        return _run(options)
    except SynspectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print(GO_ON, file=sys.stderr)
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    _check(options)
    tenths, scans = Tenths(options.work), load_scans(options.train, options.test, workers=options.workers)
    scale = Scale(matrix=MATRIX, width=options.width, images=options.images)
    record = scans.describe(scale, principal_scores=options.principal_scores, slices=options.slices)
    record.config()  # a setting that cannot be is said before anything is trained
    tenths.check_same(record)
    cuts = {seed: plan_tenth(scans, record, seed)[1] for seed in options.seeds}
    if options.dry_run:
        print_plan(tenths, record, cuts, images_per_second=options.images_per_second)
        return 0
    tenths.open_for(record)
    for number, seed in enumerate(options.seeds, start=1):
        if not _advance(tenths, seed, record, scans, title=f"{number}/{len(options.seeds)} seed {seed}"):
            return _INTERRUPTED
    _report(tenths)
    return 0


def _check(options: argparse.Namespace) -> None:
    seeds = options.seeds
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ConfigurationError(f"seeds must be different whole numbers of at least 0, got {seeds}")
    if options.slices < FEWEST:
        raise ConfigurationError(f"--slices must be at least {FEWEST} a condition, got {options.slices}")
    if options.workers is not None and options.workers < 1:
        raise ConfigurationError(f"--workers must be at least 1, got {options.workers}")
    if not options.images_per_second > 0:
        raise ConfigurationError(f"--images-per-second must be positive, got {options.images_per_second}")


def _advance(tenths: Tenths, seed: int, record: TenthRecord, scans: Scans, *, title: str) -> bool:
    def keep(result: SeedResult) -> None:
        tenths.save(result)
        _say(result)

    return advance(
        f"seed {seed}",
        title=title,
        images=record.scale.images,
        lock=tenths.lock_path(seed),
        result_path=tenths.result_path(seed),
        finish=lambda bar: finish_seed(tenths, seed, record, scans, training=bar, measuring=bar.measure),
        keep=keep,
    )


def _say(result: SeedResult) -> None:
    about = result.outcome if result.reason is None else f"{result.outcome}: {result.reason}"
    accuracies = ", ".join(f"{name} {lesson.balanced_accuracy:.3f}" for name, lesson in result.lessons.items())
    hours = f"{result.training_hours:.2f} h of training, {result.measuring_hours:.2f} h of measuring"
    print(f"seed {result.seed}: {about}; balanced accuracy {accuracies}; {hours}", flush=True)


def _report(tenths: Tenths) -> None:
    path = write_report(tenths)
    print(path.read_text(encoding="utf-8"))
    print(path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="cut, train and judge the seeds that are not done yet",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Example: few_scans.py run studies/few --train cohorts/paper --test cohorts/test --dry-run",
    )
    run.add_argument("work", type=Path, help="directory of cohorts, runs and results; made, or gone on with")
    run.add_argument("--train", type=Path, required=True, help="cohort with training and selection patients")
    run.add_argument("--test", type=Path, required=True, help="cohort of patients never trained on")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="a cut and a training each")
    run.add_argument("--images", type=int, default=8_000, help="images seen by every training")
    run.add_argument("--width", type=int, default=16, help="channels at full resolution")
    run.add_argument(
        "--principal-scores", type=int, default=8, help="scores asked of the generator: few slices fit few"
    )
    run.add_argument("--slices", type=int, default=500, help="synthetic, and Gaussian, slices a condition")
    run.add_argument("--workers", type=int, help="processes that measure; one a core where not said")
    run.add_argument("--dry-run", action="store_true", help="print the cuts with estimated hours and stop")
    run.add_argument("--images-per-second", type=float, default=22.0, help="for the estimate before a seed is done")
    report = commands.add_parser("report", help="print and write report.md from what is done")
    report.add_argument("work", type=Path, help="directory that `run` was given")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
