"""Two-sample test in what no generator was asked for: components beyond the conditioned ones.

Principal scores may be asked of a generator, and then agree by construction. Here the first components of each level,
as many as scores were asked, are taken out of every slice; a logistic regression looks at 50 components of what is left
and at their squares, so that it sees a lost spread as well as a shift. What is taken out is fitted on both samples
together: fitted on one alone, it would describe that one better, and the rest of the other would stand out.
"""

import numpy as np
from numpy.typing import NDArray

from registry.bundle.panel import Measurement
from spect.conditions import CONDITIONS, Level
from training.validation.cells import all_cell, pattern_cells
from training.validation.comparison import Comparison, Pair
from training.validation.projection import fit_projection
from training.validation.separability import Vector, decide_linearly, judge_cells
from training.validation.two_sample_classifier import joint_scores, reference_outlines

METRIC = "c2st_auc_beyond_conditioned"
# Taken out of slices of a generator that was asked for none: the proof is then as hard for every generator.
LEAST_COMPONENTS = 24


def measure_beyond_conditioned(comparison: Comparison) -> list[Measurement]:
    """AUC over all conditions and, of the same decisions, per pattern; inside the reference outline."""
    cells = (all_cell(comparison.conditions), *pattern_cells(comparison.conditions))
    masks = reference_outlines(comparison.reference)
    size = max(comparison.conditioned_scores, LEAST_COMPONENTS)
    pairs = comparison.pairs(cells[0])
    decided = [decide_beyond(pair, masks, size, seed=comparison.seed) for pair in pairs]
    note = f"{size} components of each level taken out; scores of the rest and their squares"
    return judge_cells(METRIC, cells, pairs, decided, seed=comparison.seed, note=note)


def decide_beyond(pair: Pair, masks: NDArray[np.bool_], size: int, *, seed: int) -> Vector:
    """Held-out decisions (n + m,) of a logistic regression on scores of what is left, and their squares."""
    rest = take_out(
        np.concatenate([(sample.counts * masks[sample.condition_index]).reshape(len(sample), -1) for sample in pair]),
        np.concatenate([sample.condition_index for sample in pair]),
        size,
    )
    scores = joint_scores(rest)
    return decide_linearly(pair, np.column_stack([scores, scores**2]), seed=seed)


def take_out(flat: NDArray[np.float32], condition_index: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """Return slices (n, p) less their level's mean and first components."""
    rest = np.empty_like(flat)
    for level in Level:
        rows = np.isin(condition_index, [c.index for c in CONDITIONS if c.level is level])
        if rows.any():
            members = flat[rows]
            asked = fit_projection(members, size)
            rest[rows] = (members - asked.mean) - ((members - asked.mean) @ asked.components.T) @ asked.components
    return rest
