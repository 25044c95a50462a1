"""What a study found in short, counted: verdicts, and P values on the abstract's side of 0.05 or not."""

from study.plan import Configuration
from study.results import pick
from study.tables import ABSTRACT, CONFIGURATIONS, DATASETS, PATTERNS, Results, find_p_value

from training.validation.left_right import left_right_metric
from training.validation.mean_counts import MEAN_COUNTS_RATIO

SIGNIFICANT = 0.05


def summarise(results: Results) -> str:
    """Say in a line a configuration what was found, and on which side of the abstract."""
    lines = []
    for configuration, name in CONFIGURATIONS:
        verdicts = count_verdicts(results, configuration)
        total = sum(verdicts.values())
        if not total:
            lines.append(f"* {name}: nothing measured.")
            continue
        words = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        sides = []
        for against, whom in (("unseen", "unseen patients"), ("training", "the training slices")):
            same, compared = count_agreement(results, configuration, against=against)
            sides.append(f"{same} of {compared} against {whom}")
        lines.append(
            f"* {name}: of {total} verdicts on mean counts and left/right ratio {words}; P values on the abstract's "
            f"side of 0.05: {' and '.join(sides)}."
        )
    lines.append("* A large P value is no evidence of equality; the verdicts are, inside margins fixed in advance.")
    return "\n".join(lines) + "\n"


def finds_difference(abstract: str) -> bool:
    """Whether a P value of the abstract ("0.8", ">= 0.08", "< 0.0001") is below 0.05."""
    return float(abstract.rsplit(maxsplit=1)[-1]) < SIGNIFICANT


def count_agreement(results: Results, configuration: Configuration, *, against: str) -> tuple[int, int]:
    """How many P values fall on the abstract's side of 0.05, of how many."""
    same = total = 0
    for (metric, dataset), row in ABSTRACT.items():
        for pattern, abstract in row.items():
            for result in pick(results, dataset, configuration):
                found = find_p_value(result, metric=metric, pattern=pattern, against=against)
                if found is not None and found.value is not None:
                    same += (found.value < SIGNIFICANT) == finds_difference(abstract)
                    total += 1
    return same, total


def count_verdicts(results: Results, configuration: Configuration) -> dict[str, int]:
    """Count verdicts on mean counts and left/right ratio over datasets, patterns and seeds."""
    counted = dict.fromkeys(("equivalent", "inconclusive", "different"), 0)
    for dataset in DATASETS:
        for result in pick(results, dataset, configuration):
            for pattern in PATTERNS:
                for metric in (MEAN_COUNTS_RATIO.metric, left_right_metric(pattern)):
                    found = result.find(metric, pattern)
                    if found is not None and found.verdict is not None:
                        counted[found.verdict] += 1
    return counted
