"""Figures of a validation: measures as violins, synthetic beside reference slices, nearest neighbours; as PNG."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Condition
from spect.formats.png import PERFUSION_COLORS, labelled_rows_png
from training.validation.comparison import Comparison
from training.validation.memorisation import NearestTraining
from training.validation.sample import Sample

SYNTHETIC_COLOR = "#c2410c"
REFERENCE_COLOR = "#1d4ed8"
ROW_SLICES = 8
NEAREST_SHOWN = 8
DOTS_PER_INCH = 110

Vector = NDArray[np.float64]


def draw_measures_png(comparison: Comparison, *, source: str, unit: str) -> bytes:
    """Draw mean counts and left/right ratio of every condition, synthetic beside reference, as violins."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    above, below = figure.subplots(2, 1)
    _draw_violins(above, comparison, lambda sample: sample.measures["mean_counts"])
    _draw_violins(below, comparison, lambda sample: np.exp(sample.measures["log_left_right_ratio"]))
    above.set_ylabel(f"mean counts ({unit})")
    below.set_ylabel("left/right ratio")
    figure.suptitle(f"synthetic (orange, left) beside {source} reference (blue, right); central 90 %, medians")
    return to_png(figure)


def _draw_violins(axes: Axes, comparison: Comparison, quantity: Callable[[Sample], Vector]) -> None:
    for sample, shift, color in (
        (comparison.synthetic, -0.2, SYNTHETIC_COLOR),
        (comparison.reference, 0.2, REFERENCE_COLOR),
    ):
        values = quantity(sample)
        by_condition = [
            _central_values(values[sample.condition_index == condition.index]) for condition in comparison.conditions
        ]
        places = [place + shift for place in range(len(by_condition))]
        parts = axes.violinplot(by_condition, positions=places, widths=0.36, showmedians=True, showextrema=False)
        bodies: Any = parts["bodies"]  # typed as one thing or many
        for body in bodies:
            body.set_color(color)
        parts["cmedians"].set_color(color)
    axes.set_xticks(range(len(comparison.conditions)), [str(condition) for condition in comparison.conditions])
    axes.grid(axis="y", alpha=0.3)


def _central_values(values: Vector) -> Vector:
    """Keep the central 90 %: the ends of a violin would be single patients' values, and figures travel in a bundle."""
    low, high = np.percentile(values, [5, 95])
    return np.asarray(values[(values >= low) & (values <= high)])


def draw_synthetic_png(synthetic: Sample, *, unit: str) -> bytes:
    """Draw the first synthetic slices of each condition."""
    return labelled_rows_png(
        {str(condition): _first_slices(synthetic, condition) for condition in CONDITIONS},
        title="synthetic slices, not chosen: the first of each condition",
        pixel_spacing_mm=synthetic.pixel_spacing_mm,
        unit=unit,
        source="synthetic",
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


def draw_nearest_png(comparison: Comparison) -> bytes | None:
    """Draw the synthetic slices nearest to a training slice above that slice; None without the training cohort."""
    if comparison.training is None:
        return None
    distances, positions = NearestTraining(training=comparison.training).find(comparison.synthetic)
    nearest = np.argsort(distances)[:NEAREST_SHOWN]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    grid = figure.subplots(2, len(nearest), squeeze=False)
    for column, row in enumerate(nearest):
        pair = (comparison.synthetic.counts[row], comparison.training.counts[positions[row]])
        brightest = max(float(counts.max()) for counts in pair)
        for axes, counts in zip(grid[:, column], pair, strict=True):
            axes.imshow(counts, cmap=PERFUSION_COLORS, vmin=0, vmax=brightest)
            axes.set_axis_off()
        condition = CONDITIONS[int(comparison.synthetic.condition_index[row])]
        grid[0, column].set_title(f"{condition}\n{distances[row]:.0f}", fontsize=8)
    figure.suptitle("nearest pairs: synthetic above, its nearest training slice below; distance in counts", fontsize=10)
    return to_png(figure)


def to_png(figure: Figure) -> bytes:
    """Draw a figure without a display."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "synspect"})
    return buffer.getvalue()
