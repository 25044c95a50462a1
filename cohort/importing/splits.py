"""Which patients train, select and test in an imported cohort: whole patients, stratified by pattern."""

import numpy as np
from numpy.typing import NDArray

# SCIENCE.md section 3: shares of patients, in the order in which they are cut.
SHARES = (("train", 0.65), ("selection", 0.15), ("test", 0.20))


def split_patients(patient: NDArray[np.str_], pattern: NDArray[np.str_], *, seed: int = 0) -> NDArray[np.str_]:
    """Return the split (n,) of every slice; all slices of a patient share one.

    Patients with the same patterns form a stratum, shuffled by `seed` and cut 65 / 15 / 20. What rounding leaves over
    goes to training first: a stratum of one patient trains.
    """
    patterns_of: dict[str, set[str]] = {}
    for name, one in zip(patient.tolist(), pattern.tolist(), strict=True):
        patterns_of.setdefault(name, set()).add(one)
    strata: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(patterns_of):
        strata.setdefault(tuple(sorted(patterns_of[name])), []).append(name)
    split: dict[str, str] = {}
    for position, patterns in enumerate(sorted(strata)):
        rng = np.random.default_rng([seed, position])
        shuffled = rng.permutation(strata[patterns]).tolist()
        split |= dict(zip(shuffled, _cut(len(shuffled)), strict=True))
    return np.array([split[name] for name in patient.tolist()])


def _cut(patients: int) -> list[str]:
    names: list[str] = []
    share = 0.0
    for name, part in SHARES:
        share += part
        names += [name] * (int(np.ceil(patients * share - 1e-9)) - len(names))
    return names
