"""Rows of left against right in health, and of how alike one person's slices are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohort.calibration.rows import Estimate, Row
from cohort.calibration.sample import ReadPatient
from spect.conditions import Level

BOOTSTRAPS = 200


def symmetry_rows(normals: Sequence[ReadPatient]) -> list[Row]:
    """All rows of left against right, as the quantifier reads it, and the correlation of mean counts."""
    return [*(row for level in Level for row in _ratio_rows(normals, level)), _likeness_row(normals)]


def _ratio_rows(normals: Sequence[ReadPatient], level: Level) -> list[Row]:
    ratios = np.array([one.slices[level].left_right_ratio for one in normals])
    return [
        Row(
            quantity=f"left over right of normals, {level}, mean",
            stated="1.00",
            low=0.99,
            high=1.01,
            simulated=Estimate.of_mean(ratios),
            source="von Schulthess, J Nucl Med 1985;26:9; SPECT.nii 0.98 to 1.01",
            decimals=3,
        ),
        Row(
            quantity=f"left over right of normals, {level}, SD (%)",
            stated="1.5 to 2",
            low=0.015,
            high=0.020,
            simulated=Estimate.of_sd(np.log(ratios)),
            source="von Schulthess 1985: below 2 %",
            scale=100,
        ),
    ]


def _likeness_row(normals: Sequence[ReadPatient]) -> Row:
    counts = np.array([[one.slices[level].mean_counts for level in Level] for one in normals])
    rng = np.random.default_rng(0)
    drawn = [compute_balanced_icc(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(BOOTSTRAPS)]
    return Row(
        quantity="mean counts of one person's slices, intraclass correlation",
        stated="not known; 0.6 to 0.9 assumed for tests",
        low=0.60,
        high=0.97,
        simulated=Estimate(
            value=compute_balanced_icc(counts), standard_error=float(np.std(drawn, ddof=1)), n=len(counts)
        ),
        source="follows from the global SD",
    )


def compute_balanced_icc(values: NDArray[np.float64]) -> float:
    """Intraclass correlation ICC(1) of (persons, levels), each level's mean taken away."""
    centred = values - values.mean(axis=0)
    persons, levels = centred.shape
    means = centred.mean(axis=1)
    between = levels * float((means**2).sum()) / (persons - 1)
    within = float(((centred - means[:, None]) ** 2).sum()) / (persons * (levels - 1))
    return float((between - within) / (between + (levels - 1) * within))
