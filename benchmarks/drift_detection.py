"""What drift is seen within which window, and how often nothing at all is called drift: the tables of docs/drift.md.

Simulated slices of every condition, as they are and with changes of known size, are measured once. Profile and windows
are drawn from the measured rows (a smoothed bootstrap), so that a sound model's windows follow its profile exactly.

    python benchmarks/drift_detection.py                      # some minutes; prints two Markdown tables
    python benchmarks/drift_detection.py --patients 400 --windows 40
"""

import argparse
from collections.abc import Callable

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from cohort.simulator.simulate import Preset, simulate_cohort
from cohort.store import Cohort
from spect.conditions import CONDITIONS, Condition, Pattern
from spect.drift import judge_window
from spect.features import FEATURES, compute_features
from spect.judgement import DriftTest, DriftVerdict
from spect.profile import ReferenceProfile, ReferenceSample, build_profile
from spect.quantify import union_masks
from spect.shift import WINDOW_SIZES, compute_shift_score, shift_threshold, summarise_distribution

Rows = dict[str, NDArray[np.float64]]
Counts = NDArray[np.float32]
Change = Callable[[Counts, float], Counts]
DETECTED = 0.9  # share of windows that must see it


def scale(ratio: float) -> Change:
    return lambda counts, _: counts * np.float32(ratio)


def tilt(shift: float) -> Change:
    def change(counts: Counts, spacing_mm: float) -> Counts:
        masks = union_masks(counts, pixel_spacing_mm=spacing_mm)
        gain = np.where(masks.left, np.exp(shift / 2), 1) * np.where(masks.right, np.exp(-shift / 2), 1)
        return (counts * gain).astype(np.float32)

    return change


def blur(fwhm_mm: float) -> Change:
    sigma_mm = fwhm_mm / np.sqrt(8 * np.log(2))
    return lambda counts, spacing_mm: scipy.ndimage.gaussian_filter(
        counts, (0, sigma_mm / spacing_mm, sigma_mm / spacing_mm)
    )


def amplify_grain(factor: float) -> Change:
    smooth = blur(6.0)

    def change(counts: Counts, spacing_mm: float) -> Counts:
        base = smooth(counts, spacing_mm)
        return np.maximum(base + np.float32(factor) * (counts - base), 0)

    return change


CHANGES: dict[str, Change] = {
    "none": scale(1.0),
    "mean counts -2 %": scale(0.98),
    "mean counts -5 %": scale(0.95),
    "mean counts -10 %": scale(0.90),
    "mean counts -20 %": scale(0.80),
    "log left/right +0.01": tilt(0.01),
    "log left/right +0.03": tilt(0.03),
    "log left/right +0.06": tilt(0.06),
    "blur 4 mm": blur(4.0),
    "blur 6 mm": blur(6.0),
    "noise +20 %": amplify_grain(1.2),
    "noise +50 %": amplify_grain(1.5),
}


def measure(cohort: Cohort, change: Change) -> dict[Condition, Rows]:
    spacing = cohort.description.pixel_spacing_mm
    rows = {}
    for condition in CONDITIONS:
        counts = change(cohort.select(condition=condition).counts, spacing)
        rows[condition] = compute_features(counts, pixel_spacing_mm=spacing)
    return rows


def draw(rows: Rows, slices: int, rng: np.random.Generator) -> Rows:
    """Draw rows with replacement and blur each feature by Silverman's bandwidth, so that no value comes twice."""
    chosen = rng.integers(len(rows["mean_counts"]), size=slices)
    drawn = {}
    for name in FEATURES:
        spread = 0.9 * min(rows[name].std(), np.subtract(*np.percentile(rows[name], [75, 25])) / 1.34)
        drawn[name] = rows[name][chosen] + spread * len(rows[name]) ** -0.2 * rng.standard_normal(slices)
    return drawn


