"""From a cohort to what training needs: slices in the network's range, their quantities, basis and density."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from cohort.store import Cohort
from spect.conditions import Level
from spect.density import QuantityDensity, Vector
from spect.errors import CohortError
from spect.intensity import IntensityScale
from spect.slices import FIELD_MM, resample_to_matrix
from training.batches import TrainingSlices
from training.config import TrainingConfig
from training.quantities.density_fit import fit_density
from training.quantities.differentiable import measure_raw
from training.quantities.principal import PrincipalBasis, fit_basis

Dataset = Literal["A", "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cohort made ready; the test split is never among it."""

    slices: TrainingSlices
    train: Cohort  # at the training matrix
    selection: Cohort
    scale: IntensityScale
    basis: PrincipalBasis
    density: QuantityDensity
    raw: Vector  # (n, d) quantities of the training slices
    pixel_spacing_mm: float


def prepare(cohort: Cohort, config: TrainingConfig, *, dataset: Dataset = "A") -> Prepared:
    """Cut the training and selection patients out of a cohort, at the matrix of the configuration.

    Raises
    ------
    CohortError
        No training or selection patients, or a matrix smaller than the configuration's.
    TrainingError
        Too few slices for the density.
    """
    pixel_spacing_mm = FIELD_MM / config.matrix
    train = _at_matrix(_split(cohort, "train", dataset), config.matrix)
    selection = _at_matrix(_split(cohort, "selection", dataset), config.matrix)
    condition = train.condition_index
    basis = fit_basis(train.counts, condition, size=config.principal_scores)
    raw = measure_raw(train.counts, condition, basis, pixel_spacing_mm=pixel_spacing_mm)
    density = fit_density(raw, condition, components=config.density_components)
    scale = IntensityScale.above(train.counts)
    return Prepared(
        slices=TrainingSlices(
            model_images=torch.from_numpy(scale.to_model_images(train.counts)),
            quantities=density.standardise(raw).astype(np.float32),
            condition=condition,
        ),
        train=train,
        selection=selection,
        scale=scale,
        basis=basis,
        density=density,
        raw=raw,
        pixel_spacing_mm=pixel_spacing_mm,
    )


def _split(cohort: Cohort, split: str, dataset: Dataset) -> Cohort:
    kept = cohort.split == split
    if dataset == "B":
        kept &= cohort.level == str(Level.CORTEX)
    if not kept.any():
        raise CohortError(f"the cohort has no {split} slices for dataset {dataset}; simulate or import one with splits")
    return cohort.take(np.flatnonzero(kept))


def _at_matrix(cohort: Cohort, matrix: int) -> Cohort:
    if cohort.matrix < matrix or cohort.counts.shape[1] != cohort.counts.shape[2]:
        raise CohortError(
            f"the cohort's slices are {cohort.counts.shape[1]} x {cohort.counts.shape[2]}; "
            f"this configuration needs square ones of at least {matrix}: simulate or import them so, or set matrix=64"
        )
    _check_field(cohort)
    if cohort.matrix == matrix:
        return cohort
    spacing = FIELD_MM / matrix
    return replace(
        cohort,
        counts=resample_to_matrix(cohort.counts, matrix),
        description=replace(cohort.description, pixel_spacing_mm=spacing),
    )


def _check_field(cohort: Cohort) -> None:
    field = cohort.matrix * cohort.description.pixel_spacing_mm
    if abs(field - FIELD_MM) > 0.5:
        raise CohortError(f"the cohort's field is {field:g} mm; training needs {FIELD_MM:g} mm: import it again")
