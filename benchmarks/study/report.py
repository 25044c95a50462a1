"""The report of a study in Markdown, with its figures beside it; from results alone."""

from collections.abc import Sequence
from pathlib import Path

from study.figures import draw_figures
from study.results import ArmResult, Study, StudyRecord, ablated, pick
from study.summary import summarise
from study.tables import (
    CONFIGURATIONS,
    DATASETS,
    tabulate_ablations,
    tabulate_arms,
    tabulate_cortex,
    tabulate_equivalence,
    tabulate_p_values,
    tabulate_spreads,
    tabulate_told_apart,
)

from spect.atomic import write_atomically
from spect.errors import ConfigurationError

REPORT_NAME = "report.md"

Results = Sequence[ArmResult]


def write_report(study: Study) -> Path:
    """Write the report and its figures; raise `ConfigurationError` where no arm is done."""
    record, results = study.record(), study.results()
    if not results:
        raise ConfigurationError(f"{study.path} holds no result yet; let an arm end, then report again")
    study.figures.mkdir(exist_ok=True)
    figures = draw_figures(results)
    for name, picture in figures.items():
        write_atomically(study.figures / name, picture)
    path = study.path / REPORT_NAME
    write_atomically(path, render_report(record, results, figures).encode())
    return path


def render_report(record: StudyRecord, results: Results, figures: Sequence[str] | dict[str, bytes]) -> str:
    """Return the report as Markdown."""
    scale = describe_scale(record)
    sections = [
        ("", _introduction(record, results)),
        ("In short", summarise(results)),
        ("P values against patients never trained on", tabulate_p_values(results, against="unseen")),
        ("P values against the training slices, as the paper compared", tabulate_p_values(results, against="training")),
        ("Equivalence", tabulate_equivalence(results) + _figure("equivalence.png", figures)),
        ("Spread", tabulate_spreads(results)),
        ("Told apart", tabulate_told_apart(results) + _figure("told-apart.png", figures)),
        ("Cortex alone", tabulate_cortex(results)),
    ]
    if ablated(results):
        words = "Dataset A, each one setting away from ours; three numbers are normal, unilateral, bilateral.\n\n"
        sections.append(("Ablations", words + tabulate_ablations(results) + _figure("ablations.png", figures)))
    sections.append(("Arms", _total(results) + tabulate_arms(results)))
    parts = []
    for title, text in sections:
        caption = f"\n*{scale}*\n" if text.lstrip().startswith("|") or title in ("Ablations", "Arms") else ""
        parts.append((f"## {title}\n\n" if title else "") + text + caption)
    return "# The reference study repeated\n\n" + "\n".join(parts)


def describe_scale(record: StudyRecord) -> str:
    """Say in one line what was scaled down; it stands under every table."""
    scale = record.scale
    quick = " Quick validation: few slices, wide intervals." if record.is_quick else ""
    return (
        f"Scaled down: {scale.matrix} × {scale.matrix} pixels (author's code 256 × 256), width {scale.width} (64), "
        f"{scale.images:,} images seen by every arm (its 200 epochs of 703 slices: 140,600). "
        f"Several values in a cell are the seeds in order.{quick}"
    )


def _introduction(record: StudyRecord, results: Results) -> str:
    source = record.training_source
    if record.training_simulator_version is not None:
        source += f" (simulator {record.training_simulator_version})"
    done = ", ".join(
        f"{len(pick(results, dataset, configuration))} × {name} on {dataset}"
        for dataset in DATASETS
        for configuration, name in CONFIGURATIONS
    )
    return (
        f"The cohorts are **{source}**: nothing here is evidence about patients. Trained on cohort "
        f"{record.training_fingerprint[:12]}, measured on {record.test_fingerprint[:12]}. "
        f"Arms: {done}; {len(ablated(results))} ablations.\n"
    )


def _figure(name: str, figures: Sequence[str] | dict[str, bytes]) -> str:
    return f"\n![{name.removesuffix('.png')}](figures/{name})\n" if name in figures else ""


def _total(results: Results) -> str:
    training = sum(result.training_hours for result in results)
    validation = sum(result.validation_hours for result in results)
    return f"{len(results)} arms, {training:.1f} hours of training and {validation:.1f} of validation.\n\n"
