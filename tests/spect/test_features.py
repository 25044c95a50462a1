import numpy as np
import pytest
import scipy.ndimage

from spect.errors import QuantificationError
from spect.features import FEATURES, compute_features, compute_high_frequency_share
from spect.quantify import quantify
from tests.support.phantom import brain_phantom, one_sided


def noisy(noise: float = 0.04, matrix: int = 128) -> np.ndarray:
    return brain_phantom(matrix=matrix, noise=noise, defect=one_sided(0.7)).counts


def measure(counts: np.ndarray) -> dict[str, float]:
    features = compute_features(counts, pixel_spacing_mm=256 / counts.shape[-1])
    return {name: float(values[0]) for name, values in features.items()}


def test_the_list_is_closed_and_in_its_order() -> None:
    features = compute_features(np.stack([noisy()] * 3), pixel_spacing_mm=2.0)

    assert tuple(features) == FEATURES
    assert all(values.shape == (3,) and values.dtype == np.float64 for values in features.values())


def test_features_agree_with_the_quantifier() -> None:
    features, measured = measure(noisy()), quantify(noisy(), pixel_spacing_mm=2.0)

    assert features["mean_counts"] == measured.mean_counts[0]
    assert features["log_left_right_ratio"] == np.log(measured.left_right_ratio[0])
    assert features["mask_fraction"] == measured.mask_fraction[0]
    assert features["max_over_mean"] == pytest.approx(noisy().max() / measured.mean_counts[0])


def test_only_mean_counts_know_the_scale() -> None:
    features, scaled = measure(noisy()), measure(noisy() * np.float32(7))

    assert scaled.pop("mean_counts") == pytest.approx(7 * features.pop("mean_counts"), rel=1e-5)
    assert scaled == pytest.approx(features, rel=1e-4)


def test_mirroring_changes_the_sign_of_the_log_ratio_alone() -> None:
    features, mirrored = measure(noisy()), measure(noisy()[:, ::-1])

    assert mirrored.pop("log_left_right_ratio") == pytest.approx(-features.pop("log_left_right_ratio"), abs=1e-6)
    assert mirrored == pytest.approx(features, rel=1e-6)


def test_blur_lowers_noise_and_high_frequencies() -> None:
    sharp, blurred = measure(noisy()), measure(scipy.ndimage.gaussian_filter(noisy(), 2))

    assert blurred["noise_sd"] < 0.75 * sharp["noise_sd"]
    assert blurred["high_frequency_share"] < 0.5 * sharp["high_frequency_share"]


def test_more_noise_is_more_noise() -> None:
    assert measure(noisy(noise=0.08))["noise_sd"] > 1.5 * measure(noisy(noise=0.02))["noise_sd"]


@pytest.mark.parametrize("shape", [(64, 64), (63, 64), (64, 63)])
@pytest.mark.parametrize(("cycles_per_cm", "expected"), [(0.4, 0.0), (0.9, 0.5 / 1.5)])
def test_a_wave_counts_as_high_above_0_6_cycles_per_cm(
    cycles_per_cm: float, expected: float, shape: tuple[int, int]
) -> None:
    cycles = round(cycles_per_cm * shape[1] * 0.4)  # 4 mm pixels
    wave = 1 + np.cos(2 * np.pi * cycles * np.arange(shape[1]) / shape[1])

    share = compute_high_frequency_share(np.broadcast_to(wave, shape).astype(np.float32), 4.0)

    assert share == pytest.approx(expected, abs=1e-6)  # of mean power 1 and wave power 1/2


def test_features_are_alike_at_both_matrices() -> None:
    coarse, fine = (measure(brain_phantom(matrix=matrix, defect=one_sided(0.7)).counts) for matrix in (64, 128))

    for name in ("mean_counts", "log_left_right_ratio", "mask_fraction", "max_over_mean"):
        assert coarse[name] == pytest.approx(fine[name], rel=0.05, abs=0.005)


def test_a_slice_has_the_same_features_in_any_batch() -> None:
    counts = np.stack([brain_phantom(matrix=64, noise=0.05, seed=seed).counts for seed in range(4)])
    together = compute_features(counts, pixel_spacing_mm=4.0)

    for row, one in enumerate(counts):
        alone = compute_features(one, pixel_spacing_mm=4.0)
        assert all(alone[name][0] == together[name][row] for name in FEATURES)


def test_a_slice_without_an_outline_is_named() -> None:
    with pytest.raises(QuantificationError, match="slice 0"):
        compute_features(np.zeros((1, 64, 64)), pixel_spacing_mm=4.0)
