"""Pictures of a cohort: a contact sheet with a row a condition, and violins of MC and LR."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cohort.description.measuring import MeasuredCohort, Values
from cohort.store import Cohort
from spect.conditions import CONDITIONS, Condition
from spect.formats.png import MARKS, figure_to_png, labelled_rows_png

ACROSS = 8
_COLORS = ("#2a5d9f", "#c8702a")
_FEWEST = 5  # values below which a density says less than the points


def in_number(count: int, noun: str) -> str:
    """Say "1 patient", "2 patients"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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
    figure = Figure(figsize=(9.5, 7.2), dpi=110)
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    about = cohorts[0].cohort.description
    for number, measured in enumerate(cohorts):
        place = (number - (len(cohorts) - 1) / 2) * 0.42
        width = 0.8 / len(cohorts)
        for position, condition in enumerate(CONDITIONS):
            mean_counts, log_ratio, _ = measured.of(condition)
            _draw_violin(upper, position + place, mean_counts, width, _COLORS[number])
            _draw_violin(lower, position + place, np.exp(log_ratio), width, _COLORS[number])
        described = measured.cohort.description
        seed = f" seed {described.seed}" if described.source == "simulated" else ""
        label = f"{described.name}{seed} ({described.source}, {len(measured.cohort)} slices)"
        upper.plot([], [], color=_COLORS[number], linewidth=6, alpha=0.5, label=label)
    upper.set_ylabel(f"mean counts\n({about.intensity_unit})")
    upper.legend(fontsize=8, loc="upper right", frameon=False)
    lower.set_ylabel("left/right ratio\n(log scale)")
    lower.set_yscale("log")
    lower.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    _label_conditions(lower)
    figure.suptitle("Mean counts and left/right ratio by condition; bars: median and quartiles", fontsize=11)
    mark = "; ".join(sorted({MARKS[one.cohort.description.source] for one in cohorts}))
    figure.text(0.01, 0.01, mark, fontsize=8, color="#b00020", weight="bold")
    figure.subplots_adjust(left=0.1, right=0.985, top=0.93, bottom=0.13, hspace=0.08)
    return figure_to_png(figure, source=about.source)


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
    ticks = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6]
    low, high = axes.get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axes.minorticks_off()


def _in_two_lines(condition: Condition) -> str:
    return f"{condition.level}\n{condition.pattern}"
