"""Who is in a simulated cohort: presets, the patients behind the reference study's table, splits and seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.errors import CohortError


class Preset(StrEnum):
    """Who is in the cohort."""

    PAPER = "paper"  # Werner et al. 2022: 416 patients, 938 slices
    SMALL = "small"  # a tenth of it
    TEST = "test"  # one slice a patient, 500 a condition: what models are proven on


PRESET_PATIENTS = {Preset.PAPER: 416, Preset.SMALL: 42, Preset.TEST: 4000}
# Part of every patient's seed: no preset repeats a patient of another, whatever its --seed.
PRESET_STREAM = {Preset.PAPER: 0, Preset.SMALL: 1, Preset.TEST: 2}

_CER, _BG, _COR = Level.CEREBELLUM, Level.BASAL_GANGLIA, Level.CORTEX
# Patients behind the table of Werner et al. 2022 (ours: the paper does not say); they sum to its 938 slices.
PATIENT_GROUPS: tuple[tuple[Pattern, tuple[Level, ...], int], ...] = (
    (Pattern.NORMAL, (_CER, _BG, _COR), 129),
    (Pattern.NORMAL, (_CER, _BG), 45),
    (Pattern.NORMAL, (_CER,), 74),
    (Pattern.UNILATERAL, (_CER, _BG, _COR), 66),
    (Pattern.UNILATERAL, (_BG, _COR), 43),
    (Pattern.UNILATERAL, (_BG,), 7),
    (Pattern.BILATERAL, (_BG, _COR), 44),
    (Pattern.BILATERAL, (_COR,), 8),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientPlan:
    """One patient to simulate."""

    name: str
    pattern: Pattern
    levels: tuple[Level, ...]  # that show the disease
    imaged: tuple[Level, ...]  # that the cohort holds
    split: str
    seed: tuple[int, int, int]  # cohort seed, preset stream, patient


def parse_preset(name: str) -> Preset:
    """Turn "paper" into `Preset.PAPER`; raise `CohortError` naming the choices."""
    try:
        return Preset(name)
    except ValueError:
        raise CohortError(f"unknown preset {name!r}; use one of {', '.join(Preset)}") from None


def count_slices(preset: Preset, *, patients: int | None = None) -> int:
    """How many slices a cohort of so many patients holds."""
    return sum(count_conditions(plan_patients(preset, patients=patients, seed=0)).values())


def count_conditions(plans: Sequence[PatientPlan]) -> Counter[Condition]:
    """How many slices of every condition these patients bring, in the conditions' fixed order."""
    found = Counter(Condition(level, plan.pattern) for plan in plans for level in plan.imaged)
    return Counter({condition: found[condition] for condition in CONDITIONS if found[condition]})


def plan_patients(preset: Preset, *, patients: int | None, seed: int) -> list[PatientPlan]:
    """Who is in the cohort, in order; raise `CohortError` for fewer than eight patients."""
    count = PRESET_PATIENTS[preset] if patients is None else patients
    if count < len(CONDITIONS):
        raise CohortError(f"a cohort needs at least {len(CONDITIONS)} patients, one a condition, got {count}")
    if preset is Preset.TEST:
        return [_plan_test_patient(patient, seed) for patient in range(count)]
    sizes = apportion([size for _, _, size in PATIENT_GROUPS], count)
    plans: list[PatientPlan] = []
    for pattern in Pattern:
        groups = [(levels, sizes[i]) for i, (of, levels, _) in enumerate(PATIENT_GROUPS) if of is pattern]
        members = [levels for levels, size in groups for _ in range(size)]
        for position, levels in enumerate(members):
            patient = len(plans)
            plans.append(
                PatientPlan(
                    name=f"{preset.value}-{patient:05d}",
                    pattern=pattern,
                    levels=levels,
                    imaged=levels,
                    # Every fourth of a pattern: patients are exchangeable, so no draw is needed for 75 / 25.
                    split="selection" if position % 4 == 1 else "train",
                    seed=(seed, PRESET_STREAM[preset], patient),
                )
            )
    return plans


def _plan_test_patient(patient: int, seed: int) -> PatientPlan:
    condition = CONDITIONS[patient % len(CONDITIONS)]
    groups = [group for group in PATIENT_GROUPS if group[0] is condition.pattern and condition.level in group[1]]
    weights = np.array([size for _, _, size in groups], dtype=float)
    # The disease is drawn for the levels such a patient has in the paper's cohort; one of them is imaged.
    rng = np.random.default_rng([seed, PRESET_STREAM[Preset.TEST], patient, 1])
    levels = groups[int(rng.choice(len(groups), p=weights / weights.sum()))][1]
    return PatientPlan(
        name=f"{Preset.TEST.value}-{patient:05d}",
        pattern=condition.pattern,
        levels=levels,
        imaged=(condition.level,),
        split="test",
        seed=(seed, PRESET_STREAM[Preset.TEST], patient),
    )


def apportion(sizes: Sequence[int], total: int) -> list[int]:
    """Scale `sizes` to sum to `total`, each at least one, by largest remainders."""
    quotas = np.array(sizes) * total / sum(sizes)
    shares = np.maximum(np.floor(quotas), 1)
    while shares.sum() < total:
        shares[np.argmax(quotas - shares)] += 1
    while shares.sum() > total:
        shares[np.argmax(np.where(shares > 1, shares - quotas, -np.inf))] -= 1
    return [int(share) for share in shares]
