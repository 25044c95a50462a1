import numpy as np
import pytest

from cohort.anatomy import Array
from cohort.imaging import Camera


def make_disc(camera: Camera, radius_mm: float, level: float) -> Array:
    positions = (np.arange(camera.matrix) - (camera.matrix - 1) / 2) * camera.pixel_spacing_mm
    return (np.hypot(positions[:, None], positions) < radius_mm).astype(np.float32) * np.float32(level)


@pytest.mark.parametrize("matrix", [64, 128])
def test_a_disc_comes_back_at_its_own_level_and_place(matrix: int) -> None:
    camera = Camera(matrix=matrix)
    disc = make_disc(camera, 70, 40)
    image = camera.reconstruct(camera.project(camera.blur(disc)))
    assert image[make_disc(camera, 45, 1) > 0].mean() == pytest.approx(40, rel=0.01)
    far = (make_disc(camera, 120, 1) > 0) & (make_disc(camera, 95, 1) == 0)
    assert np.abs(image[far]).mean() < 0.4


@pytest.mark.parametrize(("row", "column"), [(64, 64), (50, 80), (90, 40)])
def test_a_point_reads_eight_to_twelve_millimetres_wide_where_it_is(row: int, column: int) -> None:
    camera = Camera()
    point = np.zeros((128, 128), dtype=np.float32)
    point[row, column] = 1
    image = camera.reconstruct(camera.project(camera.blur(point)))
    assert np.unravel_index(image.argmax(), image.shape) == (row, column)
    for profile, center in ((image[row], column), (image[:, column], row)):
        half = np.interp(0.5, profile[center : center + 8][::-1] / profile[center], np.arange(8)[::-1])
        assert 8 <= 2 * half * camera.pixel_spacing_mm <= 12


def test_a_ray_sums_what_it_crosses_in_every_view() -> None:
    camera = Camera()
    disc = make_disc(camera, 70, 1)
    np.testing.assert_allclose(camera.project(disc).sum(axis=1), disc.sum(), rtol=1e-4)


def test_outside_the_head_the_image_is_exactly_zero() -> None:
    camera = Camera()
    image = camera.acquire(make_disc(camera, 70, 40), 0.02, np.random.default_rng(0))
    assert image.min() == 0
    assert image[make_disc(camera, 100, 1) == 0].max() == 0


def test_four_times_the_counts_halve_the_noise() -> None:
    inside = make_disc(Camera(), 50, 1) > 0
    deviations = []
    for counts in (5e6, 20e6):
        camera = Camera(study_counts=counts)
        pair = [camera.acquire(make_disc(camera, 70, 40), 0.02, np.random.default_rng(seed)) for seed in (1, 2)]
        deviations.append(float((pair[0] - pair[1])[inside].std()))
    assert deviations[0] / deviations[1] == pytest.approx(2, rel=0.1)
    assert deviations[0] > 0.4  # a share of 40: noise that is there to be seen


def test_an_empty_slice_stays_empty() -> None:
    assert Camera().acquire(np.zeros((128, 128), dtype=np.float32), 0.0, np.random.default_rng(0)).max() == 0
