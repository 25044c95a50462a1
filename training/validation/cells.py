"""Cells: what a number of the panel is about; a condition, a pattern with its levels in equal numbers, or all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Condition, Pattern
from spect.equivalence import choose_equal_numbers

# Fewer slices than this say nothing of a spread: the condition is left out, and its gates find no number and fail.
SMALLEST_CONDITION = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Conditions judged together, each with the same number of slices."""

    name: str
    conditions: tuple[Condition, ...]

    def rows(self, condition_index: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Positions of this cell's slices among condition_index (n,), every condition equally often."""
        members = np.flatnonzero(np.isin(condition_index, [condition.index for condition in self.conditions]))
        if len(self.conditions) == 1:
            return members.astype(np.int64)
        return members[choose_equal_numbers(condition_index[members].astype(np.str_), rng)].astype(np.int64)


def condition_cells(conditions: tuple[Condition, ...] = CONDITIONS) -> tuple[Cell, ...]:
    """One cell a condition, in the order of `CONDITIONS`."""
    return tuple(Cell(name=str(condition), conditions=(condition,)) for condition in conditions)


def pattern_cells(conditions: tuple[Condition, ...] = CONDITIONS) -> tuple[Cell, ...]:
    """One cell a pattern, over those of its levels that are there."""
    cells = []
    for pattern in Pattern:
        members = tuple(condition for condition in conditions if condition.pattern is pattern)
        if members:
            cells.append(Cell(name=str(pattern), conditions=members))
    return tuple(cells)


def all_cell(conditions: tuple[Condition, ...] = CONDITIONS) -> Cell:
    """Return the one cell of every condition."""
    return Cell(name="all", conditions=conditions)


def common_conditions(*condition_indices: NDArray[np.int64]) -> tuple[Condition, ...]:
    """Conditions with at least `SMALLEST_CONDITION` slices in each of the given samples."""
    return tuple(
        condition
        for condition in CONDITIONS
        if all(int((index == condition.index).sum()) >= SMALLEST_CONDITION for index in condition_indices)
    )
