"""Rows of flow in health: levels, spread between persons, regions over cortex, and one tracer against the other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohort.calibration.rows import Estimate, Row
from cohort.calibration.sample import ReadPatient
from cohort.simulator.anatomy import CORTICAL, REGIONS, Template
from spect.conditions import Level

HATAZAWA = "IMP-ARG, 39 volunteers: Hatazawa, J Nucl Med 1997;38:1102"
SPM_TEMPLATE = "measured on SPM's SPECT.nii, the mean HMPAO scan of 22 women"
# Regions over cortex of that template, and how near a simulated HMPAO scan must come.
TEMPLATE_RATIOS = {"cerebellum": 1.10, "putamen": 1.15, "caudate": 0.92, "thalamus": 1.08, "white_matter": 0.66}
TEMPLATE_TOLERANCE = 0.08
REGION_NAMES = ("cortex", *TEMPLATE_RATIOS)
LESS_WITH_IMP = ("white_matter", "cerebellum", "putamen", "caudate")

Patients = Sequence[ReadPatient]


def flow_rows(normals: Patients, again: Patients, hmpao: Patients, template: Template) -> list[Row]:
    """All rows of flow in health."""
    return [
        *_level_rows(normals, template),
        *_spread_rows(normals, again),
        *_template_rows(hmpao),
        *_tracer_rows(normals[: len(hmpao)], hmpao),
    ]


def _level_rows(normals: Patients, template: Template) -> list[Row]:
    white = [one.slices[Level.CORTEX].regions.get("white_matter", np.nan) for one in normals]
    volumes = template.volumes_ml()[CORTICAL]
    unreduced = [
        float(one.patient.flow.regions[CORTICAL] @ volumes / volumes.sum())
        / float(one.patient.flow.regions[REGIONS.index("white_matter")])
        for one in normals
    ]
    return [
        Row(
            quantity="cortex after imaging, IMP (mL/100g/min)",
            stated="33.0 ± 5.1",
            low=31.4,  # the volunteers' mean and its 95 % interval
            high=34.6,
            simulated=Estimate.of_mean([one.regions["cortex"] for one in normals]),
            source=HATAZAWA,
            decimals=1,
        ),
        Row(
            quantity="centrum semiovale after imaging, IMP (mL/100g/min)",
            stated="25.0 ± 4.5",
            low=20.5,  # one SD: this source's 0.76 of cortex and "less than HMPAO's 0.66" cannot both hold
            high=29.5,
            simulated=Estimate.of_mean([value for value in white if np.isfinite(value)]),
            source=HATAZAWA,
            decimals=1,
        ),
        Row(
            quantity="grey over white matter before imaging",
            stated="2.5 to 4",
            low=2.5,
            high=4.0,
            simulated=Estimate.of_mean(unreduced),
            source="Auer phantom (9.3 : 2.3)",
        ),
        Row(
            quantity="white matter over cortex after imaging, IMP",
            stated="0.62 to 0.80",
            low=0.62,
            high=0.80,
            simulated=Estimate.of_mean(over_cortex(normals, "white_matter")),
            source="SPECT.nii 0.66, IMP-ARG 0.76",
            decimals=3,
        ),
    ]


def _spread_rows(normals: Patients, again: Patients) -> list[Row]:
    uptake = np.array([[one.slices[level].mean_counts for level in Level] for one in normals])
    overall = np.log(uptake / uptake.mean(axis=0)).mean(axis=1)
    return [
        Row(
            quantity="global uptake between persons, SD (%)",
            stated="12 to 16",
            low=0.12,
            high=0.16,
            simulated=Estimate.of_sd(overall),
            source="Hatazawa 1997; Matthew 1993 (40.3 ± 6.4)",
            scale=100,
            decimals=1,
        ),
        Row(
            quantity="region over the whole between persons, SD (%), mean of six regions",
            stated="4.8",
            low=0.038,
            high=0.058,
            simulated=_regional_spread(normals, np.exp(overall)),
            source="Van Laere 2001, n = 89",
            scale=100,
            decimals=1,
        ),
        Row(
            quantity="region, same person imaged again, SD (%): counting noise alone",
            stated="3.0 with all else that changes between scans",
            low=0.0,
            high=0.03,
            simulated=_repeat_spread(normals, again),
            source="Van Laere 2001",
            scale=100,
            decimals=1,
        ),
    ]


def _regional_spread(normals: Patients, overall: NDArray[np.float64]) -> Estimate:
    spreads = []
    for name in REGION_NAMES:
        shares = [one.regions[name] / whole for one, whole in zip(normals, overall, strict=True) if name in one.regions]
        spreads.append(float(np.std(shares, ddof=1) / np.mean(shares)))
    mean, n = float(np.mean(spreads)), len(normals)
    return Estimate(value=mean, standard_error=mean / float(np.sqrt(2 * (n - 1) * len(spreads))), n=n)


def _repeat_spread(normals: Patients, again: Patients) -> Estimate:
    changes = [
        (second.regions[name] - first.regions[name]) / first.regions[name] / np.sqrt(2)
        for first, second in zip(normals, again, strict=False)
        for name in first.regions.keys() & second.regions.keys()
    ]
    spread = Estimate.of_sd(changes)
    return Estimate(value=spread.value, standard_error=spread.standard_error, n=len(again))


def _template_rows(hmpao: Patients) -> list[Row]:
    return [
        Row(
            quantity=f"{name.replace('_', ' ')} over cortex after imaging, HMPAO",
            stated=f"{ratio:.2f}",
            low=ratio * (1 - TEMPLATE_TOLERANCE),
            high=ratio * (1 + TEMPLATE_TOLERANCE),
            simulated=Estimate.of_mean(over_cortex(hmpao, name)),
            source=SPM_TEMPLATE,
            decimals=3,
        )
        for name, ratio in TEMPLATE_RATIOS.items()
    ]


def _tracer_rows(normals: Patients, hmpao: Patients) -> list[Row]:
    """Compare the same persons with both tracers."""
    return [
        Row(
            quantity=f"{name.replace('_', ' ')} over cortex, IMP over HMPAO",
            stated="less",
            low=0.80,
            high=0.99,
            simulated=Estimate.of_mean(_ratios(normals, hmpao, name)),
            source="Isaka; Nakano",
            decimals=3,
        )
        for name in LESS_WITH_IMP
    ]


def _ratios(normals: Patients, hmpao: Patients, name: str) -> list[float]:
    """Return a region over cortex with one tracer over that with the other, of every person who shows it."""
    return [
        (one.regions[name] / one.regions["cortex"]) / (other.regions[name] / other.regions["cortex"])
        for one, other in zip(normals, hmpao, strict=True)
        if name in one.regions
    ]


def over_cortex(patients: Patients, name: str) -> list[float]:
    """Return counts of a region over cortex of every patient who shows it."""
    return [one.regions[name] / one.regions["cortex"] for one in patients if name in one.regions]
