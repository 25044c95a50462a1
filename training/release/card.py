"""The card of a released model: what it is, how it was made and proven, what it is not for."""

from dataclasses import dataclass

from cohort.store import CohortDescription
from registry.bundle.manifest import Manifest
from registry.bundle.panel import Panel
from registry.gates import GateReport
from spect.profile import ReferenceProfile
from training.run import RunRecord
from training.validation.report import LIMITS, build_paper_rows, format_number
from training.validation.simulators import compare_simulators, describe_source


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Everything a card says."""

    manifest: Manifest
    run: RunRecord
    images_seen: int
    images_per_second: float | None  # of the training; None where it was not logged
    graph_bytes: int
    opset: int
    latency: str  # time a slice on the machine that released it
    panel: Panel
    gates: GateReport
    profile: ReferenceProfile
    test_cohort: CohortDescription
    training_cohort: CohortDescription | None
    figures: tuple[str, str]  # the synthetic slices, the measures


def write_card(facts: CardFacts) -> str:
    """Write the card as Markdown."""
    sections = (_head(facts), _making(facts), _proof(facts), _profile(facts), _limits())
    return "\n\n".join(sections) + "\n"


def _head(facts: CardFacts) -> str:
    manifest = facts.manifest
    return f"""# {manifest.name}: synthetic 123I-IMP brain SPECT slices

**Research use only, never for diagnosis. Every slice it makes is synthetic.**

![Synthetic slices of every condition]({facts.figures[0]})

It generates axial slices of cerebral blood flow, {manifest.matrix} x {manifest.matrix} pixels of \
{manifest.pixel_spacing_mm:g} mm, in {manifest.training_cohort.intensity_unit}, for the conditions \
{", ".join(manifest.conditions)}.

**Intended use**: augmentation and method development in research. **Not for**: diagnosis, treatment, or any claim \
about a patient; evidence about patients where the reference is simulated."""


def _making(facts: CardFacts) -> str:
    run, manifest = facts.run, facts.manifest
    trained = manifest.training_cohort
    source, parity = describe_source(trained.source, trained.simulator_version), max(manifest.parity.values())
    proven = describe_source(facts.panel.cohort_source, facts.panel.cohort_simulator_version)
    changes = "".join(f" --set {assignment}" for assignment in run.assignments)
    simulators = compare_simulators(manifest, facts.panel)
    size = f"{facts.graph_bytes / 1e6:.1f} MB, ONNX opset {facts.opset}"
    lines = [
        "## How it was made",
        "",
        "```",
        *_cohort_command(facts.training_cohort, "TRAIN"),
        f"synspect train TRAIN --preset {run.preset} --dataset {run.dataset} --seed {run.seed}{changes}",
        *_cohort_command(facts.test_cohort, "TEST"),
        f"synspect release RUN --test TEST --profile-slices {facts.profile.profile_slices}",
        "```",
        "",
        "| | |",
        "| --- | --- |",
        f"| trained on | {source}, {trained.slices} slices, fingerprint `{trained.fingerprint[:16]}` |",
        f"| proven on | {proven}, fingerprint `{facts.panel.cohort_fingerprint[:16]}` |",
        f"| run | {run.name}, preset {run.preset}, seed {run.seed}, started {run.created_at} |",
        f"| training | {_training_time(facts)}, in {run.precision}; {run.machine} |",
        f"| images seen by the released checkpoint | {facts.images_seen:,} |",
        f"| code | `{manifest.git_commit[:12]}` |",
        f"| graph | {size}, {manifest.latent_size:,} latents, sha256 `{facts.panel.onnx_sha256[:16]}` |",
        f"| parity | {parity:.1e} of the model range, the largest of batches of {', '.join(manifest.parity)} |",
        f"| time per slice | {facts.latency} |",
        f"| released | {manifest.created_at} |",
        *(["", simulators] if simulators else []),
    ]
    return "\n".join(lines)


def _training_time(facts: CardFacts) -> str:
    images = f"{facts.run.config.images:,} images"
    if facts.images_per_second is None:
        return f"{images}, time not recorded"
    minutes = facts.run.config.images / facts.images_per_second / 60
    return f"{images} at {facts.images_per_second:.1f} a second, about {minutes:,.0f} min"


def _cohort_command(description: CohortDescription | None, place: str) -> list[str]:
    if description is None or description.source != "simulated":
        return []
    return [f"synspect cohort simulate {place} --preset {description.name} --seed {description.seed}"]


def _proof(facts: CardFacts) -> str:
    source = f"{facts.panel.cohort_source} cohort"
    gates = [
        f"| {row.metric} | {row.cell} | {format_number(row.measured)} | {format_number(row.low)} to "
        f"{format_number(row.high)} | {row.limit} | {row.verdict} | {format_number(row.power)} | {row.note} |"
        for row in facts.gates.gates
    ]
    paper = [
        f"| {row.quantity} | {row.pattern} | {row.paper_a} | {row.paper_b} | "
        f"{format_number(row.ours.value if row.ours else None)} | "
        f"{(row.equivalence.verdict if row.equivalence else None) or 'not measured'} |"
        for row in build_paper_rows(facts.panel)
    ]
    return "\n".join(
        [
            f"## How it was proven ({source})",
            "",
            f"{facts.gates.in_words()}. Measured on the released graph in ONNX Runtime, against patients it never saw;",
            f"seed {facts.panel.seed}, {facts.panel.seconds:.0f} s.",
            "",
            "| gate | cell | measured | interval | limit | verdict | power | note |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *gates,
            "",
            f"Beside Werner et al., Sci Rep 2022;12:18787 ({source}):",
            "",
            "| quantity | pattern | P, study, all levels | P, study, cortex only | P, ours | equivalence |",
            "| --- | --- | --- | --- | --- | --- |",
            *paper,
            "",
            f"![Mean counts and left/right ratio]({facts.figures[1]})",
        ]
    )


def _profile(facts: CardFacts) -> str:
    profile = facts.profile
    return (
        f"## Drift\n\nThe reference profile describes the {profile.reference_source} cohort and "
        f"{profile.profile_slices:,} slices per condition of the model's own output. A round of one window of every "
        f"condition raises a false alarm at a rate of {profile.false_alarm_rate:g}; windows of "
        f"{', '.join(map(str, profile.windows))} slices."
    )


def _limits() -> str:
    return "\n".join(["## Limits", "", *[f"* {limit}" for limit in LIMITS]])
