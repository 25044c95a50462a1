"""The tables of a study, in Markdown, from results alone."""

from collections.abc import Callable, Sequence
from functools import partial

from study.plan import ABLATIONS, Configuration
from study.results import ArmResult, ablated, first_measured, pick

from registry.bundle.panel import Measurement
from spect.conditions import Pattern
from training.validation.beyond_conditioned import METRIC as BEYOND_CONDITIONED
from training.validation.convolutional_classifier import METRIC as CONVOLUTIONAL
from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO
from training.validation.memorisation import METRIC as MEMORISATION
from training.validation.p_values import LEFT_RIGHT_P, MEAN_COUNTS_P
from training.validation.paper import LEFT_RIGHT_P_A, LEFT_RIGHT_P_B, MEAN_COUNTS_P_A, MEAN_COUNTS_P_B
from training.validation.principal_components import METRIC as COMPONENT_SPREAD
from training.validation.spreads import SPREADS
from training.validation.two_sample_classifier import INSIDE_OUTLINE

DATASETS = ("A", "B")
CONFIGURATIONS: tuple[tuple[Configuration, str], ...] = (("paper", "author's code"), ("ours", "ours"))
PATTERNS = tuple(Pattern)
NOTHING = "–"

ABSTRACT = {
    (MEAN_COUNTS_P, "A"): MEAN_COUNTS_P_A,
    (MEAN_COUNTS_P, "B"): MEAN_COUNTS_P_B,
    (LEFT_RIGHT_P, "A"): LEFT_RIGHT_P_A,
    (LEFT_RIGHT_P, "B"): LEFT_RIGHT_P_B,
}
MEAN_COUNTS_SPREAD, LEFT_RIGHT_SPREAD = (spread.metric for spread in SPREADS)

Find = Callable[[ArmResult], Measurement | None]
Results = Sequence[ArmResult]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def format_p(value: float | None) -> str:
    """Return a P value as the abstract would print it."""
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def format_number(value: float | None) -> str:
    """Return a ratio, a difference or an AUC."""
    return NOTHING if value is None else f"{value:.2f}"


def format_difference(value: float | None) -> str:
    """Return a difference of log ratios, whose margins are 0.02 and 0.03."""
    return NOTHING if value is None else f"{value:+.3f}"


def tabulate_p_values(results: Results, *, against: str) -> str:
    """P values of mean counts and left/right ratio; against "unseen" patients or the "training" slices."""
    rows = []
    for metric, words in ((MEAN_COUNTS_P, "mean counts"), (LEFT_RIGHT_P, "left/right ratio")):
        for dataset in DATASETS:
            for pattern in PATTERNS:
                finds = partial(find_p_value, metric=metric, pattern=pattern, against=against)
                abstract = ABSTRACT[metric, dataset][pattern]
                rows.append([f"{words}, {dataset}, {pattern}", abstract, *_across(results, dataset, finds, format_p)])
    return markdown(["P", "abstract", *_configuration_names(), "real against real", "Gaussian"], rows)


def tabulate_equivalence(results: Results) -> str:
    """Mean counts and left/right ratio by the margins that were fixed in advance, with verdicts."""
    rows = []
    for dataset in DATASETS:
        for pattern in PATTERNS:
            finds = _finder(MEAN_COUNTS_RATIO.metric, pattern)
            rows.append([f"mean counts, {dataset}, {pattern}", *_judged(results, dataset, finds, format_number)])
    for dataset in DATASETS:
        for pattern in PATTERNS:
            finds = _finder(left_right_metric(pattern), pattern)
            judged = _judged(results, dataset, finds, format_difference)
            rows.append([f"{_ratio_words(pattern)}, {dataset}, {pattern}", *judged])
    return markdown(["synthetic against unseen", *_configuration_names(), "real against real", "Gaussian"], rows)


def tabulate_spreads(results: Results) -> str:
    """SD ratios with verdicts: means alone hide a collapse."""
    rows = []
    for metric, words in ((MEAN_COUNTS_SPREAD, "SD of mean counts"), (LEFT_RIGHT_SPREAD, "SD of log ratio")):
        for dataset in DATASETS:
            for pattern in PATTERNS:
                judged = _judged(results, dataset, _finder(metric, pattern), format_number)
                rows.append([f"{words}, {dataset}, {pattern}", *judged])
    for dataset in DATASETS:
        across = _across(results, dataset, _finder(COMPONENT_SPREAD, "all"), format_number)
        rows.append([f"SD along 24 principal components, {dataset}", *across])
    return markdown(["synthetic / unseen", *_configuration_names(), "real against real", "Gaussian"], rows)


def tabulate_told_apart(results: Results) -> str:
    """AUCs of classifiers that are told to find the synthetic slices, and the share of near copies."""
    rows = []
    for dataset in DATASETS:
        for pattern in PATTERNS:
            across = _across(results, dataset, _finder(INSIDE_OUTLINE, pattern), format_number)
            rows.append([f"AUC, linear, inside the outline, {dataset}, {pattern}", *across])
        for metric, words in (
            (BEYOND_CONDITIONED, "AUC, linear, beyond what is asked"),
            (CONVOLUTIONAL, "AUC, convolutional"),
            (MEMORISATION, "share near a training slice (honest: 0.05)"),
        ):
            across = _across(results, dataset, _finder(metric, "all"), format_number)
            rows.append([f"{words}, {dataset}", *across])
    return markdown(["", *_configuration_names(), "real against real", "Gaussian"], rows)


