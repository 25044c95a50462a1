"""The report of few scans in Markdown, from results alone: per seed, and the gain over seeds with its interval."""

from collections.abc import Callable, Sequence
from pathlib import Path

from study.tables import NOTHING, markdown
from tenth.results import MATRIX, PRESET, SeedResult, Taught, TenthRecord, Tenths

from spect.atomic import write_atomically
from spect.errors import ConfigurationError
from spect.words import in_number
from training.validation.lessons import Gain, Lesson, compute_gain

REPORT_NAME = "report.md"
PLANNED_SEEDS = 5

TAUGHT: dict[Taught, str] = {
    "few": "real 10 %",
    "few_synthetic": "+ synthetic",
    "few_gaussian": "+ Gaussian (floor)",
    "all": "+ the other 90 % (ceiling)",
    "synthetic": "synthetic alone",
}
# What is taken from what: the first is the question, the others are what it is read against.
DIFFERENCES: tuple[tuple[str, Taught, Taught], ...] = (
    ("+ synthetic, over real 10 %", "few_synthetic", "few"),
    ("+ Gaussian, over real 10 %", "few_gaussian", "few"),
    ("+ synthetic, over + Gaussian", "few_synthetic", "few_gaussian"),
    ("+ the other 90 %, over real 10 %", "all", "few"),
)
MEASURES: tuple[tuple[str, Callable[[Lesson], float]], ...] = (
    ("Balanced accuracy", lambda lesson: lesson.balanced_accuracy),
    ("AUC", lambda lesson: lesson.auc),
)

Results = Sequence[SeedResult]


def write_report(tenths: Tenths) -> Path:
    """Write the report; raise `ConfigurationError` where no seed is done."""
    record, results = tenths.record(), tenths.results()
    if not results:
        raise ConfigurationError(f"{tenths.path} holds no result yet; let a seed end, then report again")
    path = tenths.path / REPORT_NAME
    write_atomically(path, render_report(record, results).encode())
    return path


def render_report(record: TenthRecord, results: Results) -> str:
    """Return the report as Markdown."""
    parts = ["# A tenth of the scans, with and without synthetic ones\n", _introduce(record, results), _answer(results)]
    for name, read in MEASURES:
        parts += [f"## {name}\n", _tabulate_seeds(results, read), _tabulate_gains(results, read)]
    parts += ["## Seeds\n", _tabulate_runs(results)]
    return "\n".join(parts)


def gain_of(results: Results, more: Taught, less: Taught, read: Callable[[Lesson], float]) -> tuple[Gain, int] | None:
    """Return the gain over the seeds that have both, and how many they are; None where there is none."""
    pairs = [result.lessons for result in results if {more, less} <= result.lessons.keys()]
    if not pairs:
        return None
    return compute_gain([read(lessons[more]) - read(lessons[less]) for lessons in pairs]), len(pairs)


def _introduce(record: TenthRecord, results: Results) -> str:
    source = record.training_source
    if record.training_simulator_version is not None:
        source += f" (simulator {record.training_simulator_version})"
    warning = ": nothing here is evidence about patients" if record.training_source == "simulated" else ""
    judged = ", ".join(sorted({f"{result.slices_judged:,}" for result in results}))
    changed = f"{record.scale.images:,} images seen, width {record.scale.width}, {record.principal_scores}"
    return (
        f"The scans are **{source}**{warning}. Each seed keeps a tenth of the patients of cohort "
        f"{record.training_fingerprint[:12]}, trains `{PRESET}` ({MATRIX} × {MATRIX}, {changed} principal scores) on "
        f"it, and teaches the panel's classifier of pattern with that tenth, without and with {record.slices} slices a "
        f"condition; all are judged on {judged} slices of cohort {record.test_fingerprint[:12]}, of patients never "
        "trained on.\n"
    )


def _answer(results: Results) -> str:
    found = gain_of(results, "few_synthetic", "few", MEASURES[0][1])
    lost = [f"seed {result.seed}: {result.outcome} ({result.reason})" for result in results if result.reason]
    lines = [f"* Not measured with synthetic slices: {'; '.join(lost)}."] if lost else []
    if found is None:
        return "\n".join(["* No seed has synthetic slices yet.", *lines]) + "\n"
    gain, seeds = found
    short = "" if seeds >= PLANNED_SEEDS else f" ({PLANNED_SEEDS} are asked for)"
    answer = (
        f"* Synthetic slices added to a tenth of the scans change balanced accuracy by {format_gain(gain)} over "
        f"{in_number(seeds, 'seed')}{short}: {describe(gain)}."
    )
    return "\n".join([answer, *lines]) + "\n"


def describe(gain: Gain) -> str:
    """Say what an interval shows."""
    if gain.low is None or gain.high is None:
        return "one seed has no interval"
    if gain.low > 0:
        return "a gain"
    return "a loss" if gain.high < 0 else "neither a gain nor a loss is shown"


def format_gain(gain: Gain) -> str:
    """Return a difference with its 95 % interval."""
    interval = NOTHING if gain.low is None or gain.high is None else f"{gain.low:+.3f} to {gain.high:+.3f}"
    return f"{gain.mean:+.3f} (95 % interval {interval})"


def _tabulate_seeds(results: Results, read: Callable[[Lesson], float]) -> str:
    rows = [
        [str(result.seed)]
        + [f"{read(result.lessons[taught]):.3f}" if taught in result.lessons else NOTHING for taught in TAUGHT]
        for result in results
    ]
    return markdown(["seed", *TAUGHT.values()], rows)


def _tabulate_gains(results: Results, read: Callable[[Lesson], float]) -> str:
    rows = []
    for name, more, less in DIFFERENCES:
        found = gain_of(results, more, less, read)
        rows.append([name, NOTHING, "0", NOTHING] if found is None else _gain_row(name, *found))
    return markdown(["difference", "mean (95 % t interval)", "seeds", "shows"], rows)


def _gain_row(name: str, gain: Gain, seeds: int) -> list[str]:
    return [name, format_gain(gain), str(seeds), describe(gain)]


def _tabulate_runs(results: Results) -> str:
    header = ["seed", "patients", "slices (trained on)", "cohort", "images seen", "hours", "machine", "commit"]
    rows = [
        [
            str(result.seed),
            str(result.patients),
            f"{result.slices_few} ({result.slices_trained})",
            result.tenth_fingerprint[:12],
            f"{result.images_seen:,}",
            f"{result.training_hours:.2f} + {result.measuring_hours:.2f}",
            f"{result.machine}, {result.precision}",
            ", ".join(dict.fromkeys(_short(one) for one in (result.trained_commit, result.measured_commit))),
        ]
        for result in results
    ]
    training = sum(result.training_hours for result in results)
    measuring = sum(result.measuring_hours for result in results)
    total = f"\n{training:.1f} hours of training and {measuring:.1f} of generating, measuring and teaching.\n"
    return markdown(header, rows) + total


def _short(commit: str) -> str:
    """Shorten a commit, and keep saying that files differed from it."""
    name, _, dirty = commit.partition("-")
    return f"{name[:12]}-{dirty}" if dirty else name[:12]
