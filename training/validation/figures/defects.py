"""Figures: where defects lie, how far they reach and how deep they are; synthetic beside reference."""

from collections.abc import Callable

import numpy as np
import scipy.ndimage
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from training.validation.cells import Cell
from training.validation.comparison import Comparison
from training.validation.defects import NormalMaps, diseased_cells, map_normals
from training.validation.figures.plots import quieten
from training.validation.figures.slices import draw_violin_pair
from training.validation.sample import Sample
from training.validation.standard_space import ACROSS, ALONG, COLUMNS, REACH, ROWS

Vector = NDArray[np.float64]
FREQUENCY_COLORS, DIFFERENCE_COLORS = "magma", "RdBu_r"
HALF_AXES_MM = (68.0, 84.0)  # a typical brain's, for the shape on the page
_ACROSS_MM = HALF_AXES_MM[0] * REACH * COLUMNS / (COLUMNS - 1)  # to the borders of the outermost pixels
_ALONG_MM = HALF_AXES_MM[1] * REACH * ROWS / (ROWS - 1)
EXTENT_MM = (-_ACROSS_MM, _ACROSS_MM, _ALONG_MM, -_ALONG_MM)


def draw_defect_maps(comparison: Comparison) -> Figure | None:
    """Map how often each place is hypoperfused: reference, synthetic and their difference; None without disease."""
    normals = map_normals(comparison.reference)
    cells = diseased_cells(comparison, normals)
    if not cells:
        return None
    figure = Figure(figsize=(1.75 * len(cells) + 0.9, 6.3), layout="constrained")
    grid = figure.subplots(3, len(cells), squeeze=False)
    maps = [_map_pair(comparison, normals, cell) for cell in cells]
    highest = max(float(one.max()) for pair in maps for one in pair)
    widest = max(float(np.abs(synthetic - reference).max()) for synthetic, reference in maps)
    for column, (cell, (synthetic, reference)) in enumerate(zip(cells, maps, strict=True)):
        brain = normals.brain[cell.conditions[0].level]
        drawn = [
            _show(axes, values, brain, color, limits)
            for axes, values, color, limits in zip(
                grid[:, column],
                (reference, synthetic, synthetic - reference),
                (FREQUENCY_COLORS, FREQUENCY_COLORS, DIFFERENCE_COLORS),
                ((0, highest), (0, highest), (-widest, widest)),
                strict=True,
            )
        ]
        grid[0, column].set_title(cell.name, fontsize=9)
    for row, words in enumerate(("reference", "synthetic", "synthetic − reference")):
        grid[row, 0].set_ylabel(words, fontsize=9)
    figure.colorbar(drawn[0], ax=grid[:2, :], shrink=0.8, pad=0.01).set_label("share of slices", fontsize=8)
    figure.colorbar(drawn[2], ax=grid[2:, :], shrink=0.8, pad=0.01).set_label("difference", fontsize=8)
    return figure


def _map_pair(comparison: Comparison, normals: NormalMaps, cell: Cell) -> tuple[Vector, Vector]:
    judged, _, _ = comparison.pairs(cell)
    return normals.place(judged[0]), normals.place(judged[1])


def _show(axes: Axes, values: Vector, brain: NDArray[np.bool_], color: str, limits: tuple[float, float]) -> AxesImage:
    image = axes.imshow(values, cmap=color, vmin=limits[0], vmax=limits[1], extent=EXTENT_MM, interpolation="bilinear")
    across, along = (HALF_AXES_MM[axis] * places.ravel() for axis, places in enumerate((ACROSS, ALONG)))
    border = axes.contour(
        across, along, scipy.ndimage.gaussian_filter(brain.astype(float), 0.7), levels=[0.5], colors="0.4"
    )
    border.set_linewidth(0.8)
    image.set_clip_path(border.get_paths()[0], transform=axes.transData)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def draw_defect_sizes(comparison: Comparison) -> Figure | None:
    """Draw extent and depth of every diseased condition as violins; None without disease."""
    normals = map_normals(comparison.reference)
    cells = diseased_cells(comparison, normals)
    if not cells:
        return None
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    quantities: tuple[tuple[Axes, Callable[[Sample], Vector], str], ...] = (
        (left, normals.extent, "extent (% of the brain)"),
        (right, normals.depth, "depth (% of flow lost)"),
    )
    for axes, quantity, words in quantities:
        for place, cell in enumerate(cells):
            judged, _, _ = comparison.pairs(cell)
            draw_violin_pair(axes, place, 100 * quantity(judged[0]), 100 * quantity(judged[1]))
        axes.set_xticks(range(len(cells)), [cell.name.replace("/", "\n") for cell in cells])
        axes.set_ylabel(words, fontsize=9)
        axes.set_ylim(bottom=0)
        quieten(axes)
    return figure
