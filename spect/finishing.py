"""The last step before slices are written: measure what was asked for, and resample to the matrix asked for."""

from dataclasses import replace

from spect.quantify import quantify
from spect.slices import SyntheticBatch, resample_to_matrix

MEASURED = ("mean_counts", "left_right_ratio")


def finish_batch(batch: SyntheticBatch, *, measure: bool, matrix: int | None) -> SyntheticBatch:
    """Return the batch measured where a quantity was asked for, and resampled where another matrix was.

    What is measured is measured of the slices as generated. Each slice is finished by itself, so a batch may be
    finished in parts. Raises `QuantificationError` for a slice without a brain outline.
    """
    if measure:
        quantities = quantify(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm)
        batch = replace(batch, measured={name: getattr(quantities, name) for name in MEASURED})
    native = batch.counts.shape[-1]
    if matrix is None or matrix == native:
        return batch
    spacing = batch.pixel_spacing_mm * native / matrix
    return replace(batch, counts=resample_to_matrix(batch.counts, matrix), pixel_spacing_mm=spacing)
