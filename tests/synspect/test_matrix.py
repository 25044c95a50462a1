"""Another matrix keeps mean counts within 0.5 %, of slices of the reference model and of simulated ones."""

from collections.abc import Callable

import numpy as np
import pytest

from cohort.simulator.patients import Preset
from cohort.simulator.simulate import simulate_cohort
from spect.conditions import CONDITIONS
from spect.outline import trace_outline
from spect.quantify import quantify
from spect.slices import FIELD_MM, resample_to_matrix
from synspect.bundle_source import BundleSource
from synspect.source import MATRICES, Order, find_reference_bundle

KEPT = 0.005


@pytest.fixture(scope="module")
def slices() -> dict[str, np.ndarray]:
    """Slices (n, m, m): of the reference model, every condition at its own matrix, and simulated at two."""
    source = BundleSource(find_reference_bundle(), threads=1)
    made = [source.generate(Order(condition=condition, count=4, seed=3)).counts for condition in CONDITIONS]
    simulated = {
        f"simulated {matrix}": simulate_cohort(Preset.SMALL, patients=8, matrix=matrix, seed=5, workers=1).counts
        for matrix in (64, 128)
    }
    return {"reference model": np.concatenate(made), **simulated}


def _in_outline(counts: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    return (counts * outlines).sum(axis=(1, 2)) / outlines.sum(axis=(1, 2))


def _outlines(counts: np.ndarray) -> np.ndarray:
    traced = [trace_outline(one, FIELD_MM / counts.shape[-1]) for one in counts]
    return np.stack([outline.mask for outline in traced if outline is not None])


def _to_pixels(masks: np.ndarray, matrix: int) -> np.ndarray:
    """Cover the same square millimetres with other pixels: weights (n, matrix, matrix) from 0 to 1."""
    grown = masks.repeat(256 // masks.shape[-1], axis=1).repeat(256 // masks.shape[-1], axis=2)
    side = 256 // matrix
    return grown.reshape(len(masks), matrix, side, matrix, side).mean(axis=(2, 4))


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["reference model", "simulated 64", "simulated 128"])
def test_every_slice_keeps_its_mean_counts_within_half_a_percent(slices, name: str, matrix: int) -> None:
    counts = slices[name]
    resampled = resample_to_matrix(counts, matrix)
    outlines = _outlines(counts)
    assert resampled.min() >= 0

    whole = resampled.mean(axis=(1, 2)) / counts.mean(axis=(1, 2))
    inside = _in_outline(resampled, _to_pixels(outlines, matrix)) / _in_outline(counts, outlines)

    np.testing.assert_allclose(whole, 1, atol=KEPT)
    np.testing.assert_allclose(inside, 1, atol=KEPT)


@pytest.mark.parametrize("choose", [min, max])
def test_the_quantifier_itself_agrees_over_a_batch(slices, choose: Callable[..., int]) -> None:
    """Of one slice its outline may change by a pixel: a batch keeps its mean counts."""
    counts = slices["reference model"]
    matrix = choose(size for size in MATRICES if size != counts.shape[-1])

    before = quantify(counts, pixel_spacing_mm=FIELD_MM / counts.shape[-1]).mean_counts
    after = quantify(resample_to_matrix(counts, matrix), pixel_spacing_mm=FIELD_MM / matrix).mean_counts

    assert after.mean() == pytest.approx(before.mean(), rel=KEPT)
    assert np.median(np.abs(after / before - 1)) < KEPT
