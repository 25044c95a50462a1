import numpy as np
import pytest

from cohort.simulator.anatomy import Brain, load_template
from cohort.simulator.attenuation import BONE_PER_CM, WATER_PER_CM, map_attenuation
from cohort.simulator.correction import ChangCorrection, Ellipse, find_contour


def map_plane(z_mm: float) -> np.ndarray:
    axis = (np.arange(128, dtype=np.float32) - 63.5) * 2
    located = Brain.draw(np.random.default_rng(1)).locate((-axis, -axis, np.array([z_mm - 4], dtype=np.float32)))
    return map_attenuation(load_template(), located[..., 0].transpose(0, 2, 1), 2.0)


@pytest.mark.parametrize("z_mm", [-36, 6, 42])
def test_a_head_is_water_within_a_shell_of_bone_and_a_scalp(z_mm: float) -> None:
    attenuation = map_plane(z_mm)
    row = attenuation[70]
    head = np.flatnonzero(row > 0.5 * WATER_PER_CM)
    assert 130 < 2 * len(head) < 200
    assert row[64] == pytest.approx(WATER_PER_CM, abs=1e-3)
    assert row[head[:10]].max() == pytest.approx(BONE_PER_CM, abs=0.02)
    assert row[head[1]] == pytest.approx(WATER_PER_CM, abs=0.02)
    assert attenuation[0].max() == 0


def test_chang_at_the_middle_of_a_circle_is_one_over_its_transmission() -> None:
    circle = Ellipse(row_mm=0, column_mm=0, half_axes_mm=(80.0, 80.0), turned=0)
    factors = ChangCorrection(mu_per_cm=0.1).factors(circle, np.arange(-64, 65) * 2.0)
    assert factors[64, 64] == pytest.approx(np.exp(0.1 * 8), rel=1e-3)
    assert 1 < factors[64, 104] < factors[64, 64]


def test_the_contour_of_a_turned_ellipse_is_found() -> None:
    positions = (np.arange(128) - 63.5) * 2
    x, y = positions[None, :] - 4, positions[:, None] + 6
    turned = 0.3
    along, across = np.cos(turned) * x + np.sin(turned) * y, np.cos(turned) * y - np.sin(turned) * x
    image = ((along / 85) ** 2 + (across / 65) ** 2 < 1).astype(np.float32)
    contour = find_contour(image, positions, 5.0)
    assert contour is not None
    assert contour.half_axes_mm == pytest.approx((90, 70), abs=1)
    assert (contour.column_mm, contour.row_mm) == pytest.approx((4, -6), abs=0.5)
    assert contour.turned == pytest.approx(turned, abs=0.02)


def test_operators_differ_inside_what_clinics_use() -> None:
    drawn = [ChangCorrection.draw(np.random.default_rng(seed)) for seed in range(200)]
    mu = np.array([one.mu_per_cm for one in drawn])
    assert mu.min() >= 0.05
    assert mu.max() <= 0.11
    assert 0.002 < mu.std() < 0.006
