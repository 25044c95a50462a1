"""Figures: spread along the reference's principal components, and distances to the nearest training slice."""

import numpy as np
from matplotlib.figure import Figure

from training.validation.cells import all_cell
from training.validation.comparison import Comparison
from training.validation.figures.plots import (
    FLOOR_COLOR,
    MARGIN_COLOR,
    NULL_COLOR,
    REFERENCE_COLOR,
    SYNTHETIC_COLOR,
    quieten,
)
from training.validation.memorisation import EXPECTED_SHARE, NearestTraining
from training.validation.principal_components import component_ratios
from training.validation.sample import Sample, Vector

BAND = (0.7, 1.3)  # the gate's, of the geometric mean
LARGEST_SHOWN = 4.0  # of the distance that 5 % of unseen slices do not reach


def draw_component_spreads(comparison: Comparison) -> Figure:
    """Draw the SD ratio of every component."""
    judged, halves, floor = (
        component_ratios(comparison, pair) for pair in comparison.pairs(all_cell(comparison.conditions))
    )
    numbers = np.arange(1, len(judged) + 1)
    figure = Figure(figsize=(10, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(*BAND, color=MARGIN_COLOR, linewidth=0, zorder=0)
    axes.axhline(1, color="0.6", linewidth=0.8, zorder=1)
    axes.plot(
        numbers, floor, color=FLOOR_COLOR, marker="D", markerfacecolor="white", markersize=4.5, linewidth=0, zorder=4
    )
    axes.plot(numbers, halves, color=NULL_COLOR, marker="_", markersize=9, markeredgewidth=2, linewidth=0, zorder=3)
    axes.bar(numbers, judged - 1, bottom=1, width=0.6, color=SYNTHETIC_COLOR, alpha=0.75, zorder=2)
    axes.set_xticks(numbers)
    axes.set_xlabel("principal component of the reference slices", fontsize=9)
    axes.set_ylabel("SD ratio", fontsize=9)
    quieten(axes)
    return figure


def draw_nearest_distances(comparison: Comparison) -> Figure | None:
    """Draw how near synthetic and unseen slices lie to training slices; None without the training cohort."""
    if comparison.training is None:
        return None
    nearest = NearestTraining(training=comparison.training)
    relative = _relative_distances(comparison, nearest)
    figure = Figure(figsize=(10, 2.5), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, LARGEST_SHOWN, 81).tolist()
    for values, color, label in zip(
        relative, (SYNTHETIC_COLOR, REFERENCE_COLOR), ("synthetic slices", "slices of unseen patients"), strict=True
    ):
        shown = np.clip(values, 0, LARGEST_SHOWN)
        axes.hist(shown, edges, density=True, histtype="stepfilled", color=color, alpha=0.15)
        axes.hist(shown, edges, density=True, histtype="step", color=color, linewidth=1.6, label=label)
    axes.axvline(1, color="0.3", linewidth=1, linestyle="--")
    words = f"{100 * EXPECTED_SHARE:.0f} % of unseen slices lie left of the line"
    axes.text(0.98, 0.95, words, fontsize=8, ha="right", va="top", transform=axes.get_xaxis_transform())
    axes.set_xlim(0, LARGEST_SHOWN)
    axes.set_xlabel("distance to the nearest training slice of the condition, over that line's", fontsize=9)
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8)
    quieten(axes)
    return figure


def _relative_distances(comparison: Comparison, nearest: NearestTraining) -> tuple[Vector, Vector]:
    pair: tuple[Sample, Sample] = (comparison.synthetic, comparison.reference)
    made, unseen = (nearest.find(sample)[0] for sample in pair)
    for condition in comparison.conditions:
        ours, theirs = (sample.condition_index == condition.index for sample in pair)
        threshold = max(float(np.quantile(unseen[theirs], EXPECTED_SHARE)), np.finfo(float).tiny)
        made[ours] /= threshold
        unseen[theirs] /= threshold
    return made, unseen
