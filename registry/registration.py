"""Register a bundle so that MLflow's own pages tell what it is: description, gates, report beside the bundle."""

import json

from registry.bundle.directory import Bundle
from registry.bundle.served_model import load_servable_bundle
from registry.gates import GateReport, GateRow, judge_bundle
from registry.policy import load_policy
from registry.store.model_store import ModelStore
from spect.conditions import Pattern

REPORT_NAME = "report.html"
_NOTICE = "**Research use only, never for diagnosis. Every slice it makes is synthetic.**"
_COLUMNS = (*map(str, Pattern), "all")


def register_release(
    store: ModelStore, bundle: Bundle, *, mlflow_run_id: str | None = None, report_html: str | None = None
) -> str:
    """Register a bundle with its gates and, where there is one, its report; return the version.

    The gates are those of the bundle alone: a promotion compares it with the champion as well. Raises `BundleError`
    for a bundle that could not be served, before anything is sent.
    """
    load_servable_bundle(bundle.path)
    gates = judge_bundle(load_policy(), bundle)
    files = {
        "gates/release.json": json.dumps(gates.to_dict(), indent=1).encode(),
        "gates/release.md": gates.to_markdown().encode(),
    }
    if report_html is not None:
        files[REPORT_NAME] = report_html.encode()
    return store.register_bundle(
        bundle,
        mlflow_run_id=mlflow_run_id,
        gates=gates.in_words(),
        description=describe_bundle(bundle, gates),
        files=files,
    )


def describe_bundle(bundle: Bundle, gates: GateReport) -> str:
    """Return what a version is, in Markdown that fits MLflow's 5,000 characters on every database."""
    manifest, panel = bundle.manifest, bundle.panel
    trained = manifest.training_cohort
    proven = f"{panel.cohort_source} cohort `{panel.cohort_fingerprint[:16]}`" if panel else "no cohort"
    what = (
        f"{manifest.matrix} x {manifest.matrix} pixels of {manifest.pixel_spacing_mm:g} mm, in "
        f"{trained.intensity_unit}; conditions {', '.join(manifest.conditions)}."
    )
    whence = (
        f"Run `{manifest.run_id}`, code `{manifest.git_commit[:12]}`, trained on {trained.slices} slices of the "
        f"{trained.source} cohort `{trained.fingerprint[:16]}`, validated on {proven}."
    )
    verdict = f"**Gates at release**: {gates.in_words()}."
    return "\n\n".join((_NOTICE, what, whence, verdict, _tabulate(gates)))


def _tabulate(gates: GateReport) -> str:
    metrics = dict.fromkeys(row.metric for row in gates.gates if row.measured is not None)
    by_cell = {(row.metric, row.cell): row for row in gates.gates}
    lines = [f"| measured | {' | '.join(_COLUMNS)} | limit |", "| --- " * (len(_COLUMNS) + 2) + "|"]
    for metric in metrics:
        rows = [by_cell.get((metric, cell)) for cell in _COLUMNS]
        limit = next(row.limit for row in rows if row is not None)
        lines.append(f"| {metric.replace('_', ' ')} | {' | '.join(map(_cell, rows))} | {limit} |")
    return "\n".join(lines)


def _cell(row: GateRow | None) -> str:
    if row is None or row.measured is None:
        return ""
    return f"{row.measured:.3g}" if row.verdict == "pass" else f"**{row.measured:.3g} {row.verdict}**"
