"""The mean HMPAO scan of SPM, read as the simulated ones are: regions over cortex, left over right, slices."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohort.calibration.flow import TEMPLATE_RATIOS
from cohort.calibration.regions import locate_template_plane, read_regions
from cohort.simulator.anatomy import Array, load_template
from spect.conditions import Level
from spect.formats import nifti
from spect.quantify import quantify
from spect.slices import FIELD_MM

# COR in the middle of where patients' planes lie.
PLANES_MM = {Level.CEREBELLUM: -36.0, Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 42.0}
MATRIX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateReading:
    """What the template gives at the three planes."""

    counts: Array  # (3, rows, columns), in the order of `Level`
    over_cortex: dict[str, float]
    left_right_ratio: dict[Level, float]


def read_template(path: Path) -> TemplateReading:
    """Cut and read a volume in MNI space; raise `FormatError` where it is none."""
    parsed = nifti.read_slices(path, planes=PLANES_MM, matrix=MATRIX)
    anatomy = load_template()
    found: dict[str, list[float]] = {}
    for (level, plane_mm), counts in zip(PLANES_MM.items(), parsed.counts, strict=True):
        for name, value in read_regions(counts, anatomy, locate_template_plane(MATRIX, plane_mm), level).items():
            found.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    ratios = quantify(parsed.counts, pixel_spacing_mm=FIELD_MM / MATRIX).left_right_ratio
    return TemplateReading(
        counts=parsed.counts,
        over_cortex={name: means[name] / means["cortex"] for name in TEMPLATE_RATIOS},
        left_right_ratio=dict(zip(PLANES_MM, map(float, ratios), strict=True)),
    )
