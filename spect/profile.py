"""The reference profile: what the reference scans and the released model's own output look like, in aggregates.

It travels inside a bundle and meets the live window in serving. It holds no slice and no patient's value: means,
spreads, smoothed quantiles and bootstrap replicates of the reference; quantiles of what the model itself generated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import scipy.special
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spect.conditions import CONDITIONS, Condition
from spect.density import LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS
from spect.equivalence import Moments, bootstrap_patients
from spect.errors import BundleError, ConfigurationError
from spect.faults import describe_fault
from spect.schema_version import SchemaVersion
from spect.shift import (
    MINIMUM_PROFILE_SLICES,
    QUANTILES_KEPT,
    WINDOW_SIZES,
    shift_threshold,
    smallest_false_alarm_rate,
    summarise_distribution,
    usable_windows,
)

Values = NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False)]

ABSOLUTE_LOG_RATIO = "absolute_log_left_right_ratio"  # derived: what is averaged where sides mix
DEFAULT_PROFILE_SLICES = 20_000  # per condition; supports one false alarm in 1,000 rounds at every window size
DEFAULT_FALSE_ALARM_RATE = 1e-3
PROFILE_REPLICATES = 400
MINIMUM_REFERENCE_PATIENTS = 5  # fewer than that are counted and not described: a mean of two is two patients' values
_REFERENCE_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_SLICES_BEYOND_A_QUANTILE = 10
_SHOWN_FEATURES = (MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeatureSummary(_Record):
    """One feature over the reference slices of a condition, and how well it is known."""

    mean: float
    sd: float = Field(ge=0)
    quantiles: dict[str, float]  # probability -> Harrell-Davis quantile
    mean_replicates: tuple[float, ...]
    sd_replicates: tuple[float, ...]


class ReferenceSummary(_Record):
    """The reference scans of a condition; `features` is empty where there are too few patients to describe."""

    slices: int = Field(ge=0)
    patients: int = Field(ge=0)
    features: dict[str, FeatureSummary]

    def moments(self, feature: str) -> Moments | None:
        """Return mean and SD of a feature with their bootstrap errors; None where it is not described."""
        summary = self.features.get(feature)
        if summary is None:
            return None
        positive = [sd for sd in summary.sd_replicates if sd > 0]
        return Moments(
            mean=summary.mean,
            sd=summary.sd,
            mean_error=float(np.std(summary.mean_replicates, ddof=1)),
            log_sd_error=float(np.std(np.log(positive), ddof=1)) if len(positive) > 1 else float("inf"),
            units=self.patients,
        )


class OwnOutput(_Record):
    """What the released model generated for a condition: 257 quantiles of each feature, denser in the tails."""

    slices: int = Field(ge=MINIMUM_PROFILE_SLICES)
    quantiles: dict[str, Annotated[tuple[float, ...], Field(min_length=QUANTILES_KEPT, max_length=QUANTILES_KEPT)]]

    @model_validator(mode="after")
    def _quantiles_ascend(self) -> Self:
        for feature, values in self.quantiles.items():
            if (np.diff(values) < 0).any():
                raise ValueError(f"quantiles of {feature} must not descend")
        return self


class ConditionProfile(_Record):
    """Both sides of one condition."""

    reference: ReferenceSummary
    own_output: OwnOutput


class ReferenceProfile(_Record):
    """Everything the two drift verdicts need to know of a released model."""

    schema_version: SchemaVersion = 1
    reference_source: Literal["acquired", "simulated"]
    intensity_unit: str
    intensity_scaling: Literal["whole-cohort", "per-slice"]
    pixel_spacing_mm: float = Field(gt=0)
    features: tuple[str, ...]
    profile_slices: int = Field(ge=MINIMUM_PROFILE_SLICES)  # per condition, of the model's own output
    false_alarm_rate: float = Field(gt=0, lt=1)  # of a round: one window of every condition, all features
    smallest_false_alarm_rate: float = Field(ge=0, le=1)  # that this many slices support
    shift_thresholds: dict[int, Finite]  # window size -> score
    conditions: dict[str, ConditionProfile]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        unknown = set(self.conditions) - set(map(str, CONDITIONS))
        if unknown or not self.conditions:
            raise ValueError(f"conditions must be some of {', '.join(map(str, CONDITIONS))}, got {sorted(unknown)}")
        if not {MEAN_COUNTS, LOG_LEFT_RIGHT_RATIO} <= set(self.features):
            raise ValueError(f"features must hold {MEAN_COUNTS} and {LOG_LEFT_RIGHT_RATIO}, got {self.features}")
        if not self.shift_thresholds or not set(self.shift_thresholds) <= set(WINDOW_SIZES):
            raise ValueError(f"shift_thresholds must be for windows of {WINDOW_SIZES}")
        for name, condition in self.conditions.items():
            if set(condition.own_output.quantiles) != set(self.features):
                raise ValueError(f"{name} must describe the model's own {', '.join(self.features)}")
        return self

    @property
    def windows(self) -> tuple[int, ...]:
        """Window sizes this profile supports, ascending."""
        return tuple(sorted(self.shift_thresholds))

    @property
    def tests(self) -> int:
        """Number of shift tests in a round: every feature of every condition."""
        return len(self.features) * len(self.conditions)

    def reference_quantiles(self, condition: Condition) -> dict[str, dict[str, float]]:
        """Return where a condition's reference slices lie, in mean counts and in left/right as a ratio.

        By probability, as in `FeatureSummary.quantiles`; empty where the reference is not described.
        """
        described = self.conditions.get(str(condition))
        features = described.reference.features if described else {}
        quantiles = {name: features[name].quantiles if name in features else {} for name in _SHOWN_FEATURES}
        log_ratios = quantiles[LOG_LEFT_RIGHT_RATIO].items()
        return {
            "mean_counts": dict(quantiles[MEAN_COUNTS]),
            "left_right_ratio": {probability: _rounded(math.exp(value)) for probability, value in log_ratios},
        }

    def to_json(self) -> bytes:
        """As the bytes of `reference_profile.json`."""
        return self.model_dump_json().encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read and check `reference_profile.json`; raise `BundleError` with the first thing wrong."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise BundleError(
                f"the reference profile cannot be used: {describe_fault(error)}; release the model again"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSample:
    """The features of a condition's reference slices and whose they are; stays where the scans are."""

    features: Mapping[str, Values]  # name -> (n,)
    patients: NDArray[np.str_]  # (n,)


