"""Blood flow of one person: mL/100g/min by tissue and region, as a tracer shows it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cohort.simulator.anatomy import (
    CORTICAL,
    MEAN_AGE_YEARS,
    REGIONS,
    Array,
    Axes,
    Brain,
    SmoothField,
    Template,
    Values,
    sample_volume,
)  # fmt: skip


class Tracer(StrEnum):
    """What carries the flow into the image. The cohort is IMP; HMPAO is for comparison with a real template."""

    IMP = "123I-IMP"
    HMPAO = "99mTc-HMPAO"


# Flow before any blur, mL/100g/min, one table a tracer; grey to white 3.1 to 3.4 : 1 (Auer phantom: 2.5 to 4 : 1). Set
# so that imaged and read as docs/cohort.md says, IMP's cortex is 33 mL/100g/min (Hatazawa 1997), HMPAO's regions over
# cortex are those of the real template (SPM's), and IMP's are less (Isaka; Nakano): the table there holds the numbers.
FLOW: dict[Tracer, dict[str, float]] = {
    Tracer.IMP: {
        "cortex": 64.0,
        "temporal_base": 51.5,
        "medial_posterior": 68.5,
        "insula": 55.0,
        "white_matter": 19.2,
        "cerebellum": 49.0,
        "putamen": 55.5,
        "caudate": 47.5,
        "thalamus": 45.5,
    },
    Tracer.HMPAO: {
        "cortex": 63.5,
        "temporal_base": 51.5,
        "medial_posterior": 68.5,
        "insula": 53.5,
        "white_matter": 20.4,
        "cerebellum": 53.0,
        "putamen": 64.5,
        "caudate": 53.0,
        "thalamus": 50.5,
    },
}
# Conversion over back-diffusion of HMPAO (Lassen 1988: 1.5; Ann Nucl Med 2016;30:445 discusses 0.5); IMP is held.
SATURATION: dict[Tracer, float | None] = {Tracer.IMP: None, Tracer.HMPAO: 1.5}
GLOBAL_SD = 0.135  # Hatazawa 1997, Matthew 1993: 12 to 16 %
REGION_SD = 0.022
FIELD_SD = 0.04  # with REGION_SD and noise: 4.8 % between persons in a region (Van Laere 2001)
FIELD_ASYMMETRY = 0.10
HEMISPHERE_SD = 0.0141  # with the field's odd part and noise: left/right SD 1.5 to 2 % (von Schulthess 1985: below 2 %)
# Reviewed declines of cortical flow are 0.3 to 0.5 % a year (Cerebrovasc Dis 2023;52:11), part of it or all of it lost
# tissue (Meltzer, J Nucl Med 2000;41:1842): thinning shows the rest.
CORTICAL_DECLINE_PER_YEAR = 0.002


def retain(relative_flow: Values, tracer: Tracer) -> Values:
    """Turn flow over healthy flow into what a tracer shows of it: HMPAO flattens defects, IMP does not."""
    ratio = SATURATION[tracer]
    return relative_flow if ratio is None else (1 + ratio) * relative_flow / (ratio + relative_flow)


@dataclass(frozen=True, slots=True, kw_only=True)
class BloodFlow:
    """One person's flow in health."""

    regions: NDArray[np.float64]  # (len(REGIONS),), mL/100g/min before blur
    field: SmoothField  # one channel, relative deviation
    left_excess: float  # relative difference of the hemispheres

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, age_years: float = MEAN_AGE_YEARS, tracer: Tracer = Tracer.IMP
    ) -> "BloodFlow":
        """Draw one person: a global factor, the regions' own, and a smooth field; the same draws for any tracer."""
        # Log-normal: no one has negative flow, and the spread is of the stated size.
        scale = np.exp(rng.normal(-(GLOBAL_SD**2) / 2, GLOBAL_SD))
        reference = np.array([FLOW[tracer][region] for region in REGIONS])
        reference[CORTICAL] *= 1 - CORTICAL_DECLINE_PER_YEAR * (age_years - MEAN_AGE_YEARS)
        return cls(
            regions=scale * reference * np.exp(rng.normal(0, REGION_SD, len(REGIONS))),
            field=SmoothField.draw(rng, sd=FIELD_SD, asymmetry=FIELD_ASYMMETRY),
            left_excess=float(rng.normal(0, HEMISPHERE_SD)),
        )

    def total(self, template: Template) -> float:
        """Flow summed over the brain, mL/100g/min times mL: what a study's counts are shared by."""
        return float(self.regions @ template.volumes_ml())

    def evaluate(self, template: Template, brain: Brain, axes: Axes, mni_mm: Array) -> Array:
        """Flow (p, q, r) on a grid in the person's space that lies at MNI coordinates (3, p, q, r)."""
        low, high = _span(template, mni_mm)
        volume = _lay_flow(self.regions.astype(np.float32), template.fractions[..., low:high], brain.cortical_thinning)
        origin_mm = template.origin_mm + np.array([0, 0, 2 * low], dtype=np.float32)
        flow = sample_volume(volume, origin_mm, mni_mm)
        flow *= 1 + self.field.evaluate(axes)[0]
        flow *= 1 - np.float32(self.left_excess / 2) * np.clip(mni_mm[0] / 5, -1, 1)
        return flow


def _lay_flow(regions: Array, fractions: Array, thinning: float) -> Array:
    """Flow (x, y, z) of the template's voxels; thinning takes cortex where a voxel holds little of it."""
    cortex = np.einsum("rxyz->xyz", fractions[CORTICAL])
    # On the sum, not region by region: thinning knows no borders between parts of one cortex.
    left = np.power(cortex, np.float32(thinning - 1))
    volume: Array = np.einsum("r,rxyz->xyz", regions[CORTICAL], fractions[CORTICAL])
    volume *= left
    volume += np.einsum("r,rxyz->xyz", regions[CORTICAL.stop :], fractions[CORTICAL.stop :])
    return volume


def _span(template: Template, mni_mm: Array) -> tuple[int, int]:
    """First and one past the last axial template plane that coordinates touch."""
    planes = (np.array([mni_mm[2].min(), mni_mm[2].max()]) - template.origin_mm[2]) / 2
    last = template.fractions.shape[3]
    return int(np.clip(np.floor(planes[0]), 0, last - 2)), int(np.clip(np.ceil(planes[1]) + 1, 2, last))
