from dataclasses import replace

import numpy as np
import pytest

from cohort.simulator.anatomy import Array
from cohort.simulator.attenuation import WATER_PER_CM
from cohort.simulator.correction import ChangCorrection
from cohort.simulator.imaging import Camera

COUNTS_SHARE = 0.09  # as a slice of a brain has, its effective 11 mm of some 130


def make_disc(camera: Camera, radius_mm: float, level: float) -> Array:
    positions = camera.scan.positions_mm()
    radius = np.hypot(positions[:, None], positions)
    return (np.clip((radius_mm - radius) / camera.pixel_spacing_mm + 0.5, 0, 1) * level).astype(np.float32)


def make_slab(image: Array) -> Array:
    return np.repeat(image[None], 7, axis=0)


def acquire_cylinder(camera: Camera, seed: int) -> Array:
    return camera.acquire(
        make_slab(make_disc(camera, 90, 40)),
        make_disc(camera, 90, WATER_PER_CM),
        counts_share=COUNTS_SHARE,
        correction=ChangCorrection(),
        rng=np.random.default_rng(seed),
    )


def image_without_noise(camera: Camera, slab: Array, attenuation: Array) -> Array:
    return camera.quantify(camera.reconstruct(camera.project(slab, attenuation)), ChangCorrection(margin_mm=0))


def width_mm(profile: Array, center: int, spacing_mm: float) -> float:
    sides = (profile[center : center + 9], profile[center - 8 : center + 1][::-1])
    return float(sum(np.interp(-0.5, -side / profile[center], np.arange(9)) for side in sides)) * spacing_mm


@pytest.mark.parametrize("attenuated", [False, True])
@pytest.mark.parametrize(("row", "column"), [(64, 64), (64, 96), (25, 64)])
def test_a_point_reads_eight_to_twelve_millimetres_wide_where_it_is(row: int, column: int, attenuated: bool) -> None:
    camera = Camera()
    slab = np.zeros((7, 128, 128), dtype=np.float32)
    slab[:, row, column] = 1
    image = camera.reconstruct(camera.project(slab, make_disc(camera, 100, WATER_PER_CM * attenuated)))
    assert np.unravel_index(image.argmax(), image.shape) == (row, column)
    for profile, center in ((image[row], column), (image[:, column], row)):
        assert 8 <= width_mm(profile, center, 2.0) <= 12


@pytest.mark.parametrize("matrix", [64, 128])
def test_chang_brings_a_uniform_cylinder_back_flat_and_to_its_level(matrix: int) -> None:
    camera = Camera(matrix=matrix)
    image = image_without_noise(camera, make_slab(make_disc(camera, 100, 40)), make_disc(camera, 100, WATER_PER_CM))
    positions = camera.scan.positions_mm()
    radius = np.hypot(positions[:, None], positions)
    levels = [image[(radius >= low) & (radius < low + 15)].mean() for low in (0, 15, 30, 45, 60)]
    assert max(levels) / min(levels) < 1.03
    # The contour is traced in the image, some millimetres outside the wall the calibration knows.
    assert np.mean(levels) == pytest.approx(40, rel=0.07)


def test_a_mirrored_object_gives_the_mirrored_image() -> None:
    camera = Camera()
    slab = make_slab(make_disc(camera, 80, 40))
    slab[:, 40:70, 30:50] *= 0.5
    water = make_disc(camera, 95, WATER_PER_CM)
    image = image_without_noise(camera, slab, water)
    mirrored = image_without_noise(camera, np.ascontiguousarray(slab[..., ::-1]), water)
    np.testing.assert_allclose(mirrored, image[:, ::-1], atol=0.02)


def test_outside_the_head_the_image_is_exactly_zero() -> None:
    camera = Camera()
    image = acquire_cylinder(camera, 0)
    assert image.min() == 0
    assert image[make_disc(camera, 120, 1) == 0].max() == 0


def test_four_times_the_counts_halve_the_noise() -> None:
    deviations = []
    for counts in (5e6, 20e6):
        camera = Camera(study_counts=counts)
        inside = make_disc(camera, 50, 1) > 0.5
        deviations.append(float((acquire_cylinder(camera, 1) - acquire_cylinder(camera, 2))[inside].std()))
    assert deviations[0] / deviations[1] == pytest.approx(2, rel=0.1)
    assert deviations[0] > 0.4  # of 40: noise that is there to be seen


def test_the_same_stream_gives_the_same_image() -> None:
    np.testing.assert_array_equal(acquire_cylinder(Camera(matrix=64), 3), acquire_cylinder(Camera(matrix=64), 3))


def test_scatter_adds_its_share_of_the_primary() -> None:
    camera = Camera()
    slab, air = make_slab(make_disc(camera, 30, 1)), np.zeros((128, 128), dtype=np.float32)
    primary = replace(camera, scatter_fraction=0.0).project(slab, air).sum()
    # Some percent of so broad a kernel fall beside the detector.
    assert camera.project(slab, air).sum() / primary - 1 == pytest.approx(camera.scatter_fraction, rel=0.06)


def test_an_empty_slice_stays_empty() -> None:
    camera = Camera()
    image = camera.acquire(
        np.zeros((7, 128, 128), dtype=np.float32),
        make_disc(camera, 90, WATER_PER_CM),
        counts_share=0.0,
        correction=ChangCorrection(),
        rng=np.random.default_rng(0),
    )
    assert image.max() == 0