def build_profile(
    *,
    reference: Mapping[Condition, ReferenceSample],
    generated: Mapping[Condition, Mapping[str, Values]],
    source: Literal["acquired", "simulated"],
    intensity_unit: str,
    pixel_spacing_mm: float,
    intensity_scaling: Literal["whole-cohort", "per-slice"] = "whole-cohort",
    false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE,
    seed: int = 0,
) -> ReferenceProfile:
    """Build the profile of a released model.

    Parameters
    ----------
    reference
        Features of the reference slices by condition; one that is missing or empty gets no distance verdict.
    generated
        Features of the model's own output by condition, each (n,) with n of at least 256 (20,000 at a release).
    source, intensity_unit, pixel_spacing_mm, intensity_scaling
        Of the reference scans, and so of the counts the model makes.
    false_alarm_rate
        Wanted over a round of one window of every condition, all features. Where the own output is too small to
        support it, the smallest rate it supports is taken, and the profile says so.
    seed
        Of the bootstrap of the reference's patients.

    Raises
    ------
    ConfigurationError
        Where features are missing, not finite, or too few for the smallest window.
    """
    features = _check_generated(generated)
    slices = min(len(values) for by_feature in generated.values() for values in by_feature.values())
    tests = len(features) * len(generated)
    smallest = smallest_false_alarm_rate(slices, tests)
    rate = max(false_alarm_rate, smallest)
    return ReferenceProfile(
        reference_source=source,
        intensity_unit=intensity_unit,
        intensity_scaling=intensity_scaling,
        pixel_spacing_mm=pixel_spacing_mm,
        features=features,
        profile_slices=slices,
        false_alarm_rate=rate,
        smallest_false_alarm_rate=smallest,
        shift_thresholds={size: shift_threshold(rate, tests) for size in usable_windows(slices)},
        conditions={
            str(condition): ConditionProfile(
                reference=summarise_reference(
                    reference.get(condition), features, np.random.default_rng([seed, condition.index])
                ),
                own_output=_summarise_own_output(generated[condition]),
            )
            for condition in sorted(generated, key=lambda condition: condition.index)
        },
    )