def tabulate_cortex(results: Results) -> str:
    """Cortical slices alone: what dataset A's models make of them beside dataset B's."""
    rows = []
    for pattern in PATTERNS:
        cell = f"COR/{pattern}"
        for metric, words, number in (
            (MEAN_COUNTS_RATIO.metric, "mean counts, ratio", format_number),
            (left_right_metric(pattern), f"{_ratio_words(pattern)}, difference", format_difference),
            (LEFT_RIGHT_SPREAD, "SD of log ratio, ratio", format_number),
        ):
            made = [
                _seeds(pick(results, dataset, configuration), _finder(metric, cell), number, verdict=True)
                for dataset in DATASETS
                for configuration, _ in CONFIGURATIONS
            ]
            rows.append([f"{words}, {cell}", *made])
    names = [f"{name}, {dataset}" for dataset in DATASETS for _, name in CONFIGURATIONS]
    return markdown(["synthetic against unseen", *names], rows)


ABLATION_COLUMNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("AUC, linear", INSIDE_OUTLINE, PATTERNS),
    ("AUC beyond asked", BEYOND_CONDITIONED, ("all",)),
    ("AUC, convolutional", CONVOLUTIONAL, ("all",)),
    ("SD along 24 components", COMPONENT_SPREAD, ("all",)),
    ("mean counts", MEAN_COUNTS_RATIO.metric, PATTERNS),
    ("SD of mean counts", MEAN_COUNTS_SPREAD, PATTERNS),
    ("SD of log ratio", LEFT_RIGHT_SPREAD, PATTERNS),
)


def tabulate_ablations(results: Results) -> str:
    """One row an ablation, under ours with every seed, the null and the floor."""
    rows = [_ablation_row(f"ours, seed {result.arm.seed}", result) for result in pick(results, "A", "ours")]
    if beside := first_measured(results, "A"):
        rows.append(_ablation_row("real against real", beside, take=lambda found: found.null))
        rows.append(_ablation_row("Gaussian", beside, take=lambda found: found.floor))
    for result in ablated(results):
        why = ABLATIONS.get(result.arm.change or "")
        rows.append(_ablation_row(f"`{result.arm.change}`" + (f": {why}" if why else ""), result))
    return markdown(["", *(words for words, _, _ in ABLATION_COLUMNS)], rows)


def tabulate_arms(results: Results) -> str:
    """One row an arm: what it took, on what, by which code, and what became of it."""
    rows = [
        [
            result.arm.name,
            result.outcome if result.reason is None else f"{result.outcome}: {result.reason}",
            f"{result.images_seen:,}",
            f"{result.training_slices}",
            f"{result.training_hours:.2f}",
            f"{result.validation_hours:.2f}",
            f"{result.machine}, {result.precision}",
            result.git_commit[:10],
        ]
        for result in results
    ]
    header = ["arm", "outcome", "images", "training slices", "hours of training", "of validation", "on", "commit"]
    return markdown(header, rows)


def _ratio_words(pattern: Pattern) -> str:
    return "size of log ratio" if pattern is Pattern.UNILATERAL else "log ratio"


def _configuration_names() -> list[str]:
    return [name for _, name in CONFIGURATIONS]


def _finder(metric: str, cell: str) -> Find:
    return lambda result: result.find(metric, cell)


def find_p_value(result: ArmResult, *, metric: str, pattern: Pattern, against: str) -> Measurement | None:
    if against == "unseen":
        return result.find(metric, pattern)
    return next((one for one in result.against_training if (one.metric, one.cell) == (metric, pattern)), None)


def _across(results: Results, dataset: str, find: Find, number: Callable[[float | None], str]) -> list[str]:
    """Return the cells of a row: each configuration's seeds in turn, the null, the floor."""
    return _cells(results, dataset, find, number, verdict=False)


def _judged(results: Results, dataset: str, find: Find, number: Callable[[float | None], str]) -> list[str]:
    return _cells(results, dataset, find, number, verdict=True)


def _cells(
    results: Results, dataset: str, find: Find, number: Callable[[float | None], str], *, verdict: bool
) -> list[str]:
    made = [
        _seeds(pick(results, dataset, configuration), find, number, verdict=verdict)
        for configuration, _ in CONFIGURATIONS
    ]
    measured = first_measured(results, dataset)
    beside = find(measured) if measured is not None else None
    return [*made, number(beside.null if beside else None), number(beside.floor if beside else None)]


def _seeds(results: Results, find: Find, number: Callable[[float | None], str], *, verdict: bool) -> str:
    parts = []
    for result in results:
        found = find(result)
        if found is None:
            parts.append(result.outcome if result.panel is None else NOTHING)
        else:
            parts.append(number(found.value) + (f" {found.verdict}" if verdict and found.verdict else ""))
    return "; ".join(parts) or NOTHING


def _ablation_row(
    name: str, result: ArmResult, *, take: Callable[[Measurement], float | None] = lambda found: found.value
) -> list[str]:
    if result.panel is None:
        return [name, result.outcome, *[NOTHING] * (len(ABLATION_COLUMNS) - 1)]
    cells = []
    for _, metric, over in ABLATION_COLUMNS:
        found = [result.find(metric, cell) for cell in over]
        cells.append(" ".join(format_number(take(one) if one is not None else None) for one in found))
    return [name, *cells]
