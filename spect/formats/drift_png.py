"""Draw how a set of scans was judged: every score against its threshold, every effect against its margin, as PNG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from spect.conditions import CONDITIONS
from spect.features import FEATURES, LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS
from spect.judgement import DriftTest, DriftVerdict

_Fields = Mapping[str, Any]

# Told by word as well as by colour.
_COLORS = {
    DriftVerdict.OK: "#cfe8cf",
    DriftVerdict.DRIFT: "#e8837a",
    DriftVerdict.NOT_ENOUGH_DATA: "#e6e6e6",
    DriftVerdict.NOT_COMPARABLE: "#d9d2e9",
}
_EFFECTS = {MEAN_COUNTS: "mean counts, ratio to the reference", LOG_LEFT_RIGHT_RATIO: "log left/right, difference"}
_ROWS = [(DriftTest.SHIFT, feature) for feature in FEATURES] + [(DriftTest.DISTANCE, feature) for feature in _EFFECTS]
_MARK = "research use only, never for diagnosis"
_DOTS_PER_INCH = 110


def drift_check_png(check: _Fields, *, title: str) -> bytes:
    """Draw a check, as `ScanCheck.to_dict` gives it: a table of scores, and the two effects that have a margin."""
    judged = check["judgements"]
    present = [str(condition) for condition in CONDITIONS if any(_condition(one) == str(condition) for one in judged)]
    figure = Figure(figsize=(2.6 + 1.25 * max(len(present), 4), 7.2), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    table, mean_counts, log_ratio = figure.subplots(3, 1, height_ratios=(4, 1.6, 1.6))
    _draw_scores(table, judged, present)
    for axes, (feature, words) in zip((mean_counts, log_ratio), _EFFECTS.items(), strict=True):
        _draw_effects(axes, judged, present, feature)
        axes.set_ylabel(words.replace(", ", "\n"), fontsize=8)
    log_ratio.set_xticks(range(len(present)), [name.replace("/", "\n") for name in present], fontsize=8)
    words = f"{title}: {check['verdict'].replace('_', ' ')}, {check['slices']} slices"
    if check["unmeasurable"]:
        words += f", {check['unmeasurable']} without a brain outline"
    figure.suptitle(words, fontsize=11, x=0.01, ha="left", parse_math=False)
    figure.text(0.99, 0.005, _MARK, fontsize=7, ha="right")
    figure.subplots_adjust(left=2.3 / figure.get_figwidth(), right=0.985, top=0.94, bottom=0.085, hspace=0.08)
    return _encode(figure)


def _condition(judgement: _Fields) -> str:
    return f"{judgement['level']}/{judgement['pattern']}"


def _draw_scores(axes: Axes, judged: Sequence[_Fields], present: Sequence[str]) -> None:
    for one in judged:
        row = _ROWS.index((DriftTest(one["test"]), one["feature"]))
        column = present.index(_condition(one))
        verdict = DriftVerdict(one["verdict"])
        axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=_COLORS[verdict]))
        score = f"{one['score']:.3g} of {one['threshold']:.3g}\n" if "score" in one else ""
        axes.text(column, row, score + verdict.replace("_", " "), ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.5, len(present) - 0.5)
    axes.set_ylim(len(_ROWS) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(len(_ROWS)), [f"{test}: {feature.replace('_', ' ')}" for test, feature in _ROWS], fontsize=8)
    axes.tick_params(length=0)
    axes.set_frame_on(False)


def _draw_effects(axes: Axes, judged: Sequence[_Fields], present: Sequence[str], feature: str) -> None:
    """Draw the interval of each condition's effect over the band that its margin allows."""
    for one in judged:
        if one["feature"] != feature or "effect" not in one:
            continue
        effect, column = one["effect"], present.index(_condition(one))
        low, high = effect["margin_low"], effect["margin_high"]
        axes.add_patch(Rectangle((column - 0.3, low), 0.6, high - low, color=_COLORS[DriftVerdict.OK]))
        reach = [[effect["value"] - effect["low"]], [effect["high"] - effect["value"]]]
        axes.errorbar([column], [effect["value"]], yerr=reach, fmt="o", color="black", markersize=4, capsize=3)
    axes.axhline(1.0 if feature == MEAN_COUNTS else 0.0, color="#888888", linewidth=0.8)
    axes.set_xlim(-0.5, len(present) - 0.5)
    axes.set_xticks([])
    axes.tick_params(labelsize=7)


def _encode(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Description": _MARK, "Software": "synspect"})
    return buffer.getvalue()