def _check_generated(generated: Mapping[Condition, Mapping[str, Values]]) -> tuple[str, ...]:
    names = {tuple(by_feature) for by_feature in generated.values()}
    if len(names) != 1:
        raise ConfigurationError(f"every condition needs the same features of the own output, got {sorted(names)}")
    for condition, by_feature in generated.items():
        lengths = {len(values) for values in by_feature.values()}
        if len(lengths) != 1 or min(lengths) < MINIMUM_PROFILE_SLICES:
            raise ConfigurationError(
                f"the own output of {condition} needs one value a slice and at least {MINIMUM_PROFILE_SLICES} slices, "
                f"got {sorted(lengths)}"
            )
        for feature, values in by_feature.items():
            if not np.isfinite(values).all():
                raise ConfigurationError(f"{feature} of the own output of {condition} must be finite")
    return names.pop()


def summarise_reference(
    sample: ReferenceSample | None, features: Sequence[str], rng: np.random.Generator
) -> ReferenceSummary:
    """Describe a condition's reference slices by aggregates; only counted where they come from under five patients."""
    if sample is None or len(sample.patients) == 0:
        return ReferenceSummary(slices=0, patients=0, features={})
    patients = len(np.unique(sample.patients))
    if patients < MINIMUM_REFERENCE_PATIENTS:
        return ReferenceSummary(slices=len(sample.patients), patients=patients, features={})
    columns = {feature: np.asarray(sample.features[feature], dtype=np.float64) for feature in features}
    columns[ABSOLUTE_LOG_RATIO] = np.abs(columns[LOG_LEFT_RIGHT_RATIO])
    table = np.column_stack(list(columns.values()))
    if not np.isfinite(table).all():
        raise ConfigurationError("features of the reference slices must be finite; leave out what cannot be measured")
    means, sds = bootstrap_patients(table, sample.patients, replicates=PROFILE_REPLICATES, rng=rng)
    summaries = {
        feature: FeatureSummary(
            mean=_rounded(values.mean()),
            sd=_rounded(values.std(ddof=1)),
            quantiles=_smoothed_quantiles(values),
            mean_replicates=tuple(map(_rounded, means[:, column])),
            sd_replicates=tuple(map(_rounded, sds[:, column])),
        )
        for column, (feature, values) in enumerate(columns.items())
    }
    return ReferenceSummary(slices=len(table), patients=patients, features=summaries)


def _smoothed_quantiles(values: Values) -> dict[str, float]:
    """Return Harrell and Davis' (1982) quantiles: weighted means of all values, so that none is a patient's own.

    Left out where fewer than ten slices lie beyond.
    """
    n = len(values)
    ordered = np.sort(values)
    quantiles = {}
    for probability in _REFERENCE_QUANTILES:
        if n * min(probability, 1 - probability) < _SLICES_BEYOND_A_QUANTILE:
            continue
        cumulated = scipy.special.betainc((n + 1) * probability, (n + 1) * (1 - probability), np.arange(n + 1) / n)
        quantiles[f"{probability:g}"] = _rounded(np.diff(cumulated) @ ordered)
    return quantiles


def _summarise_own_output(by_feature: Mapping[str, Values]) -> OwnOutput:
    slices = min(len(values) for values in by_feature.values())
    quantiles = {
        feature: tuple(map(_rounded, summarise_distribution(values))) for feature, values in by_feature.items()
    }
    return OwnOutput(slices=slices, quantiles=quantiles)


def _rounded(value: float) -> float:
    """Round to seven significant digits: float32's own, and the file stays small."""
    return float(f"{value:.7g}")
