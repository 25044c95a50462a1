"""Blood flow of one person: mL/100g/min by tissue and region, as 123I-IMP shows it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohort.anatomy import CORTICAL, REGIONS, Array, Axes, Brain, SmoothField, Template, sample_volume

# Flow before any blur, mL/100g/min. Grey to white 3.0 : 1 (Auer phantom: 2.5 to 4 : 1). After blur the cortex reads
# some 33 mL/100g/min (Hatazawa 1997); white matter, cerebellum and striatum read less than HMPAO's (Isaka; Nakano).
FLOW = {
    "cortex": 56.0,
    "temporal_base": 45.0,
    "medial_posterior": 64.0,
    "white_matter": 18.5,
    "cerebellum": 46.0,
    "putamen": 50.0,
    "caudate": 47.0,
    "thalamus": 46.0,
}
GLOBAL_SD = 0.14  # Hatazawa 1997, Matthew 1993: 12 to 16 %
REGION_SD = 0.03
FIELD_SD = 0.04  # with REGION_SD: 4.8 % between persons in a region (Van Laere 2001)
FIELD_ASYMMETRY = 0.28
HEMISPHERE_SD = 0.009  # with the field's odd part and noise: left/right SD 1.5 to 2 % (von Schulthess 1985: below 2 %)


@dataclass(frozen=True, slots=True, kw_only=True)
class BloodFlow:
    """One person's flow in health."""

    regions: NDArray[np.float64]  # (len(REGIONS),), mL/100g/min before blur
    field: SmoothField  # one channel, relative deviation
    left_excess: float  # relative difference of the hemispheres

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "BloodFlow":
        """Draw one person: a global factor, the regions' own, and a smooth field."""
        # Log-normal: no one has negative flow, and the spread is of the stated size.
        scale = np.exp(rng.normal(-(GLOBAL_SD**2) / 2, GLOBAL_SD))
        reference = np.array([FLOW[region] for region in REGIONS])
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
        fractions = template.fractions[..., low:high].copy()
        cortex = fractions[CORTICAL]
        np.power(cortex, np.float32(brain.cortical_thinning), out=cortex)
        volume = np.einsum("r,rxyz->xyz", self.regions.astype(np.float32), fractions)
        origin_mm = template.origin_mm + np.array([0, 0, 2 * low], dtype=np.float32)
        flow = sample_volume(volume, origin_mm, mni_mm)
        flow *= 1 + self.field.evaluate(axes)[0]
        flow *= 1 - np.float32(self.left_excess / 2) * np.clip(mni_mm[0] / 5, -1, 1)
        return flow


def _span(template: Template, mni_mm: Array) -> tuple[int, int]:
    """First and one past the last axial template plane that coordinates touch."""
    planes = (np.array([mni_mm[2].min(), mni_mm[2].max()]) - template.origin_mm[2]) / 2
    last = template.fractions.shape[3]
    return int(np.clip(np.floor(planes[0]), 0, last - 2)), int(np.clip(np.ceil(planes[1]) + 1, 2, last))
