"""Whole patients as the unit: halves that share no patient, and weights of a bootstrap that draws patients."""

import numpy as np
from numpy.typing import NDArray


def halve_by_patient(
    patient: NDArray[np.str_], condition_index: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into two halves that share no patient, patients of one set of conditions as evenly as it goes."""
    first, second = deal_by_patient(patient, condition_index, rng, 2)
    return first, second


def deal_by_patient(
    patient: NDArray[np.str_], condition_index: NDArray[np.int64], rng: np.random.Generator, parts: int
) -> tuple[NDArray[np.int64], ...]:
    """Deal rows into parts that share no patient, patients of one set of conditions as evenly as it goes."""
    names, owner = np.unique(patient, return_inverse=True)
    conditions_seen = np.zeros(len(names), dtype=np.int64)
    np.bitwise_or.at(conditions_seen, owner, 1 << condition_index)
    shuffled = rng.permutation(len(names))
    dealt = shuffled[np.argsort(conditions_seen[shuffled], kind="stable")]
    part = np.zeros(len(names), dtype=np.int64)
    part[dealt] = np.arange(len(names)) % parts
    return tuple(np.flatnonzero(part[owner] == one) for one in range(parts))


def draw_patient_weights(
    patient: NDArray[np.str_], *, replicates: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """How often each slice enters each replicate (replicates, n) when whole patients are drawn with replacement."""
    names, owner = np.unique(patient, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    return drawn[:, owner].astype(np.float64)