def build(
    sound: dict[Condition, Rows], profile_slices: int, reference_slices: int, spacing_mm: float
) -> ReferenceProfile:
    rng = np.random.default_rng(1)
    patients = np.arange(reference_slices).astype(np.str_)
    return build_profile(
        reference={
            condition: ReferenceSample(features=draw(rows, reference_slices, rng), patients=patients)
            for condition, rows in sound.items()
        },
        generated={condition: draw(rows, profile_slices, rng) for condition, rows in sound.items()},
        source="simulated",
        intensity_unit="counts",
        pixel_spacing_mm=spacing_mm,
    )


def share_detected(
    profile: ReferenceProfile, condition: Condition, rows: Rows, size: int, windows: int
) -> dict[DriftTest, float]:
    seen = dict.fromkeys(DriftTest, 0)
    for number in range(windows):
        rng = np.random.default_rng([2, condition.index, size, number])
        judgements = judge_window(profile, condition, draw(rows, size, rng))
        for test in DriftTest:
            seen[test] += any(one.verdict is DriftVerdict.DRIFT for one in judgements if one.test is test)
    return {test: count / windows for test, count in seen.items()}


def smallest_window(
    profile: ReferenceProfile, pattern: Pattern, changed: dict[Condition, Rows], test: DriftTest, windows: int
) -> str:
    """Return the smallest window in which every level of the pattern sees the change in nine windows of ten."""
    conditions = [condition for condition in CONDITIONS if condition.pattern is pattern]
    for size in profile.windows:
        if all(
            share_detected(profile, condition, changed[condition], size, windows)[test] >= DETECTED
            for condition in conditions
        ):
            return str(size)
    return "-"


def largest_scores(sound: dict[Condition, Rows], profile_slices: int, size: int, rounds: int) -> NDArray[np.float64]:
    """Return the largest shift score of every round: one window of every condition, all features, no drift.

    The profile is drawn anew for every 25 rounds: the stated rate is that over profiles.
    """
    scores = np.zeros(rounds)
    for number in range(rounds):
        rng = np.random.default_rng([3, size, number])
        if number % 25 == 0:
            own = {
                condition: {
                    name: summarise_distribution(values) for name, values in draw(rows, profile_slices, rng).items()
                }
                for condition, rows in sound.items()
            }
        scores[number] = max(
            compute_shift_score(values, own[condition][name], profile_slices)
            for condition, rows in sound.items()
            for name, values in draw(rows, size, rng).items()
        )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=1600, help="simulated; an eighth of them in each condition")
    parser.add_argument("--matrix", type=int, default=64)
    parser.add_argument("--profile-slices", type=int, default=20_000)
    parser.add_argument("--reference-slices", type=int, default=500)
    parser.add_argument("--windows", type=int, default=60, help="of every size, change and condition")
    parser.add_argument("--rounds", type=int, default=1500, help="without drift, of every size")
    options = parser.parse_args()
    cohort = simulate_cohort(Preset.TEST, patients=options.patients, matrix=options.matrix, seed=7)
    measured = {name: measure(cohort, change) for name, change in CHANGES.items()}
    spacing = cohort.description.pixel_spacing_mm
    profile = build(measured["none"], options.profile_slices, options.reference_slices, spacing)

    print("| change | test |", " | ".join(Pattern), "|")
    print("| --- | --- |", " --- |" * len(Pattern))
    for name, changed in measured.items():
        for test in DriftTest:
            found = [smallest_window(profile, pattern, changed, test, options.windows) for pattern in Pattern]
            print(f"| {name} | {test} | {' | '.join(found)} |", flush=True)

    rates = (0.2, 0.05, 0.01)
    print("\n| window | " + " | ".join(f"stated {rate:g}" for rate in rates) + " |")
    print("| --- | --- | --- | --- |")
    for size in WINDOW_SIZES[::2]:
        scores = largest_scores(measured["none"], options.profile_slices, size, options.rounds)
        shares = [(scores > shift_threshold(rate, profile.tests)).mean() for rate in rates]
        print(f"| {size} | {' | '.join(f'{share:.4f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
