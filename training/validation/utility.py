"""Utility: what a classifier of pattern learns from synthetic slices, judged on reference patients it never met.

The reference is dealt by patient into those a site learns from, as many others, and those it is judged on. A classifier
taught by synthetic slices alone is set against one taught by as many reference slices; and to a tenth of the site's own
slices the synthetic ones are added or not, over five seeds. The generator was trained on more than that tenth: this is
a site that has the generator, not one that trained it: that one is asked by `benchmarks/few_scans.py`.
"""

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from training.validation.comparison import Comparison
from training.validation.lessons import FEWEST, compute_gain, draw_gaussian, teach_with_added
from training.validation.pattern_classifier import (
    LabelledSlices,
    PatternClassifier,
    Vector,
    compute_balanced_accuracy,
)
from training.validation.resampling import deal_by_patient, draw_patient_weights
from training.validation.sample import Sample

SYNTHETIC_ALONE = "synthetic_to_real_balanced_accuracy_ratio"
GAIN = "gain_of_synthetic_balanced_accuracy"
LEAST_SHARE = 0.9  # of the accuracy that real slices teach: SCIENCE.md section 6; reported, not gated
REPLICATES = 300
SEEDS = 5
CUT = 0.1  # the share of the site's patients that are left

Rows = NDArray[np.intp]


def measure_utility(comparison: Comparison) -> list[Measurement]:
    """Return both figures over all conditions; not measured where a condition is too small to be dealt."""
    parts = deal_by_patient(comparison.reference.patient, comparison.reference.condition_index, comparison.rng(13), 3)
    own, others, judged = (comparison.reference.take(rows) for rows in parts)
    smallest = min(_fewest(part, comparison) for part in (own, others, judged))
    if smallest < FEWEST:
        note = f"a third of the patients leaves {smallest} slices of a condition, {FEWEST} are needed"
        return [Measurement(metric=metric, cell="all", value=None, note=note) for metric in (SYNTHETIC_ALONE, GAIN)]
    return [_measure_alone(comparison, own, others, judged), _measure_gain(comparison, own, others, judged)]


def _fewest(part: Sample, comparison: Comparison) -> int:
    return min(int((part.condition_index == condition.index).sum()) for condition in comparison.conditions)


def _measure_alone(comparison: Comparison, own: Sample, others: Sample, judged: Sample) -> Measurement:
    rng = comparison.rng(14)
    learned = LabelledSlices.of(own)
    taught = {
        "own": learned,
        "synthetic": _match(LabelledSlices.of(comparison.synthetic), learned, rng),
        "others": _match(LabelledSlices.of(others), learned, rng),
        "gaussian": draw_gaussian(learned, learned.condition_index, rng),
    }
    weights = np.vstack(
        [np.ones((1, len(judged))), draw_patient_weights(judged.patient, replicates=REPLICATES, rng=rng)]
    )
    found = {name: _try_on(slices, judged, weights) for name, slices in taught.items()}
    ratios = {name: accuracy / np.maximum(found["own"], 1e-9) for name, accuracy in found.items()}
    low, high = np.percentile(ratios["synthetic"][1:], [2.5, 97.5])
    return Measurement(
        metric=SYNTHETIC_ALONE,
        cell="all",
        value=float(ratios["synthetic"][0]),
        low=float(low),
        high=float(high),
        null=float(ratios["others"][0]),
        floor=float(ratios["gaussian"][0]),
        slices_synthetic=len(taught["synthetic"].condition_index),
        slices_reference=len(judged),
        note=(
            f"balanced accuracy {found['synthetic'][0]:.3f} taught by synthetic slices, {found['own'][0]:.3f} by as "
            f"many reference slices; {LEAST_SHARE:g} is aimed at; 95 % interval over the patients judged"
        ),
    )


def _measure_gain(comparison: Comparison, own: Sample, others: Sample, judged: Sample) -> Measurement:
    site = LabelledSlices.of(own) + LabelledSlices.of(others)
    synthetic, unseen = LabelledSlices.of(comparison.synthetic), LabelledSlices.of(judged)
    gains: dict[str, list[float]] = {"synthetic": [], "real": [], "gaussian": []}
    kept: list[int] = []
    for seed in range(SEEDS):
        rng = comparison.rng(15, seed)
        few, rest = _cut(site, rng)
        kept.append(len(few.condition_index))
        added = {
            "synthetic": synthetic,
            "real": rest,
            "gaussian": draw_gaussian(few, synthetic.condition_index, rng),
        }
        alone, together = teach_with_added(few, added, unseen)
        for name, lesson in together.items():
            gains[name].append(lesson.balanced_accuracy - alone.balanced_accuracy)
    gain = compute_gain(gains["synthetic"])
    return Measurement(
        metric=GAIN,
        cell="all",
        value=gain.mean,
        low=gain.low,
        high=gain.high,
        null=float(np.mean(gains["real"])),
        floor=float(np.mean(gains["gaussian"])),
        slices_synthetic=len(synthetic.condition_index),
        slices_reference=len(judged),
        note=(
            f"added to {min(kept)} reference slices, a tenth, {SEEDS} seeds, 95 % interval; a site that has the "
            "generator; null: the other nine tenths added instead; floor: Gaussian slices of that tenth"
        ),
    )


def _try_on(taught: LabelledSlices, judged: Sample, weights: Vector) -> Vector:
    slices = LabelledSlices.of(judged)
    return compute_balanced_accuracy(PatternClassifier(taught).predict(slices), slices.pattern, weights)


def _match(slices: LabelledSlices, pattern: LabelledSlices, rng: np.random.Generator) -> LabelledSlices:
    """Keep as many slices of each condition as another set has, or all there are."""
    kept = [
        rng.permutation(np.flatnonzero(slices.condition_index == index))[: int(count)]
        for index, count in zip(*np.unique(pattern.condition_index, return_counts=True), strict=True)
    ]
    return slices.take(np.concatenate(kept))


def _cut(site: LabelledSlices, rng: np.random.Generator) -> tuple[LabelledSlices, LabelledSlices]:
    """Keep a tenth of every condition, at least three slices; return it and the rest."""
    kept: list[Rows] = []
    for index in np.unique(site.condition_index):
        rows = rng.permutation(np.flatnonzero(site.condition_index == index))
        kept.append(rows[: max(FEWEST, round(CUT * len(rows)))])
    few = np.sort(np.concatenate(kept))
    return site.take(few), site.take(np.setdiff1d(np.arange(len(site.condition_index)), few))
