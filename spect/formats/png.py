"""Draw slices for the eye: contact sheets as PNG, in counts with a colour bar, and marked as what they are."""

import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from spect.errors import SlicesError
from spect.formats.marks import MARKS
from spect.formats.whole import MAX_SLICES, count_most
from spect.slices import Counts

# Black, blue, green, yellow, red, white: the order of the colour scales perfusion scans are read with.
PERFUSION_COLORS = LinearSegmentedColormap.from_list(
    "perfusion",
    [
        (0.0, "#000000"),
        (0.2, "#22137d"),
        (0.38, "#0f6fb0"),
        (0.52, "#19a15f"),
        (0.68, "#e7d32b"),
        (0.86, "#df3b1c"),
        (1.0, "#ffffff"),
    ],
)

_DOTS_PER_INCH = 110
_CELL_DOTS = 128  # a smaller matrix is shown at a whole multiple of its pixels
_CAPTION_SHARE = 0.16  # of a cell's height, below each slice
_GAP_SHARE = 0.04


def contact_sheet_png(
    counts: Counts,
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str = "",
    pixel_spacing_mm: float | None = None,
    max_counts: float | None = None,
    unit: str = "counts per pixel",
    source: str = "synthetic",
) -> bytes:
    """Draw slices (n, rows, columns), one caption below each, on one intensity scale.

    `source` is synthetic, simulated or acquired and chooses the mark, which is drawn and kept in a text chunk.
    Raises `SlicesError` for no slice or more than an eye can use.
    """
    _check_count(len(counts), most=count_most(counts.shape[-1]))
    across = min(columns or math.ceil(math.sqrt(len(counts) * 1.5)), len(counts))
    cells = [counts[i : i + across] for i in range(0, len(counts), across)]
    words = list(captions or [""] * len(counts))
    sheet = _Sheet(cells, [words[i : i + across] for i in range(0, len(words), across)], [""] * len(cells))
    return sheet.draw(title, _scale_note(counts, pixel_spacing_mm), max_counts, unit, source)


def labelled_rows_png(
    rows: Mapping[str, Counts],
    *,
    title: str = "",
    pixel_spacing_mm: float | None = None,
    max_counts: float | None = None,
    unit: str = "counts per pixel",
    source: str = "synthetic",
) -> bytes:
    """Draw one row of slices for each label, such as a condition; a row may hold fewer slices than another, or none."""
    drawn = [slices for slices in rows.values() if len(slices)]
    _check_count(sum(map(len, drawn)), most=MAX_SLICES)
    sheet = _Sheet(list(rows.values()), [[""] * len(slices) for slices in rows.values()], list(rows))
    return sheet.draw(title, _scale_note(drawn[0], pixel_spacing_mm), max_counts, unit, source)


def figure_to_png(figure: Figure, *, source: str) -> bytes:
    """Encode a figure with the mark of its source and the software in text chunks, and no date."""
    buffer = io.BytesIO()
    description = {"Description": MARKS[source], "Software": "synspect", "Source": source}
    figure.savefig(buffer, format="png", metadata=description)
    figure.clear()  # what it drew lies in circles that Python may leave for long
    return buffer.getvalue()


def _check_count(slices: int, *, most: int) -> None:
    if not 0 < slices <= most:
        raise SlicesError(f"a contact sheet of their matrix holds 1 to {most} slices, got {slices}; ask for fewer")


def _scale_note(counts: Counts, pixel_spacing_mm: float | None) -> str:
    side = f"{counts.shape[-2]} x {counts.shape[-1]} pixels"
    return side if pixel_spacing_mm is None else f"{side} of {pixel_spacing_mm:g} mm"


class _Sheet:
    """Rows of slices, each slice drawn by itself: while one is turned into dots it takes a hundred times its memory."""

    def __init__(self, rows: list[Counts], captions: list[list[str]], labels: list[str]) -> None:
        self.rows, self.captions, self.labels = rows, captions, labels
        shape = next(row for row in rows if len(row)).shape
        self.height, self.width = shape[-2:]
        self.gap = max(1, round(self.width * _GAP_SHARE))
        self.foot = round(self.height * _CAPTION_SHARE) if any(map(any, captions)) else self.gap
        self.across = max(map(len, rows))

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Return the top and left pixel of a cell."""
        return row * (self.height + self.foot), column * (self.width + self.gap)

    def draw(self, title: str, note: str, max_counts: float | None, unit: str, source: str) -> bytes:
        scale = max(1, round(_CELL_DOTS / self.width)) / _DOTS_PER_INCH
        label_inches = 0.25 + 0.085 * max(map(len, self.labels))
        bottom, right = self.corner(len(self.rows), self.across)
        body = (right * scale, bottom * scale)
        size = (max(label_inches + body[0] + 1.1, 4.8), body[1] + 1.0)
        figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((label_inches / size[0], 0.4 / size[1], body[0] / size[0], body[1] / size[1]))
        highest = max(float(slices.max()) for slices in self.rows if len(slices))
        top_of_scale = (highest if max_counts is None else max_counts) or 1
        shown = self._show_slices(axes, Normalize(0, top_of_scale))
        axes.set_axis_off()
        bar = figure.add_axes(
            ((label_inches + body[0] + 0.08) / size[0], 0.4 / size[1], 0.14 / size[0], body[1] / size[1])
        )
        clipped = "max" if highest > top_of_scale else "neither"
        figure.colorbar(shown, cax=bar, extend=clipped).set_label(unit, fontsize=8, parse_math=False)
        bar.tick_params(labelsize=7)
        self._write_words(figure, axes, (title, note, MARKS[source]), size)
        return figure_to_png(figure, source=source)

    def _show_slices(self, axes: Axes, norm: Normalize) -> ScalarMappable:
        bottom, right = self.corner(len(self.rows), self.across)
        for row, slices in enumerate(self.rows):
            for column, counts in enumerate(slices):
                top, left = self.corner(row, column)
                axes.imshow(
                    counts,
                    cmap=PERFUSION_COLORS,
                    norm=norm,
                    interpolation="nearest",
                    extent=(left - 0.5, left + self.width - 0.5, top + self.height - 0.5, top - 0.5),
                )
        axes.set(xlim=(-0.5, right - 0.5), ylim=(bottom - 0.5, -0.5))
        return axes.images[0]

    def _write_words(self, figure: Figure, axes: Axes, words: tuple[str, str, str], size: tuple[float, float]) -> None:
        title, note, mark = words
        figure.text(0.15 / size[0], 1 - 0.2 / size[1], title, fontsize=10, va="center", parse_math=False)
        figure.text(0.15 / size[0], 1 - 0.43 / size[1], mark, fontsize=8, va="center", color="#b00020", weight="bold")
        figure.text(0.15 / size[0], 0.18 / size[1], f"patient's left on image right; {note}", fontsize=7, va="center")
        for row, (label, captions) in enumerate(zip(self.labels, self.captions, strict=True)):
            top, _ = self.corner(row, 0)
            axes.text(-self.gap, top + self.height / 2, label, fontsize=8, ha="right", va="center", parse_math=False)
            if not captions:
                axes.text(0, top + self.height / 2, "no slice", fontsize=8, va="center", color="0.5")
            for column, caption in enumerate(captions):
                top, left = self.corner(row, column)
                place = (left + self.width / 2, top + self.height + self.foot * 0.45)
                axes.text(*place, caption, fontsize=6, ha="center", va="center", parse_math=False)
