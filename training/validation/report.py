"""One self-contained HTML page of a validation: findings, the reference study's table beside ours, figures, limits."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from registry.bundle.manifest import Manifest
from registry.bundle.panel import Measurement, Panel
from registry.gates import GateReport
from spect.atomic import write_atomically
from spect.conditions import Pattern
from training.validation import paper
from training.validation.figures.sections import draw_figures
from training.validation.figures.separability import most_telling_band
from training.validation.findings import list_findings
from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO
from training.validation.p_values import LEFT_RIGHT_P, MEAN_COUNTS_P
from training.validation.panel import Validation
from training.validation.sample_sizes import describe_sample_sizes
from training.validation.simulators import compare_simulators, describe_source
from training.validation.thresholds import threshold_rows

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
        loader=PackageLoader("training.validation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_number, "words": in_words}
    panel, trained, comparison = validation.panel, manifest.training_cohort, validation.comparison
    return environment.get_template("report.html.jinja").render(
        panel=panel,
        manifest=manifest,
        gates=gates,
        findings=list_findings(panel),
        conditioned=name_conditioned(comparison.conditioned),
        paper_rows=build_paper_rows(panel),
        threshold_rows=threshold_rows(panel),
        band=most_telling_band(panel),
        sizes=describe_sample_sizes(comparison),
        figures={name: _embed(figure) for name, figure in draw_figures(validation, manifest).items()},
        measurements=_by_metric(panel),
        limits=LIMITS,
        cohort=describe_cohort(panel),
        compared_with=describe_source(panel.cohort_source, panel.cohort_simulator_version),
        trained_on=describe_source(trained.source, trained.simulator_version),
        simulators=compare_simulators(manifest, panel),
        floor_note=comparison.floor_note,
    )


def describe_cohort(panel: Panel) -> str:
    """Name the cohort in the two words that stand beside every number."""
    return f"{panel.cohort_source} cohort"


def format_number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "–"
    words = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return words.replace("-", "−")


def in_words(metric: str) -> str:
    """Turn the name of a metric into words."""
    words = metric.replace("left_right", "left/right").replace("_", " ")
    for plain, spelled in (("c2st", "C2ST"), (" auc", " AUC"), ("mmd", "MMD"), (" sd ", " SD "), ("pca", "PCA")):
        words = words.replace(plain, spelled)
    return words.replace(" per metre", " cycles/m") if " band " in words else words


def name_conditioned(conditioned: tuple[str, ...]) -> str:
    """Say what is asked of the generator."""
    names = [in_words(name) for name in conditioned if not name.startswith("score_")]
    scores = len(conditioned) - len(names)
    return ", ".join([*names, *([f"{scores} principal scores"] if scores else [])]) or "the condition alone"


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


def _by_metric(panel: Panel) -> Iterator[tuple[str, list[Measurement]]]:
    """Return measurements of one metric together, in the order they were made."""
    order = {metric: place for place, metric in enumerate(dict.fromkeys(one.metric for one in panel.measurements))}
    ordered = sorted(panel.measurements, key=lambda one: order[one.metric])
    for metric, group in groupby(ordered, key=lambda one: one.metric):
        yield metric, list(group)


def _embed(figure: bytes) -> str:
    kind = "png" if figure.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(figure).decode()}"
