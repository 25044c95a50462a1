"""How well two samples can be told apart: the AUC of held-out decisions, with an interval that draws whole patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from registry.bundle.panel import Measurement
from spect.conditions import CONDITIONS
from training.auc import compute_weighted_auc
from training.validation.cells import Cell
from training.validation.comparison import Pair
from training.validation.resampling import deal_by_patient, draw_patient_weights

FOLDS = 5
REPLICATES = 300
CONFIDENCE = 0.95
MAX_ITERATIONS = 2000

Vector = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """How well synthetic and reference slices were told apart, with a 95 % interval over patients."""

    auc: float
    low: float
    high: float

    def measurement(self, metric: str, cell: str, pair: Pair, *, null: float, floor: float, note: str) -> Measurement:
        """Report it for a cell, beside its null and floor."""
        return Measurement(
            metric=metric,
            cell=cell,
            value=self.auc,
            low=self.low,
            high=self.high,
            null=null,
            floor=floor,
            slices_synthetic=len(pair[0]),
            slices_reference=len(pair[1]),
            note=f"95 % interval over patients; {note}",
        )


def cross_validate(pair: Pair, design: Vector, *, seed: int) -> Separability:
    """Cross-validate a logistic regression that sees each slice of a pair as a row of design (n + m, k)."""
    return judge_decisions(pair, decide_linearly(pair, design, seed=seed), seed=seed)


def decide_linearly(pair: Pair, design: Vector, *, seed: int) -> Vector:
    """Held-out decisions (n + m,) of a logistic regression on design (n + m, k)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    return np.asarray(
        cross_val_predict(
            model,
            design,
            label_first(pair),
            cv=patient_folds(pair, seed=seed),
            method="decision_function",
        )
    )


def judge_cells(
    metric: str,
    cells: Sequence[Cell],
    pairs: tuple[Pair, Pair, Pair],
    decided: Sequence[Vector],
    *,
    seed: int,
    note: str,
) -> list[Measurement]:
    """Judge the same held-out decisions (n + m,) of each pair cell by cell: over all, and of each pattern alone."""
    measurements = []
    for cell in cells:
        parts = [take_part(pair, cell) for pair in pairs]
        judged, null, floor = (
            judge_decisions(part, decisions[rows], seed=seed)
            for (part, rows), decisions in zip(parts, decided, strict=True)
        )
        measurements.append(
            judged.measurement(metric, cell.name, parts[0][0], null=null.auc, floor=floor.auc, note=note)
        )
    return measurements


def take_part(pair: Pair, cell: Cell) -> tuple[Pair, NDArray[np.bool_]]:
    """Return a cell's slices of a pair, and which rows (n + m,) they are."""
    indices = [condition.index for condition in cell.conditions]
    chosen = [np.isin(sample.condition_index, indices) for sample in pair]
    first, second = (sample.take(np.flatnonzero(rows)) for sample, rows in zip(pair, chosen, strict=True))
    return (first, second), np.concatenate(chosen)


def judge_decisions(pair: Pair, decisions: Vector, *, seed: int) -> Separability:
    """AUC of held-out decisions (n + m,), high for the pair's first sample."""
    is_first = label_first(pair)
    rng = np.random.default_rng([seed, 3])
    weights = draw_patient_weights(name_patients(pair), replicates=REPLICATES, rng=rng)
    replicates = compute_weighted_auc(decisions, is_first, np.vstack([np.ones((1, len(is_first))), weights]))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates[1:], [tail, 100 - tail])
    return Separability(auc=float(replicates[0]), low=float(low), high=float(high))


def patient_folds(pair: Pair, *, seed: int, folds: int = FOLDS) -> list[tuple[Labels, Labels]]:
    """Rows (of n + m) to fit on and to hold out; folds share no patient and hold every condition of both alike."""
    offsets = (0, len(CONDITIONS))
    kinds = np.concatenate([sample.condition_index + one for sample, one in zip(pair, offsets, strict=True)])
    parts = deal_by_patient(name_patients(pair), kinds, np.random.default_rng([seed, 16]), folds)
    rows = np.arange(len(kinds))
    return [(np.setdiff1d(rows, part), part) for part in parts]


def label_first(pair: Pair) -> Labels:
    """1 for a slice of the pair's first sample, else 0: (n + m,)."""
    return np.repeat([1, 0], [len(pair[0]), len(pair[1])]).astype(np.int64)


def name_patients(pair: Pair) -> NDArray[np.str_]:
    """Patients of both samples, (n + m,); those of one are never taken for the other's."""
    return np.concatenate([np.char.add(prefix, s.patient) for prefix, s in zip("ab", pair, strict=True)])
