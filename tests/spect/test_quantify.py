import numpy as np
import pytest

from spect.errors import ConfigurationError, QuantificationError, SlicesError
from spect.quantify import Quantities, quantify, union_masks
from spect.slices import mirror_left_right
from tests.support.phantom import Phantom, brain_phantom, one_sided, two_sided, union_toy

THRESHOLDS = (0.3, 0.4, 0.5)
MATRICES = (64, 128)


def measure(phantom: Phantom, threshold: float = 0.4) -> Quantities:
    return quantify(phantom.counts, pixel_spacing_mm=256 / len(phantom.counts), threshold=threshold)


@pytest.mark.parametrize("fwhm_mm", [0, 6])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_one_sided_defect_keeps_its_ratio_at_every_threshold(threshold: float, matrix: int, fwhm_mm: float) -> None:
    toy = union_toy(matrix=matrix, fwhm_mm=fwhm_mm)

    assert toy.left_right_ratio == pytest.approx(0.85, abs=0.005)
    assert measure(toy, threshold).left_right_ratio[0] == pytest.approx(toy.left_right_ratio, abs=0.01)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(("angle_deg", "shift_mm"), [(5, 8), (-5, -8), (5, -8), (-2.3, 3.7)])
def test_a_turned_and_shifted_head_keeps_its_ratio(
    angle_deg: float, shift_mm: float, threshold: float, matrix: int
) -> None:
    toy = union_toy(matrix=matrix, angle_deg=angle_deg, shift_mm=shift_mm, fwhm_mm=6)

    assert measure(toy, threshold).left_right_ratio[0] == pytest.approx(toy.left_right_ratio, abs=0.02)


@pytest.mark.parametrize("matrix", [*MATRICES, 91, 109])
def test_a_mirrored_slice_measures_the_reciprocal(matrix: int) -> None:
    counts = np.stack([brain_phantom(matrix=128, angle_deg=a, shift_mm=a, noise=0.05).counts for a in (-3, 0, 4)])
    field = np.zeros((3, max(matrix, 128), max(matrix, 128)), np.float32)
    field[:, :128, :128] = counts
    counts, spacing = (field[:, 16:107, 16:107], 2.0) if matrix == 91 else (field, 2.0)
    if matrix == 64:
        counts, spacing = counts.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4)), 4.0

    straight = quantify(counts, pixel_spacing_mm=spacing)
    mirrored = quantify(mirror_left_right(counts), pixel_spacing_mm=spacing)

    np.testing.assert_allclose(mirrored.left_right_ratio, 1 / straight.left_right_ratio, atol=0.003)
    np.testing.assert_allclose(mirrored.midline_angle_deg, -straight.midline_angle_deg, atol=0.05)
    np.testing.assert_allclose(mirrored.midline_shift_mm, -straight.midline_shift_mm, atol=0.02)
    np.testing.assert_allclose(mirrored.mean_counts, straight.mean_counts, rtol=1e-6)


def test_less_flow_in_the_patients_left_lowers_the_ratio() -> None:
    struck = brain_phantom(matrix=64, defect=one_sided(0.4))

    assert measure(struck).left_right_ratio[0] < 0.85
    assert struck.counts[:, 32:].sum() < struck.counts[:, :32].sum()  # the left lies on image right


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("depth", [0.25, 0.4])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_symmetric_defects_keep_their_mean_counts_at_every_threshold(
    threshold: float, depth: float, matrix: int
) -> None:
    normal = brain_phantom(matrix=matrix)
    struck = brain_phantom(matrix=matrix, defect=two_sided(depth))
    expected = struck.mean_counts / normal.mean_counts

    measured = measure(struck, threshold)

    assert measured.mean_counts[0] / measure(normal, threshold).mean_counts[0] == pytest.approx(expected, rel=0.03)
    assert measured.left_right_ratio[0] == pytest.approx(1, abs=0.01)


def test_mean_counts_of_a_sharp_brain_are_its_own() -> None:
    toy = union_toy(matrix=128)

    assert measure(toy).mean_counts[0] == pytest.approx(toy.mean_counts, rel=0.03)


def test_a_mask_of_bright_pixels_alone_overstates_a_symmetric_defect() -> None:
    struck = brain_phantom(matrix=128, defect=two_sided(0.25))

    measured = measure(struck)

    assert measured.mean_counts_in_mask[0] > 1.05 * measured.mean_counts[0]
    assert measured.mask_fraction[0] < measure(brain_phantom(matrix=128)).mask_fraction[0]


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_mean_counts_scale_with_the_counts_and_the_ratio_does_not(factor: float) -> None:
    counts = brain_phantom(matrix=64, defect=one_sided(0.6), noise=0.03).counts
    measured, scaled = (quantify(c, pixel_spacing_mm=4) for c in (counts, counts * np.float32(factor)))

    assert scaled.mean_counts[0] == pytest.approx(factor * measured.mean_counts[0], rel=1e-4)
    assert scaled.left_right_ratio[0] == pytest.approx(measured.left_right_ratio[0], rel=1e-4)


