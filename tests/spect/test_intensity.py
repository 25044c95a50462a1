import numpy as np
import pytest

from spect.errors import IntensityError
from spect.intensity import HEADROOM, IntensityScale


def test_counts_survive_the_way_to_model_images_and_back() -> None:
    counts = np.random.default_rng(0).uniform(0, 70, (3, 8, 8)).astype(np.float32)
    scale = IntensityScale(max_counts=80)

    model_images = scale.to_model_images(counts)

    assert model_images.shape == (3, 1, 8, 8)
    assert model_images.dtype == np.float32
    np.testing.assert_allclose(scale.to_counts(model_images), counts, atol=80 * 1e-6)


def test_the_scale_maps_nothing_to_the_bottom_and_its_maximum_to_the_top() -> None:
    scale = IntensityScale(max_counts=50)

    edges = scale.to_model_images(np.array([[[0, 50]]], np.float32))

    assert edges.ravel().tolist() == [-1, 1]


def test_a_scale_stands_above_the_brightest_slice() -> None:
    counts = np.array([[[3, 60]], [[1, 2]]], np.float32)

    scale = IntensityScale.above(counts)

    assert scale.max_counts == pytest.approx(60 * HEADROOM)
    assert scale.to_model_images(counts).max() < 0.9


@pytest.mark.parametrize("max_counts", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(max_counts: float) -> None:
    with pytest.raises(IntensityError, match="max_counts"):
        IntensityScale(max_counts=max_counts)


def test_an_empty_cohort_has_no_scale() -> None:
    with pytest.raises(IntensityError):
        IntensityScale.above(np.zeros((2, 4, 4), np.float32))


def test_a_rounding_error_below_the_range_gives_no_negative_counts() -> None:
    below = np.full((1, 1, 2, 2), np.nextafter(np.float32(-1), np.float32(-2)))
    assert IntensityScale(max_counts=80).to_counts(below).min() == 0


def test_what_lies_further_below_the_range_stays_visible() -> None:
    scale = IntensityScale(max_counts=80)
    assert scale.to_counts(np.full((1, 1, 2, 2), np.float32(-1.01))).max() < 0
    assert np.isnan(scale.to_counts(np.full((1, 1, 2, 2), np.float32("nan")))).all()
