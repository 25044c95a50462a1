"""Diversity: mean structural similarity between pairs of slices; near 1 means that they are all alike."""

import numpy as np
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from registry.bundle.panel import Measurement
from training.validation.cells import condition_cells
from training.validation.comparison import Comparison
from training.validation.sample import Sample

METRIC = "pairwise_ms_ssim"
PAIRS = 100
FAINTEST = 1e-6  # of the brightest pixel: far below anything the similarity sees
# Three scales: the usual five need 160 pixels. Weights of Wang 2003's first three, normalised.
SCALE_WEIGHTS = (0.0710, 0.4530, 0.4760)


def compute_pairwise_similarity(sample: Sample, rng: np.random.Generator) -> float:
    """Mean MS-SSIM over random pairs of different slices, counts over the sample's maximum."""
    first = rng.integers(len(sample), size=PAIRS)
    second = (first + rng.integers(1, len(sample), size=PAIRS)) % len(sample)
    scaled = torch.from_numpy(sample.counts / sample.counts.max())
    scaled[scaled < FAINTEST] = 0  # a smooth background's squares are subnormal numbers, ten times slower to multiply
    similarity = multiscale_structural_similarity_index_measure(
        scaled[first][:, None], scaled[second][:, None], data_range=1.0, betas=SCALE_WEIGHTS, normalize="relu"
    )
    return float(similarity)


def measure_diversity(comparison: Comparison) -> list[Measurement]:
    """Similarities per condition; the null is the reference's own."""
    measurements = []
    for cell in condition_cells(comparison.conditions):
        judged, _, floor = comparison.pairs(cell)
        measurements.append(
            Measurement(
                metric=METRIC,
                cell=cell.name,
                value=compute_pairwise_similarity(judged[0], comparison.rng(6)),
                null=compute_pairwise_similarity(judged[1], comparison.rng(6)),
                floor=compute_pairwise_similarity(floor[0], comparison.rng(6)),
                slices_synthetic=len(judged[0]),
                slices_reference=len(judged[1]),
                note=f"mean of {PAIRS} pairs; the null is the reference's own similarity",
            )
        )
    return measurements
