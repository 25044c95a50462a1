"""The calibration as Markdown between two markers of docs/cohort.md; all else in that file is left alone."""

from collections.abc import Mapping, Sequence

from cohort.calibration.rows import Row, to_table
from cohort.calibration.template import TemplateReading
from spect.errors import CohortError

BEGIN = "<!-- calibration: begin, written by benchmarks/cohort_calibration.py -->"
END = "<!-- calibration: end -->"


def replace_section(document: str, section: str) -> str:
    """Put a section between the markers; raise `CohortError` where they are not there, once each and in order."""
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise CohortError(f"the document needs one line {BEGIN!r} and, after it, one {END!r}; put them back")
    return f"{document[: document.index(BEGIN)]}{BEGIN}\n{section.strip()}\n{document[document.index(END) :]}"


def read_section(document: str) -> str:
    """Return what lies between the markers; raise `CohortError` where they are not there."""
    replace_section(document, "")
    return document[document.index(BEGIN) + len(BEGIN) : document.index(END)].strip()


def write_section(rows: Sequence[Row], *, about: str, template: TemplateReading | None) -> str:
    """Write how it was made, every row, and the template beside the simulated HMPAO scans."""
    inside = sum(row.is_inside() for row in rows)
    head = f"{about}\n\n{inside} of {len(rows)} rows lie inside their range.\n"
    parts = [head, to_table(rows)]
    if template is not None:
        simulated = {row.quantity: row.simulated.value for row in rows}
        parts.append(_write_template(template, simulated))
    return "\n".join(parts)


def _write_template(template: TemplateReading, simulated: Mapping[str, float]) -> str:
    lines = [
        "\nSPM's SPECT.nii read with the same regions at the same planes (it is one mean image, smoothed):\n",
        "| region over cortex | SPECT.nii, these regions | simulated HMPAO | difference |",
        "| --- | --- | --- | --- |",
    ]
    for name, ratio in template.over_cortex.items():
        label = name.replace("_", " ")
        value = simulated[f"{label} over cortex after imaging, HMPAO"]
        lines.append(f"| {label} | {ratio:.3f} | {value:.3f} | {100 * (value / ratio - 1):+.1f} % |")
    ratios = ", ".join(f"{level} {ratio:.3f}" for level, ratio in template.left_right_ratio.items())
    lines.append(f"\nIts left over right, by the quantifier that measures everything here: {ratios}.")
    return "\n".join(lines)
