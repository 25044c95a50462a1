"""Pictures of a cohort: a contact sheet with a row a condition, and violins of MC and LR."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from cohort.description.measuring import MeasuredCohort, Values
from cohort.store import Cohort
from spect.conditions import CONDITIONS, Condition
from spect.formats.marks import MARKS
from spect.formats.png import figure_to_png, labelled_rows_png
from spect.words import in_number

ACROSS = 8
_COLORS = ("#2a5d9f", "#c8702a")
_FEWEST = 5  # values below which a density says less than the points


def draw_contact_sheet(cohort: Cohort) -> bytes:
    """Draw up to eight slices of every condition, evenly spaced over its patients, as PNG."""
    rows = {}
    for condition in cohort.conditions():
        here = cohort.select(condition=condition).counts
        rows[str(condition)] = here[np.linspace(0, len(here) - 1, min(ACROSS, len(here))).astype(int)]
    about = cohort.description
    patients = len(set(cohort.patient.tolist()))
    return labelled_rows_png(
        rows,
        title=f"Cohort {about.name}: {in_number(len(cohort), 'slice')} of {in_number(patients, 'patient')}",
        pixel_spacing_mm=about.pixel_spacing_mm,
        # A patient of unusual flow would darken all others: the colour bar says that it goes on.
        max_counts=float(np.percentile(np.concatenate(list(rows.values())).max(axis=(1, 2)), 90)),
        unit=about.intensity_unit,
        source=about.source,
    )


def draw_quantities(cohorts: Sequence[MeasuredCohort]) -> bytes:
    """Draw violins of mean counts and left/right ratio by condition, one or two cohorts side by side, as PNG."""
    return figure_to_png(build_quantities(cohorts), source=cohorts[0].cohort.description.source)


def build_quantities(cohorts: Sequence[MeasuredCohort]) -> Figure:
    """Lay out the violins: mean counts above, the ratio below.

    Cohorts of different unit or scaling get a panel of mean counts each: one axis would set beside each other what
    cannot be compared.
    """
    scales = list(dict.fromkeys(_scale_of(one) for one in cohorts))
    head = 0.5 + 0.2 * len(cohorts) + 0.15 * (len(scales) - 1)  # inches above the panels: title, legend
    size = (9.5, head + 0.95 + 2.8 * (len(scales) + 1))
    figure = Figure(figsize=size, dpi=110)
    FigureCanvasAgg(figure)
    *uppers, lower = figure.subplots(len(scales) + 1, 1, sharex=True)
    for number, measured in enumerate(cohorts):
        place = (number - (len(cohorts) - 1) / 2) * 0.42
        width = 0.8 / len(cohorts)
        upper = uppers[scales.index(_scale_of(measured))]
        for position, condition in enumerate(CONDITIONS):
            mean_counts, log_ratio, _ = measured.of(condition)
            _draw_violin(upper, position + place, mean_counts, width, _COLORS[number])
            _draw_violin(lower, position + place, np.exp(log_ratio), width, _COLORS[number])
    for axes, (unit, scaling) in zip(uppers, scales, strict=True):
        words = f"mean counts, {scaling}" if len({one for _, one in scales}) > 1 else "mean counts"
        axes.set_ylabel(f"{words}\n({unit})", parse_math=False)
    _label_ratios(lower)
    _label_conditions(lower)
    _write_head(figure, cohorts, apart=len(scales) > 1)
    figure.subplots_adjust(left=0.1, right=0.985, top=1 - head / size[1], bottom=0.95 / size[1], hspace=0.08)
    return figure


def _scale_of(measured: MeasuredCohort) -> tuple[str, str]:
    about = measured.cohort.description
    return about.intensity_unit, about.intensity_scaling


def _write_head(figure: Figure, cohorts: Sequence[MeasuredCohort], *, apart: bool) -> None:
    """Write title and legend above the panels, and the mark below them: no word lies over a violin."""
    height = figure.get_size_inches()[1]
    title = "Mean counts and left/right ratio by condition; bars: median and quartiles"
    if apart:
        title += "\nmean counts of different unit or scaling are not comparable: a panel each"
    figure.text(0.5, 1 - 0.12 / height, title, fontsize=11, ha="center", va="top", linespacing=1.3)
    handles = [Line2D([], [], color=color, linewidth=6, alpha=0.5) for color in _COLORS[: len(cohorts)]]
    legend = figure.legend(
        handles,
        [_name(one) for one in cohorts],
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(0.09, 1 - (0.55 if apart else 0.4) / height),
        frameon=False,
        borderaxespad=0,
    )
    for words in legend.get_texts():
        words.set_parse_math(False)
    mark = "; ".join(sorted({MARKS[one.cohort.description.source] for one in cohorts}))
    figure.text(0.01, 0.07 / height, mark, fontsize=8, color="#b00020", weight="bold")


def _name(measured: MeasuredCohort) -> str:
    about = measured.cohort.description
    seed = f" seed {about.seed}" if about.source == "simulated" else ""
    return f"{about.name}{seed} ({about.source}, {in_number(len(measured.cohort), 'slice')})"


def _draw_violin(axes: Axes, place: float, values: Values, width: float, color: str) -> None:
    if len(values) < _FEWEST or np.ptp(values) == 0:
        axes.plot(np.full(len(values), place), values, "o", color=color, markersize=4, alpha=0.7)
        return
    parts = axes.violinplot(values, positions=[place], widths=width, showextrema=False)
    for body in parts["bodies"]:  # type: ignore[attr-defined]
        body.set_facecolor(color)
        body.set_alpha(0.45)
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.plot([place, place], [low, high], color=color, linewidth=3)
    axes.plot([place], [middle], "o", color="white", markeredgecolor=color, markersize=5)


def _label_conditions(axes: Axes) -> None:
    axes.set_xticks(range(len(CONDITIONS)), [_in_two_lines(condition) for condition in CONDITIONS], fontsize=9)
    axes.set_xlim(-0.6, len(CONDITIONS) - 0.4)


def _label_ratios(axes: Axes) -> None:
    axes.set_ylabel("left/right ratio\n(log scale)")
    axes.set_yscale("log")
    axes.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    ticks = choose_ratio_ticks(*axes.get_ylim())
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def choose_ratio_ticks(low: float, high: float) -> list[float]:
    """Choose round ratios within a range: evenly spaced, or 1, 2 and 5 of every decade where it spans more than 5."""
    wide = high > 5 * low
    locator = LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(nbins=8, steps=[1, 2, 5, 10])
    found = (round(float(tick), 6) for tick in locator.tick_values(low, high))
    return [tick for tick in found if low <= tick <= high]


def _in_two_lines(condition: Condition) -> str:
    return f"{condition.level}\n{condition.pattern}"
