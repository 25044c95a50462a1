import numpy as np
import pytest

from spect.errors import SlicesError
from spect.quantify import quantify
from spect.slices import SyntheticBatch, check_counts, mirror_left_right, resample_to_matrix
from tests.support.phantom import brain_phantom, one_sided


def brains(matrix: int = 128) -> np.ndarray:
    return np.stack(
        [brain_phantom(matrix=matrix, angle_deg=a, noise=0.03, defect=one_sided(0.5)).counts for a in (0, 3)]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.float16, np.float64, np.bool_])
def test_counts_of_any_real_type_become_float32(dtype: type) -> None:
    checked = check_counts(np.ones((2, 4, 5), dtype))

    assert checked.dtype == np.float32
    assert checked.shape == (2, 4, 5)


def test_a_single_slice_becomes_a_stack_of_one() -> None:
    assert check_counts(np.ones((4, 5))).shape == (1, 4, 5)
    assert check_counts([[1, 2], [3, 4]]).shape == (1, 2, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_counts_that_are_not_finite_numbers_are_refused(value: float) -> None:
    counts = np.ones((1, 4, 4))
    counts[0, 1, 1] = value

    with pytest.raises(SlicesError, match="finite"):
        check_counts(counts)


def test_negative_counts_are_refused_with_the_least() -> None:
    with pytest.raises(SlicesError, match=r"negative, got -2\.5"):
        check_counts(np.array([[[0, -2.5], [1, -1]]]))


@pytest.mark.parametrize("counts", [np.ones((1, 2, 2), complex), np.full((1, 2, 2), "1"), np.full((1, 2, 2), None)])
def test_counts_that_are_not_real_numbers_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(SlicesError, match="real numbers"):
        check_counts(counts)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 4), (0, 4, 4), (1, 0, 4), (1, 4, 0)])
def test_an_array_that_is_no_stack_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SlicesError, match="shape"):
        check_counts(np.ones(shape))


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(SlicesError):
        check_counts([[1, 2], [3]])


@pytest.mark.parametrize("matrix", [64, 100, 127, 256])
def test_resampling_keeps_mean_counts(matrix: int) -> None:
    counts = brains()

    resampled = resample_to_matrix(counts, matrix)

    assert resampled.shape == (2, matrix, matrix)
    assert resampled.dtype == np.float32
    assert resampled.min() >= 0
    np.testing.assert_allclose(resampled.mean(axis=(1, 2)), counts.mean(axis=(1, 2)), rtol=0.005)


@pytest.mark.parametrize("matrix", [64, 256])
def test_resampling_keeps_what_the_quantifier_measures(matrix: int) -> None:
    counts = brains()

    before = quantify(counts, pixel_spacing_mm=2.0)
    after = quantify(resample_to_matrix(counts, matrix), pixel_spacing_mm=256 / matrix)

    np.testing.assert_allclose(after.mean_counts, before.mean_counts, rtol=0.02)  # the outline's edge is a pixel's
    np.testing.assert_allclose(after.left_right_ratio, before.left_right_ratio, atol=0.01)


def test_resampling_and_mirroring_commute() -> None:
    counts = brains()

    np.testing.assert_allclose(
        resample_to_matrix(mirror_left_right(counts), 64), mirror_left_right(resample_to_matrix(counts, 64)), atol=1e-3
    )


def test_resampling_there_and_back_keeps_a_band_limited_slice() -> None:
    counts = resample_to_matrix(brains(), 64)

    np.testing.assert_allclose(
        resample_to_matrix(resample_to_matrix(counts, 128), 64), counts, atol=2
    )  # of 100: clipped below zero


def test_resampling_to_the_same_matrix_changes_nothing() -> None:
    counts = brains()

    assert resample_to_matrix(counts, 128) is counts


def test_only_square_slices_are_resampled() -> None:
    with pytest.raises(SlicesError, match="square"):
        resample_to_matrix(np.ones((1, 4, 6), np.float32), 8)


@pytest.mark.parametrize("matrix", [0, -64])
def test_a_matrix_without_pixels_is_refused(matrix: int) -> None:
    with pytest.raises(SlicesError, match="matrix"):
        resample_to_matrix(np.ones((1, 4, 4), np.float32), matrix)


def test_mirroring_reverses_columns_and_keeps_rows() -> None:
    counts = np.arange(12, dtype=np.float32).reshape(1, 3, 4)

    assert mirror_left_right(counts)[0, 0].tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(mirror_left_right(mirror_left_right(counts)), counts)


def batch(count: int, *, first: int = 0) -> SyntheticBatch:
    return SyntheticBatch(
        counts=np.full((count, 4, 4), first, np.float32),
        level=np.array(["COR"] * count),
        pattern=np.array(["normal"] * count),
        seed=np.full(count, 7),
        index=np.arange(first, first + count),
        pixel_spacing_mm=2.0,
        model_version="1",
        model_sha256="ab",
    )


def test_batches_join_in_order() -> None:
    joined = SyntheticBatch.concatenate([batch(2), batch(3, first=2)])

    assert len(joined) == 5
    assert joined.index.tolist() == [0, 1, 2, 3, 4]
    assert joined.counts[:, 0, 0].tolist() == [0, 0, 2, 2, 2]


def test_a_batch_with_a_missing_label_is_refused() -> None:
    fields = {name: getattr(batch(2), name) for name in SyntheticBatch.__dataclass_fields__}

    with pytest.raises(SlicesError, match="one entry a slice"):
        SyntheticBatch(**{**fields, "level": np.array(["COR"])})
