"""Width and matrix against operations: what each size costs a slice, and what its panel says of it.

    python benchmarks/size_curve.py STUDY [STUDY ...] --plot curve.png

A point is a study of `paper_study.py` with a measured arm A-ours; its seeds are dots. Studies must share cohorts,
images seen and validation. Operations are counted from an untrained generator of that size in its released form.
docs/performance.md says how to run the studies and how to read the curve.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from curve.picture import draw_curve
from curve.points import read_points
from curve.table import tabulate
from side_by_side import check_places

from spect.atomic import write_atomically
from spect.errors import SynspectError
from training.presets import preset
from training.validation.figures.plots import to_png

REFERENCE = "brain64"  # preset of the reference model


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        points = read_points(options.studies)
    except SynspectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(tabulate(points), end="")
    if options.json:
        write_atomically(options.json, json.dumps([asdict(point) for point in points], indent=2).encode())
    if options.plot:
        write_atomically(options.plot, to_png(draw_curve(points, preset(REFERENCE))))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="directory of a study")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the panel against operations into this PNG")
    options = parser.parse_args(arguments)
    check_places(parser, options.json, options.plot)
    return options


if __name__ == "__main__":
    sys.exit(main())
