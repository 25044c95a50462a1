"""Figures: how well synthetic slices are told from reference ones, and which spatial frequencies give them away."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from registry.bundle.panel import Measurement, Panel
from spect.conditions import Pattern
from training.validation import beyond_conditioned, convolutional_classifier
from training.validation.comparison import Comparison
from training.validation.figures.plots import (
    FLOOR_COLOR,
    NULL_COLOR,
    SYNTHETIC_COLOR,
    draw_beside,
    draw_interval,
    label_rows,
    legend_handles,
    quieten,
    show_plain_ticks,
)
from training.validation.frequency_bands import BANDS, Band
from training.validation.sample import Sample, Vector
from training.validation.spectrum import compute_radial_spectrum
from training.validation.two_sample_classifier import INSIDE_OUTLINE, WHOLE_FIELD

GATE, AIM = 0.85, 0.60  # SCIENCE.md section 6 and the aim of the reference model
TESTS = {
    INSIDE_OUTLINE: "linear, inside the outline",
    WHOLE_FIELD: "linear, whole field",
    beyond_conditioned.METRIC: "beyond the conditioned scores",
    convolutional_classifier.METRIC: "small CNN, inside the outline",
}


def draw_separability(panel: Panel) -> Figure:
    """Draw the AUC of every two-sample test, over all conditions and per pattern."""
    rows = [
        (title, cell, panel.find(metric, cell))
        for metric, title in TESTS.items()
        for cell in ("all", *map(str, Pattern))
    ]
    shown = [(title, cell, found) for title, cell, found in rows if found is not None and found.value is not None]
    figure = Figure(figsize=(10, 0.9 + 0.235 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, (_, _, found) in enumerate(shown):
        draw_beside(axes, row, null=found.null, floor=found.floor)
        draw_interval(axes, row, found.value or 0, found.low, found.high)
    strong = {f"{title}:  {cell}" for title, cell, _ in shown if cell == "all"}
    label_rows(axes, [f"{title}:  {cell}" if cell == "all" else cell for title, cell, _ in shown], strong=strong)
    for place, words in ((0.5, "a coin"), (AIM, "aim"), (GATE, "gate")):
        axes.axvline(place, color="0.6", linewidth=0.8, linestyle="--" if place != 0.5 else "-", zorder=1)
        axes.text(place, -0.75, words, fontsize=7.5, ha="center", va="bottom", color="0.35")
    axes.set_xlim(0.38, 1.01)
    axes.set_xlabel("area under the ROC curve of a classifier told to find the synthetic slices", fontsize=9)
    quieten(axes)
    figure.legend(
        handles=legend_handles(interval="95 % interval"), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    return figure


def measured_bands(panel: Panel) -> list[tuple[Band, Measurement]]:
    """Bands that were measured, from low to high."""
    found = [(band, panel.find(band.metric, "all")) for band in BANDS]
    return [(band, one) for band, one in found if one is not None and one.value is not None]


def most_telling_band(panel: Panel) -> tuple[Band, Measurement] | None:
    """Find the band in which the slices are told apart best."""
    bands = measured_bands(panel)
    return max(bands, key=lambda pair: pair[1].value or 0) if bands else None


def draw_frequency_bands(panel: Panel, comparison: Comparison) -> Figure:
    """Draw the AUC of every band, and below it the power of the synthetic slices over the reference's."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    bands = measured_bands(panel)
    edges = [bands[0][0].low, *(band.high for band, _ in bands)] if bands else [0.0, 1.0]
    for field, color, label in (
        ("floor", FLOOR_COLOR, "Gaussian"),
        ("null", NULL_COLOR, "real against real"),
        ("value", SYNTHETIC_COLOR, "synthetic"),
    ):
        heights = [getattr(found, field) for _, found in bands]
        if heights and None not in heights:
            above.stairs(
                heights, edges, color=color, label=label, linewidth=2.5 if field == "value" else 1.3, baseline=None
            )
    above.axhline(0.5, color="0.6", linewidth=0.8)
    above.set_ylim(0.4, 1.03)
    above.set_ylabel("AUC in the band alone", fontsize=9)
    above.legend(frameon=False, fontsize=8, loc="lower right", ncols=3)
    _draw_power(below, comparison, edges[-1])
    below.set_xlabel("spatial frequency (cycles/cm)", fontsize=9)
    for axes in (above, below):
        quieten(axes)
    return figure


def _draw_power(axes: Axes, comparison: Comparison, highest_per_cm: float) -> None:
    synthetic, reference = (
        _mean_spectrum(sample, comparison) for sample in (comparison.synthetic, comparison.reference)
    )
    step_per_cm = 10 / (comparison.reference.pixel_spacing_mm * comparison.reference.counts.shape[-1])
    axes.plot(np.arange(len(synthetic)) * step_per_cm, synthetic / reference, color=SYNTHETIC_COLOR, linewidth=1.8)
    axes.axhline(1, color=NULL_COLOR, linewidth=0.8)
    axes.set_yscale("log")
    show_plain_ticks(axes.yaxis)
    axes.set_xlim(0, highest_per_cm)
    axes.set_ylabel("power,\nsynthetic / reference", fontsize=9)


def _mean_spectrum(sample: Sample, comparison: Comparison) -> Vector:
    """Radial power spectrum, every condition counted alike."""
    spectra = [
        compute_radial_spectrum(sample.take(np.flatnonzero(sample.condition_index == condition.index)))
        for condition in comparison.conditions
    ]
    return np.asarray(np.mean(spectra, axis=0))
