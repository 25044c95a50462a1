"""A site with a tenth of a cohort: whole patients of its training and selection splits, every kind of patient alike."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohort.store import Cohort, build_cohort
from spect.conditions import CONDITIONS
from spect.errors import CohortError
from spect.words import in_number
from training.quantities.principal import LEVELS, level_of_condition
from training.validation.lessons import FEWEST
from training.validation.resampling import deal_by_patient

PARTS = 10
SITE_SPLITS = ("train", "selection")  # a test split is never a site's

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Positions, in a site's cohort, of the slices that are left and of the others; no patient is on both sides."""

    few: Rows
    rest: Rows


def select_site(cohort: Cohort) -> Cohort:
    """Return the training and selection slices; raise `CohortError` where either split is empty."""
    for split in SITE_SPLITS:
        if not (cohort.split == split).any():
            raise CohortError(f"the cohort has no {split} slices; simulate one with --preset paper, or import splits")
    return cohort.take(np.flatnonzero(np.isin(cohort.split, SITE_SPLITS)))


def cut_tenth(site: Cohort, seed: int) -> Cut:
    """Keep a tenth of the patients of each split, at random, patients of one set of conditions as evenly as it goes.

    Where that leaves a condition of the training split with fewer than three slices, the fewest a density is fitted to,
    more of its patients are kept.

    Raises
    ------
    CohortError
        The training split itself has fewer than three slices of a condition.
    """
    rng = np.random.default_rng([seed, 0])
    kept = {split: _deal_tenth(site, np.flatnonzero(site.split == split), rng) for split in SITE_SPLITS}
    kept["train"] = _top_up(site, kept["train"], rng)
    few = np.flatnonzero(np.isin(site.patient, np.concatenate([site.patient[rows] for rows in kept.values()])))
    return Cut(few=few, rest=np.setdiff1d(np.arange(len(site)), few))


def build_tenth(site: Cohort, cut: Cut, seed: int) -> Cohort:
    """Return what is left as a cohort of its own, which says what it is: still the source's slices, and how many."""
    few = site.take(cut.few)
    name = f"a tenth of the patients of {site.description.name}, cut by seed {seed}"
    return build_cohort(few.arrays(), replace(few.description, name=name, fingerprint=""))


def count_smallest_level(tenth: Cohort) -> int:
    """Training slices of the level that has fewest: what its principal components are fitted to."""
    level = level_of_condition()[tenth.select(split="train").condition_index]
    return int(np.bincount(level, minlength=len(LEVELS))[np.unique(level)].min())


def _deal_tenth(site: Cohort, rows: Rows, rng: np.random.Generator) -> Rows:
    patient, condition_index = site.patient[rows], site.condition_index[rows]
    parts = deal_by_patient(patient, condition_index, rng, PARTS)
    # Parts are dealt in turn: the one a seed takes is drawn, lest small kinds of patients always be in or out.
    return rows[parts[rng.integers(min(PARTS, len(np.unique(patient))))]]


def _top_up(site: Cohort, kept: Rows, rng: np.random.Generator) -> Rows:
    of_split = np.flatnonzero(site.split == "train")
    condition_index = site.condition_index
    patients = set(site.patient[kept].tolist())
    for index in np.unique(condition_index[of_split]):
        members = of_split[condition_index[of_split] == index]
        if len(members) < FEWEST:
            raise CohortError(
                f"{CONDITIONS[index]} has {in_number(len(members), 'training slice')} in the whole cohort, a tenth "
                f"of it needs {FEWEST}; use a larger cohort"
            )
        for row in rng.permutation(members):
            if np.isin(site.patient[members], list(patients)).sum() >= FEWEST:
                break
            patients.add(str(site.patient[row]))
    return of_split[np.isin(site.patient[of_split], list(patients))]
