"""Who is in a simulated cohort: presets, the patients behind the reference study's table, splits and seeds."""

from collections import Counter
from collections.abc import Iterator, Sequence
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
MAX_PATIENTS = 1_000_000  # days of work, and more slices than the world has scans
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


def count_patients(preset: Preset, patients: int | None) -> int:
    """How many patients there are, the preset's own number where None; raise `CohortError` for too few or too many."""
    count = PRESET_PATIENTS[preset] if patients is None else patients
    if count < len(CONDITIONS):
        raise CohortError(f"a cohort needs at least {len(CONDITIONS)} patients, one a condition, got {count}")
    if count > MAX_PATIENTS:
        raise CohortError(f"a cohort holds at most {MAX_PATIENTS} patients, got {count}; make several, a seed each")
    return count


def count_conditions(preset: Preset, patients: int | None = None) -> Counter[Condition]:
    """How many slices of every condition so many patients bring, in the conditions' fixed order; plans nobody."""
    count = count_patients(preset, patients)
    if preset is Preset.TEST:
        return Counter({one: len(range(one.index, count, len(CONDITIONS))) for one in CONDITIONS})
    found: Counter[Condition] = Counter()
    for (pattern, levels, _), size in zip(PATIENT_GROUPS, _size_groups(count), strict=True):
        found.update({Condition(level, pattern): size for level in levels})
    return Counter({condition: found[condition] for condition in CONDITIONS if found[condition]})


def plan_patients(preset: Preset, *, patients: int | None, seed: int) -> Iterator[PatientPlan]:
    """Who is in the cohort, in order, one at a time: a large cohort is never planned as a whole.

    Raises
    ------
    CohortError
        Too few or too many patients; at once, not when the first is asked for.
    """
    count = count_patients(preset, patients)
    if preset is Preset.TEST:
        return (_plan_test_patient(patient, seed) for patient in range(count))
    return _plan_groups(preset, _size_groups(count), seed)


def _size_groups(patients: int) -> list[int]:
    return apportion([size for _, _, size in PATIENT_GROUPS], patients)


def _plan_groups(preset: Preset, sizes: Sequence[int], seed: int) -> Iterator[PatientPlan]:
    patient = 0
    for pattern in Pattern:
        groups = [(levels, size) for (of, levels, _), size in zip(PATIENT_GROUPS, sizes, strict=True) if of is pattern]
        members = (levels for levels, size in groups for _ in range(size))
        for position, levels in enumerate(members):
            yield PatientPlan(
                name=f"{preset.value}-{patient:05d}",
                pattern=pattern,
                levels=levels,
                imaged=levels,
                # Every fourth of a pattern: patients are exchangeable, so no draw is needed for 75 / 25.
                split="selection" if position % 4 == 1 else "train",
                seed=(seed, PRESET_STREAM[preset], patient),
            )
            patient += 1


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
