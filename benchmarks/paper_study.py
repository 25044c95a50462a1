"""Repeat the reference study (Werner et al. 2022) on a cohort: author's code and ours, datasets A and B, ablations.

    python benchmarks/paper_study.py run STUDY --train cohorts/paper --test cohorts/test
    python benchmarks/paper_study.py report STUDY

`run` trains and measures one arm after the other, each with equal images seen; it can be killed at any moment, and the
same command goes on. Started once more beside itself it takes the arms that nobody is at: one on each core, with
OMP_NUM_THREADS=1. `report` writes report.md and its figures from what is done. docs/paper-study.md says how to read it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.arms import Material, finish_arm, load_material
from study.estimate import PAPER_SPEED, print_plan
from study.plan import ABLATIONS, Arm, Scale, build_plan
from study.progress import GO_ON, advance
from study.report import write_report
from study.results import ArmResult, Study

from spect.errors import ConfigurationError, InputError, SynspectError

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        if options.command == "report":
            print(write_report(Study(options.study)))
            return 0
        return _run(options)
    except SynspectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print(GO_ON, file=sys.stderr)
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    study, scale = Study(options.study), Scale(matrix=options.matrix, width=options.width, images=options.images)
    plan = build_plan(seeds=options.seeds, ablations=options.ablation or ABLATIONS, only=options.only)
    for arm in plan:
        arm.config(scale)  # a setting that cannot be is said before anything is trained
    if not options.images_per_second > 0:
        raise ConfigurationError(f"--images-per-second must be positive, got {options.images_per_second}")
    material = load_material(options.train, options.test, is_quick=options.quick, workers=options.workers)
    if options.dry_run:
        study.check_same(material.describe(scale))
        print_plan(study, plan, scale, images_per_second=options.images_per_second)
        return 0
    study.open_for(material.describe(scale))
    for number, arm in enumerate(plan, start=1):
        if not _advance(study, arm, scale, material, title=f"{number}/{len(plan)} {arm.name}"):
            return _INTERRUPTED
    print(write_report(study))
    return 0


def _advance(study: Study, arm: Arm, scale: Scale, material: Material, *, title: str) -> bool:
    def keep(result: ArmResult) -> None:
        study.save(result)
        _say(result)

    return advance(
        arm.name,
        title=title,
        images=scale.images,
        lock=study.lock_path(arm),
        result_path=study.result_path(arm),
        finish=lambda bar: finish_arm(study, arm, scale, material, training=bar, measuring=bar.measure),
        keep=keep,
    )


def _say(result: ArmResult) -> None:
    about = result.outcome if result.reason is None else f"{result.outcome}: {result.reason}"
    hours = f"{result.training_hours:.2f} h of training, {result.validation_hours:.2f} h of validation"
    print(f"{result.arm.name}: {about}; {hours}", flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="train and measure what is not done yet",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Example: paper_study.py run studies/evening --train cohorts/paper --test cohorts/test --dry-run",
    )
    run.add_argument("study", type=Path, help="directory of the study; made, or gone on with")
    run.add_argument("--train", type=Path, required=True, help="cohort with training and selection patients")
    run.add_argument("--test", type=Path, required=True, help="cohort of patients never trained on")
    run.add_argument("--matrix", type=int, default=64, help="pixels a side of all arms: 64 or 128")
    run.add_argument("--width", type=int, default=16, help="channels at full resolution of all arms")
    run.add_argument("--images", type=int, default=16_000, help="images seen by every arm")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="the ablations run with the first")
    run.add_argument("--ablation", action="append", metavar="NAME=VALUE", help="instead of the built-in ones; repeat")
    run.add_argument("--only", action="append", default=[], metavar="GLOB", help="arms by name, as 'A-*'; repeat")
    run.add_argument("--quick", action="store_true", help="quick validation: proves the path, nothing else")
    run.add_argument("--workers", type=int, help="processes that measure; one a core where not said")
    run.add_argument("--dry-run", action="store_true", help="print the plan with estimated hours and stop")
    run.add_argument(
        "--images-per-second",
        type=float,
        default=22.0,
        help=f"of ours, for the estimate before an arm is done; the author's code is taken at {PAPER_SPEED:g} of it",
    )
    report = commands.add_parser("report", help="write report.md and figures from what is done")
    report.add_argument("study", type=Path, help="directory of the study")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
