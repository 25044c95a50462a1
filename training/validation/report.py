"""One self-contained HTML page of a validation: verdicts, the reference study's table beside ours, figures, limits."""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from registry.bundle.manifest import Manifest
from registry.bundle.panel import Measurement, Panel
from registry.gates import GateReport
from spect.atomic import write_atomically
from spect.conditions import CONDITIONS, Pattern
from training.validation import paper
from training.validation.figures import draw_measures_png, draw_nearest_png, draw_reference_png, draw_synthetic_png
from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO
from training.validation.p_values import LEFT_RIGHT_P, MEAN_COUNTS_P
from training.validation.panel import Validation
from training.validation.simulators import compare_simulators, describe_source

LIMITS = (
    "MC, LR and principal scores are conditioned on: their agreement is by construction and proves no realism.",
    "A large P value shows no equality; the equivalence verdict does, inside a margin that was fixed in advance.",
    "CER x bilateral has no data and is not served.",
    "Unilateral cerebellar slices are read as crossed cerebellar diaschisis, which is an inference.",
    "Research use only, never for diagnosis.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """One pattern of the reference study's table beside ours."""

    quantity: str
    pattern: str
    paper_a: str
    paper_b: str
    ours: Measurement | None
    equivalence: Measurement | None


def write_report(validation: Validation, manifest: Manifest, gates: GateReport, path: Path) -> None:
    """Write the report; a file that is there is replaced whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render_report(validation, manifest, gates).encode())


def render_report(validation: Validation, manifest: Manifest, gates: GateReport) -> str:
    """Return the report as HTML that needs no other file."""
    environment = Environment(
        loader=PackageLoader("training.validation", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["number"] = format_number
    panel, trained = validation.panel, manifest.training_cohort
    return environment.get_template("report.html.jinja").render(
        panel=panel,
        manifest=manifest,
        gates=gates,
        paper_rows=build_paper_rows(panel),
        cells=_cell_sizes(panel),
        figures=_draw_figures(validation, manifest),
        limits=LIMITS,
        cohort=describe_cohort(panel),
        compared_with=describe_source(panel.cohort_source, panel.cohort_simulator_version),
        trained_on=describe_source(trained.source, trained.simulator_version),
        simulators=compare_simulators(manifest, panel),
    )


def describe_cohort(panel: Panel) -> str:
    """Name the cohort in the two words that stand beside every number."""
    return f"{panel.cohort_source} cohort"


def format_number(value: float | None) -> str:
    """Four significant digits, or a dash."""
    return "–" if value is None else f"{value:.4g}"


def build_paper_rows(panel: Panel) -> list[PaperRow]:
    """Set the reference study's P values beside ours and our equivalence verdicts."""
    mean_counts = [
        PaperRow(
            quantity="mean counts",
            pattern=pattern.value,
            paper_a=paper.MEAN_COUNTS_P_A[pattern],
            paper_b=paper.MEAN_COUNTS_P_B[pattern],
            ours=panel.find(MEAN_COUNTS_P, pattern.value),
            equivalence=panel.find(MEAN_COUNTS_RATIO.metric, pattern.value),
        )
        for pattern in Pattern
    ]
    left_right = [
        PaperRow(
            quantity="left/right ratio",
            pattern=pattern.value,
            paper_a=paper.LEFT_RIGHT_P_A[pattern],
            paper_b=paper.LEFT_RIGHT_P_B[pattern],
            ours=panel.find(LEFT_RIGHT_P, pattern.value),
            equivalence=panel.find(left_right_metric(pattern), pattern.value),
        )
        for pattern in Pattern
    ]
    return [*mean_counts, *left_right]


def _cell_sizes(panel: Panel) -> list[tuple[str, int, int]]:
    """Slices of either side by condition."""
    sizes = []
    for condition in CONDITIONS:
        measured = panel.find("mean_counts_ratio", str(condition))
        sizes.append(
            (str(condition), measured.slices_synthetic, measured.slices_reference)
            if measured
            else (str(condition), 0, 0)
        )
    return sizes


def _draw_figures(validation: Validation, manifest: Manifest) -> list[tuple[str, str]]:
    comparison, source = validation.comparison, validation.panel.cohort_source
    unit = manifest.training_cohort.intensity_unit
    brightest = float(comparison.synthetic.counts.max())
    drawn = [
        (
            f"Mean counts and left/right ratio per condition ({source} cohort)",
            draw_measures_png(comparison, source=source, unit=unit),
        ),
        ("Synthetic slices", draw_synthetic_png(comparison.synthetic, unit=unit)),
        (
            f"Reference slices ({source} cohort)",
            draw_reference_png(comparison.reference, source=source, unit=unit, max_counts=brightest),
        ),
    ]
    nearest = draw_nearest_png(comparison)
    if nearest is not None:
        drawn.append((f"Nearest training slices ({source} cohort)", nearest))
    return [(caption, base64.b64encode(png).decode()) for caption, png in drawn]
