"""The tables of `synspect cohort describe`, each within 80 columns."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spect.words import in_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cohort.description.comparison import CohortComparison, FeatureDistance, Judged
    from cohort.description.describe import CohortSummary, ConditionSummary, Interval

_FEATURE_HEADINGS = {
    "mean_counts": "mean\ncounts",
    "log_left_right_ratio": "log\nleft/right",
    "mask_fraction": "mask\nshare",
    "max_over_mean": "max/\nmean",
    "high_frequency_share": "high\nfrequency",
    "noise_sd": "noise\nSD",
}


def print_summary(console: Console, summary: "CohortSummary") -> None:
    """Print one cohort: what it is, its conditions, their sensitivity to the threshold, and their error to truth."""
    _print_head(console, summary)
    table = _table()
    for heading in ("slices/\npatients", "mean counts", "left/right", "larger/smaller"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.conditions:
        lost = f"\n{row.slices_without_outline} unmeasured" if row.slices_without_outline else ""
        ratios = (_in_words(row.left_right_ratio, 3), _in_words(row.asymmetry, 3))
        table.add_row(row.condition, f"{row.slices}/{row.patients}{lost}", _in_words(row.mean_counts, 2), *ratios)
    console.print(table)
    console.print("mean (SD), 95 % interval by patient; ratios: geometric mean, SD of the log")
    _print_checks(console, summary)


def _print_head(console: Console, summary: "CohortSummary") -> None:
    splits = ", ".join(f"{name} {slices}" for name, slices in summary.slices_by_split.items() if slices)
    spread = ", ".join(f"{patients} with {slices}" for slices, patients in summary.patients_by_slices.items())
    version = f" (simulator {summary.simulator_version}, seed {summary.seed})" if summary.source == "simulated" else ""
    lines = [
        Text.assemble(
            (summary.name, "bold"), f": {summary.source}{version}, {in_number(summary.slices, 'slice')} ({splits})"
        ),
        f"{in_number(summary.patients, 'patient')} by slices: {spread}",
        f"mean counts of one patient's slices: {_likeness_in_words(summary)}",
        (
            f"matrix {summary.matrix}, {summary.pixel_spacing_mm:g} mm, {summary.intensity_unit}, "
            f"{summary.intensity_scaling} scale, fingerprint {summary.fingerprint[:12]}"
        ),
        "quality flags: " + _flags_in_words(summary.quality_flags),
    ]
    for line in lines:
        console.print(line)


def _flags_in_words(flags: "Mapping[str, int]") -> str:
    raised = [f"{flag} {slices}" for flag, slices in flags.items() if slices]
    return ", ".join(raised) if raised else "none of " + ", ".join(flags)


def _likeness_in_words(summary: "CohortSummary") -> str:
    icc = summary.mean_counts_icc
    if icc is None:
        return "too few patients with several slices for a correlation"
    pairs = ", ".join(f"{pair.levels} {pair.correlation.value:.2f}" for pair in summary.mean_counts_by_level_pair)
    words = f"ICC {icc.value:.2f} ({icc.low:.2f} to {icc.high:.2f}, {in_number(icc.patients, 'patient')})"
    return f"{words}; {pairs}" if pairs else words


def _print_checks(console: Console, summary: "CohortSummary") -> None:
    has_truth = any(row.truth for row in summary.conditions)
    title = "larger/smaller by threshold"
    table = _table(title=f"{title}, and against the truth" if has_truth else title)
    for heading in ("30 %", "40 %", "50 %", *(("true", "error", "SD") if has_truth else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.conditions:
        table.add_row(row.condition, *_check_cells(row, has_truth=has_truth))
    console.print(table)
    if has_truth:
        console.print("error: log left/right, measured less true; unilateral: above 0 reads too small")


def _check_cells(row: "ConditionSummary", *, has_truth: bool) -> list[str]:
    cells = [f"{one.asymmetry:.3f}" for one in row.sensitivity] or ["-"] * 3
    if not has_truth:
        return cells
    if row.truth is None:
        return [*cells, "-", "-", "-"]
    sd = "-" if row.truth.sd is None else f"{row.truth.sd:.3f}"
    return [*cells, f"{row.truth.true_asymmetry:.3f}", f"{row.truth.bias:+.3f}", sd]


def print_comparison(console: Console, comparison: "CohortComparison") -> None:
    """Print two cohorts side by side: means, spreads and features, then what cannot be compared."""
    for note in comparison.notes:
        console.print(Text.assemble(("note", "bold"), f": {note}"))
    for which, names in (("first", comparison.only_in_first), ("second", comparison.only_in_second)):
        if names:
            console.print(f"only in the {which} cohort: {', '.join(names)}")
    if not comparison.conditions:
        console.print("the cohorts share no condition, so nothing is compared")
        return
    _print_means(console, comparison)
    _print_spreads(console, comparison)
    _print_features(console, comparison)


def _print_means(console: Console, comparison: "CohortComparison") -> None:
    table = _table(title="first cohort against the second, 90 % intervals by patient")
    # A verdict breaks between its words: the row fits 80 columns whatever it says.
    for heading in ("mean counts,\nratio", "verdict\n0.95 to 1.05", "log left/right,\ndifference", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.conditions:
        counts, ratio = row.mean_counts_ratio, row.log_ratio_difference
        margin = counts.margin_at_80_percent_power
        shown = "" if margin is None else f"\nshows ±{100 * margin:.0f} %"
        margin = ratio.margin_at_80_percent_power
        shown_ratio = "" if margin is None else f"\nshows ±{margin:.3f}"
        cells = (_estimate(counts), _verdict(counts) + shown, _estimate(ratio), _verdict(ratio) + shown_ratio)
        table.add_row(row.condition, *cells)
    console.print(table)
    console.print("shows: the smallest margin that equal cohorts of this size pass, 80 % power")


def _print_spreads(console: Console, comparison: "CohortComparison") -> None:
    table = _table(title="ratios of SDs, first over second; 0.8 to 1.25 counts as equal")
    for heading in ("mean counts", "verdict", "log left/right", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.conditions:
        counts, ratio = row.mean_counts_sd_ratio, row.log_ratio_sd_ratio
        table.add_row(row.condition, _estimate(counts), _verdict(counts), _estimate(ratio), _verdict(ratio))
    console.print(table)


def _print_features(console: Console, comparison: "CohortComparison") -> None:
    table = _table(title="distance of features (Wasserstein, SDs of the second)")
    for heading in _FEATURE_HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.conditions:
        found = {one.feature: one for one in row.features}
        table.add_row(row.condition, *(_distance(found.get(name)) for name in _FEATURE_HEADINGS))
    console.print(table)
    console.print("* beyond 95 of 100 shuffles of patients; one cell in twenty is so by chance")


def _distance(found: "FeatureDistance | None") -> str:
    if found is None or found.wasserstein_in_sd is None or found.wasserstein_by_chance is None:
        return "-"
    return f"{found.wasserstein_in_sd:.2f}" + ("*" if found.wasserstein_in_sd > found.wasserstein_by_chance else " ")


def _table(*, title: str | None = None) -> Table:
    """Return a table that fits 80 columns."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("condition", no_wrap=True)
    return table


def _in_words(interval: "Interval | None", digits: int) -> str:
    if interval is None:
        return "-"
    if interval.low is None or interval.high is None or interval.sd is None:
        return f"{interval.mean:.{digits}f}"
    spread = f"{interval.mean:.{digits}f} ({interval.sd:.{digits}f})"
    return f"{spread}\n{interval.low:.{digits}f} to {interval.high:.{digits}f}"


_IN_TWO_LINES = {"not enough data": "not enough\ndata", "not comparable": "not\ncomparable"}


def _verdict(judged: "Judged") -> str:
    return _IN_TWO_LINES.get(judged.verdict, judged.verdict)


def _estimate(judged: "Judged") -> str:
    one = judged.estimate
    return "-" if one is None else f"{one.value:.3f}\n{one.low:.3f} to {one.high:.3f}"
