import numpy as np
import pytest

from cohort.simulator.anatomy import Array, Values
from cohort.simulator.projector import Scan
from spect.outline import SIGMA_PER_FWHM

MATRIX, SPACING_MM = 127, 2.0  # odd: skimage turns about pixel n // 2


def nothing(distance_mm: Values) -> Values:
    return np.zeros_like(distance_mm)


def widening(distance_mm: Values) -> Values:
    return 4 + 0.05 * distance_mm


def axial(distance_mm: Values) -> Values:
    return np.hypot(widening(distance_mm), 7.0)


def make_scan(response: object = nothing, *, rotations: int = 30) -> Scan:
    return Scan(
        matrix=MATRIX,
        rotations=rotations,
        pixel_spacing_mm=SPACING_MM,
        plane_spacing_mm=3.0,
        orbit_radius_mm=140.0,
        response=response,
        axial_response=axial,
    )


def make_disc(radius_mm: float) -> Array:
    positions = make_scan().positions_mm()
    radius = np.hypot(positions[:, None], positions)
    return np.clip((radius_mm - radius) / SPACING_MM + 0.5, 0, 1).astype(np.float32)


def project(scan: Scan, image: Array, attenuation: Array | None = None) -> Array:
    return scan.project(np.repeat(image[None], 7, axis=0), np.zeros_like(image) if attenuation is None else attenuation)


def test_a_disc_projects_to_its_chords_in_every_view() -> None:
    scan = make_scan()
    chords = 2 * np.sqrt(np.maximum(70**2 - scan.positions_mm() ** 2, 0)) / SPACING_MM
    inner = np.abs(scan.positions_mm()) < 66
    projections = project(scan, make_disc(70))
    np.testing.assert_allclose(
        projections[..., inner], np.broadcast_to(chords[inner], (2, 30, inner.sum())), rtol=0.015
    )


def test_without_effects_it_is_the_radon_transform() -> None:
    from skimage.transform import radon

    scan = make_scan()
    image = 2 * make_disc(80)
    image[40:60, 70:90] += 3
    image[75:80, 30:50] -= 1
    expected = radon(image, theta=-np.arange(30) * 6.0, circle=True).T
    difference = project(scan, image)[0] - expected
    assert np.sqrt((difference**2).mean()) / expected.max() < 0.005


@pytest.mark.parametrize("mu_per_cm", [0.05, 0.148])
def test_a_uniform_cylinder_attenuates_by_the_line_integral(mu_per_cm: float) -> None:
    scan, disc = make_scan(), make_disc(90)
    positions_cm = scan.positions_mm() / 10
    inner = np.abs(positions_cm) < 8
    # The integral of exp(-mu s) along a chord of length L is (1 - exp(-mu L)) / mu.
    chord_cm = 2 * np.sqrt(9**2 - positions_cm[inner] ** 2)
    expected = (1 - np.exp(-mu_per_cm * chord_cm)) / mu_per_cm / (SPACING_MM / 10)
    projections = project(scan, disc, disc * np.float32(mu_per_cm))[..., inner]
    np.testing.assert_allclose(projections, np.broadcast_to(expected, projections.shape), rtol=0.015)


@pytest.mark.parametrize("offset", [-40, 0, 40])
def test_the_blur_of_a_point_follows_the_law_of_its_distance(offset: int) -> None:
    scan = make_scan(widening, rotations=2)
    image = np.zeros((MATRIX, MATRIX), dtype=np.float32)
    image[63 + offset, 63] = 1
    before, opposite = project(scan, image)[:, 0]
    for profile, distance_mm in ((before, 140 + 2 * offset), (opposite, 140 - 2 * offset)):
        sigma_mm = np.sqrt((profile * scan.positions_mm() ** 2).sum() / profile.sum())
        assert sigma_mm / SIGMA_PER_FWHM == pytest.approx(4 + 0.05 * distance_mm, rel=0.01)


@pytest.mark.parametrize("offset", [-40, 0, 40])
def test_planes_beside_the_middle_weigh_by_the_distance_too(offset: int) -> None:
    scan = make_scan(rotations=2)
    received = []
    for plane in range(7):
        slab = np.zeros((7, MATRIX, MATRIX), dtype=np.float32)
        slab[plane, 63 + offset, 63] = 1
        received.append(scan.project(slab, np.zeros((MATRIX, MATRIX), dtype=np.float32))[0, 0].sum())
    sigma = float(axial(np.array(140.0 + 2 * offset))) * SIGMA_PER_FWHM
    weights = np.exp(-0.5 * (3.0 * np.arange(-3, 4) / sigma) ** 2)
    np.testing.assert_allclose(received, weights / weights.sum(), atol=0.004)
