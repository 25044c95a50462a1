"""Rows of the camera: how wide a point reads, what filter and correction are set, counts and planes."""

from collections.abc import Sequence

import numpy as np

from cohort.calibration.camera import measure_point_fwhm_mm
from cohort.calibration.rows import Estimate, Row
from cohort.calibration.sample import ReadPatient
from cohort.simulator.imaging import Camera
from spect.conditions import Level

OFF_CENTER_MM = 60.0
IMP_SPECT = "123I brain SPECT protocols: PMC6038970"
# Where a level's plane lies on the average, MNI z in mm.
PLANE_RANGES = {
    Level.CEREBELLUM: ("-36", -37.0, -35.0),
    Level.BASAL_GANGLIA: ("+6", 5.0, 7.0),
    Level.CORTEX: ("+40 to +45", 40.0, 45.0),
}


def scanner_rows(camera: Camera, normals: Sequence[ReadPatient]) -> list[Row]:
    """All rows of the camera."""
    return [*_width_rows(camera), *_setting_rows(camera, normals), *_plane_rows(normals)]


def _width_rows(camera: Camera) -> list[Row]:
    places = (("at the centre", 0.0), (f"{OFF_CENTER_MM:.0f} mm from it", OFF_CENTER_MM))
    return [
        Row(
            quantity=f"a point's FWHM in the plane, {name} (mm)",
            stated="8 to 12; a Gaussian of 10 fits SPECT.nii best",
            low=8.0,
            high=12.0,
            simulated=Estimate.of_setting(measure_point_fwhm_mm(camera, row_mm=0.0, column_mm=place)),
            source="SPECT.nii; SPRINT 1984 8 mm",
            decimals=1,
        )
        for name, place in places
    ]


def _setting_rows(camera: Camera, normals: Sequence[ReadPatient]) -> list[Row]:
    mu = [one.patient.correction.mu_per_cm for one in normals]
    return [
        Row(
            quantity="Butterworth cut-off (cycles/cm)",
            stated="0.32 to 0.46",
            low=0.32,
            high=0.46,
            simulated=Estimate.of_setting(camera.cutoff_cycles_per_cm),
            source=IMP_SPECT,
        ),
        *(
            Row(
                quantity=f"Chang's mu, {which} (1/cm)",
                stated="0.05 to 0.11",
                low=0.05,
                high=0.11,
                simulated=Estimate(value=float(value), standard_error=None, n=len(mu)),
                source=IMP_SPECT,
                decimals=3,
            )
            for which, value in (("smallest", min(mu)), ("mean", np.mean(mu)), ("largest", max(mu)))
        ),
        Row(
            quantity="counts of a study (millions)",
            stated="some 5, at 64 x 64 or 128 x 128",
            low=4e6,
            high=6.5e6,
            simulated=Estimate.of_setting(camera.study_counts),
            source="protocol examples; Marroni 2013 (6.5, ECD)",
            scale=1e-6,
            decimals=1,
        ),
    ]


def _plane_rows(normals: Sequence[ReadPatient]) -> list[Row]:
    return [
        Row(
            quantity=f"plane of {level}, MNI z (mm)",
            stated=stated,
            low=low,
            high=high,
            simulated=Estimate.of_mean([one.slices[level].plane_mm for one in normals]),
            source="SCIENCE: measured on SPECT.nii",
            decimals=1,
        )
        for level, (stated, low, high) in PLANE_RANGES.items()
    ]
