"""Draw the picture of the README: synthetic slices beside simulated ones, neither chosen.

    python benchmarks/readme_picture.py COHORT docs/images/slices.png

COHORT is a simulated cohort that the model was not trained on. The first slices of each condition are drawn.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from cohort.store import load_cohort
from spect.atomic import write_atomically
from spect.conditions import CONDITIONS
from spect.errors import CohortError
from spect.formats.png import labelled_rows_png
from spect.slices import resample_to_matrix
from synspect import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/reference"))
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    cohort = load_cohort(options.cohort)
    if cohort.description.source != "simulated":
        raise CohortError(f"{options.cohort} holds {cohort.description.source} scans; a picture to publish takes none")
    synthetic, simulated = {}, {}
    with Client(bundle=options.bundle) as client:
        for condition in CONDITIONS:
            batch = client.generate(condition.level, condition.pattern, count=options.columns, seed=options.seed)
            reference = cohort.select(condition=condition).counts[: options.columns]
            synthetic[str(condition)] = batch.counts
            simulated[str(condition)] = resample_to_matrix(reference, batch.counts.shape[-1])
    top = float(np.percentile(np.concatenate([*synthetic.values(), *simulated.values()]), 99.9))
    unit = cohort.description.intensity_unit
    sheets = [
        labelled_rows_png(
            simulated, title="Simulated, unseen in training", source="simulated", max_counts=top, unit=unit
        ),
        labelled_rows_png(synthetic, title=f"Synthetic, seed {options.seed}", max_counts=top, unit=unit),
    ]
    write_atomically(options.out, _side_by_side(sheets))


def _side_by_side(sheets: list[bytes]) -> bytes:
    images = [Image.open(io.BytesIO(sheet)).convert("RGB") for sheet in sheets]
    joined = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)), "white")
    left = 0
    for image in images:
        joined.paste(image, (left, 0))
        left += image.width
    buffer = io.BytesIO()
    joined.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
