import numpy as np
import pytest

from cohort.simulator.shape import SmoothField, build_rotation, soft_ellipsoid


def test_a_smooth_field_has_the_spread_asked_for_and_its_symmetry() -> None:
    axes = (np.linspace(-60, 60, 7, dtype=np.float32),) * 3
    fields = [SmoothField.draw(np.random.default_rng(seed), sd=2.0, asymmetry=0.0) for seed in range(200)]
    values = np.array([field.evaluate(axes)[0] for field in fields])
    assert values.std() == pytest.approx(2.0, rel=0.15)
    np.testing.assert_allclose(values, values[:, ::-1], atol=1e-4)


def test_a_symmetric_warp_keeps_the_midline_straight() -> None:
    field = SmoothField.draw(np.random.default_rng(0), sd=2.0, asymmetry=0.0, mirror_signs=(-1, 1, 1))
    middle = (np.zeros(1, dtype=np.float32), np.linspace(-90, 50, 9, dtype=np.float32), np.zeros(1, dtype=np.float32))
    np.testing.assert_allclose(field.evaluate(middle)[0], 0, atol=1e-5)


def test_an_ellipsoid_turned_outwards_has_its_anterior_end_at_greater_x() -> None:
    x, y = np.meshgrid(np.arange(-20, 21, dtype=np.float32), np.arange(-20, 21, dtype=np.float32), indexing="ij")
    shape = soft_ellipsoid((x, y, np.zeros_like(x)), (0, 0, 0), (4, 15, 4), 20.0)
    anterior = y > 5
    assert (shape * x)[anterior].sum() / shape[anterior].sum() > 2
    assert shape[20, 20] == 1
    assert shape[0, 0] == 0


def test_a_rotation_keeps_lengths() -> None:
    rotation = build_rotation(np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
