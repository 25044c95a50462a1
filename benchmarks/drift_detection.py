"""What drift is seen within which window, and how often nothing at all is called drift: the tables of docs/drift.md.

A released model draws new slices, which are changed by known sizes and measured as the service measures; windows drawn
from them without replacement are judged by the profile in the model's own bundle.

    nice python benchmarks/drift_detection.py                       # a quarter of an hour; prints Markdown tables
    nice python benchmarks/drift_detection.py --slices 256 --rounds 50
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from registry.bundle.served_model import ServedModel, open_model
from spect.conditions import CONDITIONS, Condition, Pattern
from spect.drift import judge_window
from spect.features import FEATURES, LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS, compute_features
from spect.judgement import DriftTest, DriftVerdict
from spect.outline import SIGMA_PER_FWHM
from spect.profile import ReferenceProfile
from spect.quantify import union_masks
from spect.shift import compute_shift_score, shift_threshold, summarise_distribution

Rows = dict[str, NDArray[np.float64]]
Measured = dict[Condition, Rows]
Counts = NDArray[np.float32]
Change = Callable[[Counts, float], Counts]
DETECTED = 0.9  # share of windows that must see it
# Far from the seed of a release's profile, so that no slice is judged by itself.
FIRST_SEED = 10_000_000


def scale(ratio: float) -> Change:
    return lambda counts, _: counts * np.float32(ratio)


def tilt(shift: float) -> Change:
    def change(counts: Counts, spacing_mm: float) -> Counts:
        masks = union_masks(counts, pixel_spacing_mm=spacing_mm)
        gain = np.where(masks.left, np.exp(shift / 2), 1) * np.where(masks.right, np.exp(-shift / 2), 1)
        return (counts * gain).astype(np.float32)

    return change


def blur(fwhm_mm: float) -> Change:
    """Blur by a Gaussian through its spectrum: on pixels of 4 mm a kernel of 2 mm has no other true form."""

    def change(counts: Counts, spacing_mm: float) -> Counts:
        down = scipy.fft.fftfreq(counts.shape[1], spacing_mm)[:, None]
        across = scipy.fft.rfftfreq(counts.shape[2], spacing_mm)[None, :]
        response = np.exp(-2 * (np.pi * fwhm_mm * SIGMA_PER_FWHM * np.hypot(down, across)) ** 2)
        blurred = scipy.fft.irfft2(scipy.fft.rfft2(counts) * response, s=counts.shape[1:])
        return np.maximum(blurred, 0).astype(np.float32)

    return change


def amplify_grain(factor: float) -> Change:
    smooth = blur(6.0)

    def change(counts: Counts, spacing_mm: float) -> Counts:
        base = smooth(counts, spacing_mm)
        return np.maximum(base + np.float32(factor) * (counts - base), 0)

    return change


CHANGES: dict[str, Change] = {
    "none": scale(1.0),
    "mean counts -5 %": scale(0.95),
    "mean counts -10 %": scale(0.90),
    "log left/right +0.03": tilt(0.03),
    "blur +2 mm (kernel of 2 mm)": blur(2.0),
    "blur +2 mm (10 mm become 12 mm)": blur(float(np.sqrt(12.0**2 - 10.0**2))),
    "noise +50 %": amplify_grain(1.5),
}


def drop_mode(rows: Rows, condition: Condition) -> Rows:
    """Leave out the slices of a mode: of unilateral slices one side, of the others the brightest third."""
    if condition.pattern is Pattern.UNILATERAL:
        kept = rows[LOG_LEFT_RIGHT_RATIO] > 0
    else:
        kept = rows[MEAN_COUNTS] <= np.quantile(rows[MEAN_COUNTS], 2 / 3)
    return {name: values[kept] for name, values in rows.items()}


def measure_changes(model: ServedModel, slices: int) -> dict[str, Measured]:
    """Draw slices of every condition once and measure them under every change."""
    spacing = model.bundle.manifest.pixel_spacing_mm
    measured: dict[str, Measured] = {name: {} for name in CHANGES}
    for condition in CONDITIONS:
        counts = model.generator.generate(condition, seed=FIRST_SEED, count=slices).counts
        for name, change in CHANGES.items():
            measured[name][condition] = compute_features(change(counts, spacing), pixel_spacing_mm=spacing)
    measured["one mode dropped"] = {
        condition: drop_mode(rows, condition) for condition, rows in measured["none"].items()
    }
    return measured


def choose(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    chosen = rng.choice(len(rows[MEAN_COUNTS]), size=size, replace=False)
    return {name: values[chosen] for name, values in rows.items()}


def share_detected(
    profile: ReferenceProfile, condition: Condition, rows: Rows, size: int, windows: int
) -> dict[DriftTest, float]:
    seen = dict.fromkeys(DriftTest, 0)
    for number in range(windows):
        rng = np.random.default_rng([2, condition.index, size, number])
        judgements = judge_window(profile, condition, choose(rows, size, rng))
        for test in DriftTest:
            seen[test] += any(one.verdict is DriftVerdict.DRIFT for one in judgements if one.test is test)
    return {test: count / windows for test, count in seen.items()}


def smallest_windows(
    profile: ReferenceProfile, pattern: Pattern, changed: Measured, windows: int
) -> dict[DriftTest, str]:
    """Return, by test, the smallest window in which every level of the pattern sees the change in nine of ten."""
    conditions = [condition for condition in CONDITIONS if condition.pattern is pattern]
    available = min(len(changed[condition][MEAN_COUNTS]) for condition in conditions)
    found = dict.fromkeys(DriftTest, "-")
    for size in [size for size in profile.windows if size <= available // 2]:
        shares = [share_detected(profile, condition, changed[condition], size, windows) for condition in conditions]
        for test in DriftTest:
            if found[test] == "-" and min(share[test] for share in shares) >= DETECTED:
                found[test] = str(size)
    return found


def count_alarms(profile: ReferenceProfile, sound: Measured, size: int) -> tuple[int, int, int]:
    """Return (rounds, rounds with a shift, rounds with a distance) of disjoint windows of the unchanged model."""
    rounds = min(len(rows[MEAN_COUNTS]) for rows in sound.values()) // size
    alarms = dict.fromkeys(DriftTest, 0)
    for number in range(rounds):
        part = slice(number * size, (number + 1) * size)
        judgements = [
            one
            for condition, rows in sound.items()
            for one in judge_window(profile, condition, {name: values[part] for name, values in rows.items()})
        ]
        for test in DriftTest:
            alarms[test] += any(one.verdict is DriftVerdict.DRIFT for one in judgements if one.test is test)
    return rounds, alarms[DriftTest.SHIFT], alarms[DriftTest.DISTANCE]


def draw_smoothly(rows: Rows, slices: int, rng: np.random.Generator) -> Rows:
    """Draw rows with replacement and blur each feature by Silverman's bandwidth, so that no value comes twice."""
    chosen = rng.integers(len(rows[MEAN_COUNTS]), size=slices)
    drawn = {}
    for name in FEATURES:
        spread = 0.9 * min(rows[name].std(), np.subtract(*np.percentile(rows[name], [75, 25])) / 1.34)
        drawn[name] = rows[name][chosen] + spread * len(rows[name]) ** -0.2 * rng.standard_normal(slices)
    return drawn