def test_a_slice_measures_the_same_alone_and_in_any_batch() -> None:
    counts = np.stack([brain_phantom(matrix=64, angle_deg=i, noise=0.05, seed=i).counts for i in range(6)])
    together = quantify(counts, pixel_spacing_mm=4)
    turned = quantify(counts[::-1], pixel_spacing_mm=4)

    for row, one in enumerate(counts):
        alone = quantify(one, pixel_spacing_mm=4)
        for name in Quantities.__dataclass_fields__:
            assert getattr(alone, name)[0] == getattr(together, name)[row] == getattr(turned, name)[-1 - row]


def test_length_is_measured_in_millimetres() -> None:
    coarse, fine = (measure(brain_phantom(matrix=matrix, shift_mm=6)) for matrix in MATRICES)

    assert coarse.outline_area_mm2[0] == pytest.approx(fine.outline_area_mm2[0], rel=0.03)
    assert coarse.midline_shift_mm[0] == pytest.approx(fine.midline_shift_mm[0], abs=0.1)
    assert coarse.mean_counts[0] == pytest.approx(fine.mean_counts[0], rel=0.02)


def test_the_masks_give_what_is_measured() -> None:
    counts = np.stack([brain_phantom(matrix=64, defect=one_sided(0.5), angle_deg=a, noise=0.04).counts for a in (0, 4)])

    masks, measured = union_masks(counts, pixel_spacing_mm=4), quantify(counts, pixel_spacing_mm=4)

    for row, one in enumerate(counts.astype(np.float64)):
        left, right = one[masks.left[row]].mean(), one[masks.right[row]].mean()
        assert left / right == pytest.approx(measured.left_right_ratio[row], rel=1e-12)
        assert one[masks.outline[row]].mean() == pytest.approx(measured.mean_counts[row], rel=1e-12)
    assert masks.found.all()
    assert not (masks.left & masks.right).any()
    assert (masks.union | ~(masks.left | masks.right)).all()


def test_a_slice_without_an_outline_is_named() -> None:
    counts = np.stack([brain_phantom(matrix=64).counts, np.zeros((64, 64), np.float32)])

    with pytest.raises(QuantificationError, match="slice 1: no brain outline"):
        quantify(counts, pixel_spacing_mm=4)


def test_an_untrained_generators_slices_still_have_masks() -> None:
    counts = np.stack([np.zeros((64, 64)), np.ones((64, 64)), brain_phantom(matrix=64).counts])

    masks = union_masks(counts, pixel_spacing_mm=4)

    assert masks.found.tolist() == [False, False, True]
    assert masks.outline[:2].all()
    assert masks.left[0, :, 32:].all()
    assert masks.right[0, :, :32].all()
    assert not masks.right[0, :, 32:].any()


@pytest.mark.parametrize("kind", ["noise", "blobs", "ring", "cross", "checks"])
@pytest.mark.parametrize("spacing", [1.0, 4.0])
def test_whatever_a_slice_holds_it_is_measured_or_refused(kind: str, spacing: float) -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.indices((96, 64))
    radius = np.hypot(rows - 40, columns - 30)
    counts = {
        "noise": rng.random((96, 64)),
        "blobs": rng.random((96, 64)) ** 40,
        "ring": ((radius > 18) & (radius < 20)).astype(float),
        "cross": ((rows == 31) | (columns == 12)).astype(float),
        "checks": ((rows // 3 + columns // 3) % 2).astype(float),
    }[kind]

    masks = union_masks(counts, pixel_spacing_mm=spacing)

    assert masks.left.any()
    assert masks.right.any()
    if masks.found[0]:
        assert np.isfinite(quantify(counts, pixel_spacing_mm=spacing).left_right_ratio).all()


@pytest.mark.parametrize("spacing", [0, -2.0, float("nan"), float("inf")])
def test_a_pixel_spacing_that_is_no_length_is_refused(spacing: float) -> None:
    with pytest.raises(ConfigurationError, match="pixel_spacing_mm"):
        quantify(np.ones((1, 8, 8)), pixel_spacing_mm=spacing)


@pytest.mark.parametrize("threshold", [0, 1, 1.5, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match="threshold"):
        quantify(np.ones((1, 8, 8)), pixel_spacing_mm=4, threshold=threshold)


def test_counts_that_are_no_slices_are_refused() -> None:
    with pytest.raises(SlicesError, match="finite"):
        quantify(np.full((1, 8, 8), np.nan), pixel_spacing_mm=4)
