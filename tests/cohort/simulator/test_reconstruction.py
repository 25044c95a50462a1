from dataclasses import replace

import numpy as np
import pytest

from cohort.simulator.imaging import Camera
from cohort.simulator.reconstruction import Method
from tests.cohort.simulator.test_imaging import make_disc, make_slab


def without_effects(camera: Camera) -> Camera:
    """Return the same camera with ideal holes and no scatter: what is left is sampling and reconstruction."""
    return replace(camera, intrinsic_fwhm_mm=0.0, hole_mm=0.0, scatter_fraction=0.0)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("matrix", [64, 128])
def test_a_disc_comes_back_at_its_own_level_and_place(matrix: int, method: Method) -> None:
    camera = without_effects(Camera(matrix=matrix, method=method))
    disc = make_disc(camera, 70, 40)
    image = camera.reconstruct(camera.project(make_slab(disc), np.zeros_like(disc)))
    assert image[make_disc(camera, 45, 1) > 0.5].mean() == pytest.approx(40, rel=0.02)
    far = (make_disc(camera, 115, 1) > 0.5) & (make_disc(camera, 95, 1) == 0)
    assert np.abs(image[far]).mean() < 0.4
    positions = camera.scan.positions_mm()
    assert abs(float((image.sum(axis=0) * positions).sum() / image.sum())) < 0.2


def test_more_iterations_of_subsets_come_closer_to_the_disc() -> None:
    errors = []
    for iterations in (1, 8):
        camera = without_effects(Camera(matrix=64, method=Method.OSEM, iterations=iterations))
        disc = make_disc(camera, 70, 40)
        image = camera.reconstruct(camera.project(make_slab(disc), np.zeros_like(disc)))
        errors.append(float(np.abs(image - disc).mean()))
    assert errors[1] < errors[0]
