"""Pictures of a cohort's averages: the mean slice and the left-right asymmetry of every condition."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from cohort.description.asymmetry import ConditionMaps
from cohort.description.measuring import Values
from cohort.store import CohortDescription
from spect.conditions import Condition, Level, Pattern
from spect.formats.marks import MARKS
from spect.formats.png import PERFUSION_COLORS, figure_to_png

Maps = Mapping[Condition, ConditionMaps]
Described = tuple[CohortDescription, Maps]

_DOTS_PER_INCH = 110
_CELL = 1.6  # inches
_ROW = _CELL + 0.26  # with the caption above a panel
_BLOCK = 3 * _CELL + 1.15  # a cohort's panels and its colour bar
_MARGIN = 0.6  # for the levels' names
_SHOWN_HALF_MM = 116.0  # of the field about its centre: SPM's template reaches 105 mm from it at CER
_SMALLEST_LIMIT_PERCENT = 5.0  # below it a colour bar would make noise look like a finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    colors: Colormap | str
    low: float
    high: float
    unit: str


def draw_mean_slices(cohorts: Sequence[Described]) -> bytes:
    """Draw the mean slice of every condition of one or two cohorts as PNG; on one scale where they share a unit."""
    tops = [max((float(one.mean_counts.max()) for one in maps.values()), default=1.0) for _, maps in cohorts]
    if len({(about.intensity_unit, about.intensity_scaling) for about, _ in cohorts}) == 1:
        tops = [max(tops)] * len(tops)
    panels = [{condition: one.mean_counts for condition, one in maps.items()} for _, maps in cohorts]
    scales = [
        _Scale(colors=PERFUSION_COLORS, low=0.0, high=top or 1.0, unit=about.intensity_unit)
        for top, (about, _) in zip(tops, cohorts, strict=True)
    ]
    note = "patient's left on image right; each slice turned to its own midline, every patient of equal weight"
    return _draw("Mean slice by condition", note, cohorts, panels, scales)


def draw_asymmetry(cohorts: Sequence[Described]) -> bytes:
    """Draw the asymmetry map of every condition of one or two cohorts on one symmetric scale, as PNG."""
    panels = [{condition: one.asymmetry_percent for condition, one in maps.items()} for _, maps in cohorts]
    limit = _choose_limit([one for maps in panels for one in maps.values()])
    scale = _Scale(colors="RdBu_r", low=-limit, high=limit, unit="% (blue: lower than its mirror image)")
    note = (
        "mean over patients of (here - mirror) / (here + mirror), mirrored about each slice's own midline\n"
        "normal and bilateral: patient's left on image right"
    )
    title = "Left-right asymmetry; unilateral slices turned: lower hemisphere on image right"
    return _draw(title, note, cohorts, panels, [scale] * len(cohorts))


def _choose_limit(maps: Sequence[Values]) -> float:
    """Choose half the colour scale: what 99 of 100 shown pixels stay within, up to the next 5 %."""
    shown = [np.abs(one[np.isfinite(one)]) for one in maps if np.isfinite(one).any()]
    reach = float(np.percentile(np.concatenate(shown), 99)) if shown else 0.0
    return max(_SMALLEST_LIMIT_PERCENT, 5.0 * math.ceil(reach / 5))


def _draw(
    title: str,
    note: str,
    cohorts: Sequence[Described],
    panels: Sequence[Mapping[Condition, Values]],
    scales: Sequence[_Scale],
) -> bytes:
    width, height = _MARGIN + len(cohorts) * _BLOCK, 3 * _ROW + 1.35
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    mark = "; ".join(sorted({MARKS[about.source] for about, _ in cohorts}))
    _write(figure, 0.15, height - 0.2, title, fontsize=10)
    _write(figure, 0.15, height - 0.43, mark, fontsize=8, color="#b00020", weight="bold")
    _write(figure, 0.15, 0.24, note, fontsize=7)
    for number, (about, maps) in enumerate(cohorts):
        left = _MARGIN + number * _BLOCK
        # An import's seed is its split's: no slice depends on it.
        seed = f", seed {about.seed}" if about.source == "simulated" and about.seed is not None else ""
        _write(figure, left, height - 0.72, f"{about.name} ({about.source}{seed})", fontsize=9, weight="bold")
        _draw_block(figure, left, about, maps, panels[number], scales[number])
    return figure_to_png(figure, source=cohorts[0][0].source)


def _draw_block(
    figure: Figure,
    left: float,
    about: CohortDescription,
    maps: Maps,
    panels: Mapping[Condition, Values],
    scale: _Scale,
) -> None:
    """Draw one cohort: levels down, patterns across, and the colour bar on its right."""
    for row, level in enumerate(Level):
        bottom = 0.5 + (2 - row) * _ROW
        _write(figure, left - 0.08, bottom + _CELL / 2, str(level), fontsize=9, ha="right")
        for column, pattern in enumerate(Pattern):
            place = (left + column * (_CELL + 0.04), bottom)
            found = next((one for one in maps if (one.level, one.pattern) == (level, pattern)), None)
            words = f"{pattern}, no slice" if found is None else f"{pattern}, n = {maps[found].slices}"
            _write(figure, place[0], bottom + _CELL + 0.1, words, fontsize=7.5, color="0.5" if found is None else "0")
            if found is not None:
                _show(figure, place, panels[found], about.pixel_spacing_mm, scale)
    _draw_bar(figure, left + 3 * (_CELL + 0.04) + 0.06, scale)


def _draw_bar(figure: Figure, left: float, scale: _Scale) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 0.5 / height, 0.13 / width, (2 * _ROW + _CELL) / height))
    colors = ScalarMappable(norm=Normalize(scale.low, scale.high), cmap=scale.colors)
    figure.colorbar(colors, cax=axes).set_label(scale.unit, fontsize=8, parse_math=False)
    axes.tick_params(labelsize=7)


def _show(figure: Figure, place: tuple[float, float], panel: Values, pixel_spacing_mm: float, scale: _Scale) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((place[0] / width, place[1] / height, _CELL / width, _CELL / height))
    axes.set_axis_off()
    rows, columns = (side * pixel_spacing_mm / 2 for side in panel.shape)
    extent = (-columns, columns, rows, -rows)
    axes.imshow(panel, cmap=scale.colors, vmin=scale.low, vmax=scale.high, extent=extent)
    axes.set_xlim(-min(_SHOWN_HALF_MM, columns), min(_SHOWN_HALF_MM, columns))
    axes.set_ylim(min(_SHOWN_HALF_MM, rows), -min(_SHOWN_HALF_MM, rows))


def _write(figure: Figure, x: float, y: float, words: str, **style: str | float) -> None:
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, words, va="center", parse_math=False, **style)  # type: ignore[arg-type]
