"""Rows of unilateral disease: the hemisphere's loss, the depth of defects, crossed cerebellar diaschisis."""

from collections.abc import Sequence

import numpy as np

from cohort.calibration.rows import Estimate, Row
from cohort.calibration.sample import ReadPatient
from cohort.simulator.ischaemia import Side
from spect.conditions import Level

MIYAZAWA = "Miyazawa 2001"
SUPRATENTORIAL = (Level.BASAL_GANGLIA, Level.CORTEX)
CENTRAL_PERCENTILES = (2.5, 97.5)

Patients = Sequence[ReadPatient]


def disease_rows(unilateral: Patients, hmpao: Patients) -> list[Row]:
    """All rows of unilateral disease; `hmpao` are the first of the same patients with the other tracer."""
    return [*_hemisphere_rows(unilateral), *_diaschisis_rows(unilateral), _tracer_row(unilateral[: len(hmpao)], hmpao)]


def has_occlusion(one: ReadPatient) -> bool:
    """Whether flow is lost all over a territory, as downstream of a closed major artery."""
    return any(hemisphere.reduction for hemisphere in one.patient.disease.hemispheres)


def _hemisphere_rows(unilateral: Patients) -> list[Row]:
    occluded = [_mean_ratio(one) for one in unilateral if has_occlusion(one)]
    factors = [min(one.slices[level].worst_factor for level in _levels(one)) for one in unilateral]
    low, high = np.percentile(np.round(factors, 4), CENTRAL_PERCENTILES)  # float32
    return [
        Row(
            quantity="affected over normal hemisphere after imaging, major-artery occlusion",
            stated="27.5 / 31.4 = 0.876",
            low=0.846,
            high=0.906,
            simulated=Estimate.of_mean(occluded),
            source=MIYAZAWA,
            decimals=3,
        ),
        *(
            Row(
                quantity=f"flow left in the core of a patient's deepest defect, {which} 2.5 % of patients",
                stated="0.4 to 0.95",
                low=0.40,
                high=0.95,
                simulated=Estimate(value=float(value), standard_error=None, n=len(factors)),
                source="penumbra 40 to 70 % of contralateral; Miyazawa 2001",
            )
            for which, value in (("lowest", low), ("highest", high))
        ),
    ]


def _diaschisis_rows(unilateral: Patients) -> list[Row]:
    crossed = [one for one in unilateral if one.patient.disease.diaschisis > 0]
    depths = np.array([one.patient.disease.diaschisis for one in crossed])
    seen = [_cerebellar_loss(one) for one in crossed if Level.CEREBELLUM in one.slices]
    ranges = (("smallest", float(depths.min())), ("largest", float(depths.max())))
    source = "Miyazawa 2001; Wang 2020"
    return [
        Row(
            quantity="crossed cerebellar diaschisis, share of unilateral patients (%)",
            stated="33 to 60",
            low=0.33,
            high=0.60,
            simulated=Estimate.of_share([one.patient.disease.diaschisis > 0 for one in unilateral]),
            source=source,
            scale=100,
            decimals=0,
        ),
        Row(
            quantity="its depth before imaging, mean (%)",
            stated="17",
            low=0.15,
            high=0.19,
            simulated=Estimate.of_mean(depths),
            source=source,
            scale=100,
            decimals=1,
        ),
        *(
            Row(
                quantity=f"its depth before imaging, {which} (%)",
                stated="10 to 25",
                low=0.10,
                high=0.25,
                simulated=Estimate(value=value, standard_error=None, n=len(depths)),
                source=source,
                scale=100,
                decimals=1,
            )
            for which, value in ranges
        ),
        Row(
            quantity="its depth after imaging, regions of both cerebellar hemispheres, mean (%)",
            stated="10 to 25, mean 17",
            low=0.10,
            high=0.25,
            simulated=Estimate.of_mean(seen),
            source=source,
            scale=100,
            decimals=1,
        ),
    ]


def _tracer_row(unilateral: Patients, hmpao: Patients) -> Row:
    """How much more asymmetry IMP shows than HMPAO in the same patients."""
    deeper = [(1 - _mean_ratio(one)) - (1 - _mean_ratio(other)) for one, other in zip(unilateral, hmpao, strict=True)]
    return Row(
        quantity="hemisphere's loss with IMP less that with HMPAO (percentage points)",
        stated="deeper with IMP",
        low=0.001,
        high=0.06,
        simulated=Estimate.of_mean(deeper),
        source="Nakano",
        scale=100,
        decimals=1,
    )


def _levels(one: ReadPatient) -> list[Level]:
    return [level for level in SUPRATENTORIAL if level in one.slices]


def _mean_ratio(one: ReadPatient) -> float:
    return float(np.mean([one.affected_over_normal(level) for level in _levels(one)]))


def _cerebellar_loss(one: ReadPatient) -> float:
    """Share lost opposite the lesion, in regions of the two cerebellar hemispheres."""
    regions = one.slices[Level.CEREBELLUM].regions
    ratio = regions["left_cerebellum"] / regions["right_cerebellum"]
    return 1 - (1 / ratio if one.patient.disease.side is Side.LEFT else ratio)
