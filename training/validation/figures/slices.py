"""Figures of slices: measures as violins, synthetic beside reference slices, mean slices, nearest training slices."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Condition
from spect.formats.png import PERFUSION_COLORS, labelled_rows_png
from training.validation.comparison import Comparison
from training.validation.figures.plots import REFERENCE_COLOR, SYNTHETIC_COLOR, quieten, to_png
from training.validation.memorisation import NearestTraining
from training.validation.sample import Sample, Vector

ROW_SLICES = 8
NEAREST_SHOWN = 8


def draw_measures(comparison: Comparison, *, unit: str) -> Figure:
    """Draw mean counts and left/right ratio of every condition, synthetic beside reference, as violins."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    quantities: tuple[tuple[Callable[[Sample], Vector], str], ...] = (
        (lambda sample: sample.measures["mean_counts"], f"mean counts ({unit})"),
        (lambda sample: np.exp(sample.measures["log_left_right_ratio"]), "left/right ratio"),
    )
    for axes, (quantity, words) in zip(figure.subplots(2, 1), quantities, strict=True):
        made, seen = (quantity(sample) for sample in (comparison.synthetic, comparison.reference))
        for place, condition in enumerate(comparison.conditions):
            ours, theirs = (
                sample.condition_index == condition.index for sample in (comparison.synthetic, comparison.reference)
            )
            draw_violin_pair(axes, place, made[ours], seen[theirs])
        axes.set_xticks(range(len(comparison.conditions)), [str(condition) for condition in comparison.conditions])
        axes.set_ylabel(words, fontsize=9)
        axes.grid(axis="y", alpha=0.3)
        quieten(axes)
    return figure


def draw_measures_png(comparison: Comparison, *, source: str, unit: str) -> bytes:
    """Draw the measures for a bundle, where the figure stands alone."""
    figure = draw_measures(comparison, unit=unit)
    figure.suptitle(
        f"synthetic (orange, left) beside {source} reference (blue, right); central 90 %, medians", fontsize=10
    )
    return to_png(figure)


def draw_violin_pair(axes: Axes, place: float, synthetic: Vector, reference: Vector) -> None:
    """Draw one condition's values as two violins with their medians, synthetic on the left."""
    for values, shift, color in ((synthetic, -0.2, SYNTHETIC_COLOR), (reference, 0.2, REFERENCE_COLOR)):
        central = _central_values(values)
        if not len(central) or not np.ptp(central) > 0:  # one value has no shape: its place is drawn
            axes.plot(place + shift, np.median(values), "_", color=color, markersize=14)
            continue
        parts = axes.violinplot([central], positions=[place + shift], widths=0.36, showmedians=True, showextrema=False)
        bodies: Any = parts["bodies"]  # typed as one thing or many
        for body in bodies:
            body.set(facecolor=color, edgecolor=color, alpha=0.45)
        parts["cmedians"].set_color(color)


def _central_values(values: Vector) -> Vector:
    """Keep the central 90 %: the ends of a violin would be single patients' values, and figures travel in a bundle."""
    low, high = np.percentile(values, [5, 95])
    return np.asarray(values[(values >= low) & (values <= high)])


def brightest_shown(*samples: Sample) -> float:
    """Return the brightest pixel of the slices that are drawn of these samples: one scale for all of them."""
    shown = [_first_slices(sample, condition) for sample in samples for condition in CONDITIONS]
    return max(float(slices.max()) for slices in shown if len(slices))


def draw_synthetic_png(synthetic: Sample, *, unit: str, max_counts: float | None = None) -> bytes:
    """Draw the first synthetic slices of each condition."""
    return labelled_rows_png(
        {str(condition): _first_slices(synthetic, condition) for condition in CONDITIONS},
        title="synthetic slices, not chosen: the first of each condition",
        pixel_spacing_mm=synthetic.pixel_spacing_mm,
        unit=unit,
        source="synthetic",
        max_counts=max_counts,
    )


def draw_reference_png(reference: Sample, *, source: str, unit: str, max_counts: float) -> bytes:
    """Draw the first reference slices of each condition on the scale of the synthetic ones."""
    return labelled_rows_png(
        {str(condition): _first_slices(reference, condition) for condition in CONDITIONS},
        title=f"{source} reference slices, not chosen: the first of each condition",
        pixel_spacing_mm=reference.pixel_spacing_mm,
        unit=unit,
        source=source,
        max_counts=max_counts,
    )


def _first_slices(sample: Sample, condition: Condition) -> NDArray[np.float32]:
    return sample.counts[np.flatnonzero(sample.condition_index == condition.index)[:ROW_SLICES]]


def draw_mean_slices_png(comparison: Comparison, *, unit: str, source: str) -> bytes:
    """Draw the mean slice of each condition, synthetic above reference: what may be shown of acquired scans."""
    rows = {}
    for name, sample in (("synthetic", comparison.synthetic), ("reference", comparison.reference)):
        means = [sample.counts[sample.condition_index == c.index].mean(axis=0) for c in comparison.conditions]
        rows[name] = np.stack(means).astype(np.float32)
    return labelled_rows_png(
        rows,
        title="mean slices: " + ", ".join(map(str, comparison.conditions)),
        pixel_spacing_mm=comparison.reference.pixel_spacing_mm,
        unit=unit,
        source=source,
    )


def draw_nearest_png(comparison: Comparison) -> bytes | None:
    """Draw the synthetic slices nearest to a training slice above that slice; None without the training cohort."""
    if comparison.training is None:
        return None
    distances, positions = NearestTraining(training=comparison.training).find(comparison.synthetic)
    nearest = np.argsort(distances)[:NEAREST_SHOWN]
    figure = Figure(figsize=(10, 3.1), layout="constrained")
    grid = figure.subplots(2, len(nearest), squeeze=False)
    for column, row in enumerate(nearest):
        pair = (comparison.synthetic.counts[row], comparison.training.counts[positions[row]])
        brightest = max(float(counts.max()) for counts in pair)
        for axes, counts in zip(grid[:, column], pair, strict=True):
            axes.imshow(counts, cmap=PERFUSION_COLORS, vmin=0, vmax=brightest)
            axes.set_xticks([])
            axes.set_yticks([])
        grid[0, column].set_title(str(CONDITIONS[int(comparison.synthetic.condition_index[row])]), fontsize=8)
    grid[0, 0].set_ylabel("synthetic", fontsize=9)
    grid[1, 0].set_ylabel("training", fontsize=9)
    return to_png(figure)
