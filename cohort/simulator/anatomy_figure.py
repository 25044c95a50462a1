"""Pictures of where the simulator puts things: deep nuclei and arterial territories over MNI152 anatomy.

The patient's left is on image right, as in every slice of the product.
"""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes as Panel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cohort.simulator.anatomy import REGIONS, TEMPLATE_SPACING_MM, Array, Template
from cohort.simulator.territories import Territory, territory_weights
from spect.formats.marks import MARKS
from spect.formats.png import figure_to_png

NUCLEI_Z_MM = (-36.0, -20.0, -4.0, 2.0, 6.0, 10.0, 16.0, 22.0)
TERRITORIES_Z_MM = (-36.0, 6.0, 42.0)
_REGION_COLORS: Mapping[str, str] = {
    "putamen": "#e4572e", "caudate": "#f3a712", "thalamus": "#29b6f6", "insula": "#ab47bc", "cerebellum": "#66bb6a",
}  # fmt: skip
_TERRITORY_COLORS: Mapping[str, str] = {
    Territory.ACA: "#f3a712", Territory.MCA: "#e4572e", Territory.PCA: "#29b6f6", Territory.BORDER_ZONE: "#66bb6a",
}  # fmt: skip


def draw_nuclei(template: Template) -> bytes:
    """Draw the outlines of nuclei, insula and cerebellum over grey and white matter, as PNG."""
    figure = _lay_out(
        template,
        NUCLEI_Z_MM,
        lambda plane: {name: template.fractions[REGIONS.index(name), :, :, plane] for name in _REGION_COLORS},
        _REGION_COLORS,
    )
    figure.suptitle("Regions placed by hand over MNI152 grey and white matter", fontsize=11)
    return figure_to_png(figure, source="simulated")


def draw_territories(template: Template) -> bytes:
    """Draw the arterial territories over the anatomy at the three planes of the cohort, as PNG."""
    figure = _lay_out(template, TERRITORIES_Z_MM, lambda plane: _weigh_plane(template, plane), _TERRITORY_COLORS)
    figure.suptitle("Arterial territories (own parametric ones); diaschisis alone lowers the cerebellum", fontsize=11)
    return figure_to_png(figure, source="simulated")


def _weigh_plane(template: Template, plane: int) -> Mapping[str, Array]:
    x, y = _axes(template)
    z_mm = template.origin_mm[2] + TEMPLATE_SPACING_MM * plane
    grid = np.stack(np.meshgrid(x, y, np.array([z_mm], dtype=np.float32), indexing="ij"))[..., 0].astype(np.float32)
    cerebrum = np.delete(template.fractions[..., plane], REGIONS.index("cerebellum"), axis=0).sum(axis=0)
    # In the posterior fossa the disease of the cerebrum is left out, as in `cohort.simulator.ischaemia`.
    supplied = (cerebrum > 0.3) & ~((grid[1] < -30) & (z_mm < -18))
    return {name: weights * supplied for name, weights in territory_weights(grid).items()}


def _lay_out(
    template: Template,
    planes_mm: tuple[float, ...],
    shapes: Callable[[int], Mapping[str, Array]],
    colors: Mapping[str, str],
) -> Figure:
    across = min(4, len(planes_mm))
    down = -(-len(planes_mm) // across)
    height = 3.9 * down + 0.7
    figure = Figure(figsize=(3.3 * across, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.text(0.01, 0.12 / height, MARKS["simulated"], fontsize=8, color="#b00020", weight="bold")
    for panel, z_mm in zip(figure.subplots(down, across, squeeze=False).flat, planes_mm, strict=True):
        plane = round((z_mm - float(template.origin_mm[2])) / TEMPLATE_SPACING_MM)
        _draw_anatomy(panel, template, plane)
        for name, shape in shapes(plane).items():
            _draw_shape(panel, template, shape, colors[name])
        panel.set_title(f"MNI z = {z_mm:+.0f} mm", fontsize=9)
    figure.legend(
        handles=[Line2D([], [], color=color, label=str(name).replace("_", " ")) for name, color in colors.items()],
        loc="outside lower right",
        ncols=len(colors),
        frameon=False,
        fontsize=9,
    )
    return figure


def _axes(template: Template) -> tuple[Array, Array]:
    x, y = (
        template.origin_mm[axis] + np.float32(TEMPLATE_SPACING_MM) * np.arange(template.fractions.shape[1 + axis])
        for axis in (0, 1)
    )
    return x.astype(np.float32), y.astype(np.float32)


def _draw_anatomy(panel: Panel, template: Template, plane: int) -> None:
    white = template.fractions[REGIONS.index("white_matter"), :, :, plane]
    grey = template.fractions[..., plane].sum(axis=0) - white
    x, y = _axes(template)
    panel.pcolormesh(x, y, (0.55 * grey + white).T, cmap="gray", vmin=0, vmax=1.05, shading="nearest")
    panel.set_xlim(80, -80)  # the patient's left on image right
    panel.set_ylim(-112, 80)
    panel.set_aspect("equal")
    panel.set_xlabel("MNI x (mm)", fontsize=7, labelpad=1)
    panel.set_ylabel("MNI y (mm)", fontsize=7, labelpad=0)
    panel.tick_params(labelsize=6)
    for words, x_mm, align in (("right", 77, "left"), ("patient's left", -77, "right")):
        panel.text(x_mm, 76, words, ha=align, va="top", fontsize=7, color="white")


def _draw_shape(panel: Panel, template: Template, shape: Array, color: str) -> None:
    if shape.max() <= 0.5:
        return
    x, y = _axes(template)
    panel.contourf(x, y, shape.T, levels=[0.5, 1.1], colors=[color], alpha=0.25)
    panel.contour(x, y, shape.T, levels=[0.5], colors=[color], linewidths=1.0)
