"""Slices of any camera fit into the one 256 mm field, in place and at the same intensity."""

import numpy as np
import pytest

from spect.errors import SlicesError
from spect.formats.field import fit_to_field


def _disc(rows: int, columns: int, spacing_mm: float, *, x_mm: float, radius_mm: float = 40) -> np.ndarray:
    y = (np.arange(rows) - (rows - 1) / 2) * spacing_mm
    x = (np.arange(columns) - (columns - 1) / 2) * spacing_mm
    distance = np.hypot(y[:, None], x[None] - x_mm)
    return np.clip((radius_mm - distance) / 10, 0, 1)[None].astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "columns", "spacing_mm"), [(64, 64, 4.0), (256, 200, 1.0), (90, 109, 2.5), (80, 80, 5.0)]
)
def test_a_disc_keeps_its_place_its_area_and_its_intensity(rows, columns, spacing_mm) -> None:
    fitted = fit_to_field(_disc(rows, columns, spacing_mm, x_mm=20), pixel_spacing_mm=spacing_mm, matrix=128)

    assert fitted.shape == (1, 128, 128)
    x = (np.arange(128) - 63.5) * 2
    assert (fitted[0].sum(axis=0) @ x) / fitted.sum() == pytest.approx(20, abs=0.3)
    assert fitted.sum() * 4 == pytest.approx(np.pi * (40**2 + 30**2 + 40 * 30) / 3, rel=0.02)
    assert fitted.max() == pytest.approx(1, abs=0.05)


def test_what_lies_outside_a_small_scan_is_zero() -> None:
    fitted = fit_to_field(np.ones((1, 40, 40), dtype=np.float32), pixel_spacing_mm=2.0, matrix=128)

    assert fitted[0, :40].sum() == 0
    assert fitted[0, 50:78, 50:78].min() == 1


def test_a_spacing_no_camera_has_is_refused() -> None:
    with pytest.raises(SlicesError, match="pixel spacing"):
        fit_to_field(np.ones((1, 4, 4), dtype=np.float32), pixel_spacing_mm=0.0, matrix=128)
