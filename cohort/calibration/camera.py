"""How wide a point reads through the camera: its full width at half maximum in the plane."""

import numpy as np

from cohort.simulator.anatomy import Array
from cohort.simulator.imaging import Camera

PLANES = 7


def measure_point_fwhm_mm(camera: Camera, *, row_mm: float, column_mm: float) -> float:
    """Measure a point in air at a place from the middle of the field: the mean of its widths across and down.

    The line through all planes of the slab stands for the point: the in-plane width is the same.
    """
    row, column = (round(place / camera.pixel_spacing_mm + (camera.matrix - 1) / 2) for place in (row_mm, column_mm))
    slab = np.zeros((PLANES, camera.matrix, camera.matrix), dtype=np.float32)
    slab[:, row, column] = 1
    image = camera.reconstruct(camera.project(slab, np.zeros((camera.matrix, camera.matrix), dtype=np.float32)))
    # The source is a pixel, not a point: a square's own width is taken away in quadrature.
    own = 8 * np.log(2) / 12
    widths = [_measure_fwhm(profile, at) for profile, at in ((image[row], column), (image[:, column], row))]
    return float(np.sqrt(np.mean(widths) ** 2 - own)) * camera.pixel_spacing_mm


def _measure_fwhm(profile: Array, peak: int) -> float:
    """Width in pixels between the half maxima on both sides, linear between pixels."""
    half = profile[peak] / 2
    reach = min(peak, len(profile) - 1 - peak)
    steps = np.arange(reach + 1)
    sides = [profile[peak : peak + reach + 1], profile[peak - reach : peak + 1][::-1]]
    width = 0.0
    for side in sides:
        below = int(np.argmax(side < half))
        width += float(np.interp(half, side[[below, below - 1]], steps[[below, below - 1]]))
    return width