def largest_scores(sound: Measured, profile_slices: int, size: int, rounds: int) -> NDArray[np.float64]:
    """Return the largest shift score of every round: one window of every condition, all features, no drift.

    The profile is drawn anew for every 25 rounds: the stated rate is that over profiles.
    """
    scores = np.zeros(rounds)
    for number in range(rounds):
        rng = np.random.default_rng([3, size, number])
        if number % 25 == 0:
            own = {
                condition: {
                    name: summarise_distribution(values)
                    for name, values in draw_smoothly(rows, profile_slices, rng).items()
                }
                for condition, rows in sound.items()
            }
        scores[number] = max(
            compute_shift_score(values, own[condition][name], profile_slices)
            for condition, rows in sound.items()
            for name, values in draw_smoothly(rows, size, rng).items()
        )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path(__file__).parents[1] / "models" / "reference")
    parser.add_argument("--slices", type=int, default=2048, help="of each condition")
    parser.add_argument("--windows", type=int, default=40, help="of every size, change and condition")
    parser.add_argument("--rounds", type=int, default=400, help="without drift, of every size")
    options = parser.parse_args()
    model = open_model(options.bundle, threads=1)
    profile = model.profile
    measured = measure_changes(model, options.slices)

    print("| change | test |", " | ".join(Pattern), "|")
    print("| --- | --- |", " --- |" * len(Pattern))
    for name, changed in measured.items():
        found = [smallest_windows(profile, pattern, changed, options.windows) for pattern in Pattern]
        for test in DriftTest:
            print(f"| {name} | {test} | {' | '.join(one[test] for one in found)} |", flush=True)

    print("\n| window | rounds | with a shift | with a distance |")
    print("| --- | --- | --- | --- |")
    for size in [size for size in profile.windows if size <= options.slices // 4]:
        print("|", size, "|", " | ".join(map(str, count_alarms(profile, measured["none"], size))), "|", flush=True)

    rates = (0.2, 0.05, 0.01)
    print("\n| window | " + " | ".join(f"stated {rate:g}" for rate in rates) + " |")
    print("| --- | --- | --- | --- |")
    for size in profile.windows[::2]:
        scores = largest_scores(measured["none"], profile.profile_slices, size, options.rounds)
        shares = [(scores > shift_threshold(rate, profile.tests)).mean() for rate in rates]
        print(f"| {size} | {' | '.join(f'{share:.4f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
