"""The grid of samples that a run draws: what its colours mean is the cohort's unit."""

from dataclasses import replace

import numpy as np

from spect.conditions import CONDITIONS
from spect.formats.png import labelled_rows_png
from tests.support.tiny_training import tiny_prepared
from training.loop import GRID_SLICES, grid_png


def test_a_grid_is_labelled_with_the_unit_of_its_cohort() -> None:
    prepared = tiny_prepared()
    blood_flow = replace(prepared.train.description, intensity_unit="mL/100g/min")
    prepared = replace(prepared, train=replace(prepared.train, description=blood_flow))
    counts = np.random.default_rng(1).random((GRID_SLICES * len(CONDITIONS), 64, 64), dtype=np.float32)
    rows = {str(one): counts[GRID_SLICES * i : GRID_SLICES * (i + 1)] for i, one in enumerate(CONDITIONS)}

    drawn = grid_png(counts, prepared, images_seen=48)

    labelled = {
        unit: labelled_rows_png(rows, title="after 48 images", pixel_spacing_mm=4.0, unit=unit)
        for unit in ("mL/100g/min", "counts per pixel")
    }
    assert drawn == labelled["mL/100g/min"]
    assert drawn != labelled["counts per pixel"]
