"""Focal defects of flow: what one looks like, and how one is drawn."""

from dataclasses import dataclass

import numpy as np

from cohort.simulator.anatomy import Array, Template
from cohort.simulator.territories import Territory, draw_place

# Flow in a core over normal flow: infarct rims, misery perfusion, penumbra (40 to 70 % of contralateral), and mild.
CORE_FACTOR = (0.40, 0.95)
HALF_AXIS_MM = (12.0, 75.0)
MEDIAN_SIZE_MM = 30.0
SIZE_SD = 0.35  # of the logarithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A focal defect: a core of least flow, a rim that fades to normal, an irregular edge."""

    territory: Territory
    center_mm: Array  # (3,), MNI
    half_axes_mm: Array  # (3,), where the rim ends
    turned: float  # rotation about z, radians
    core: float  # share of the radius that the core takes
    factor: float  # flow in the core over normal
    waves: Array  # (4, 4): direction (3) and phase of the ripples of its edge

    def depth(self, mni_mm: Array) -> Array:
        """1 in the core, falling smoothly to 0 at the end of the rim, of the shape of one coordinate."""
        x, y, z = (mni_mm[i] - self.center_mm[i] for i in range(3))
        cosine, sine = np.float32(np.cos(self.turned)), np.float32(np.sin(self.turned))
        a, b, c = self.half_axes_mm
        radius = np.sqrt(((cosine * x + sine * y) / a) ** 2 + ((cosine * y - sine * x) / b) ** 2 + (z / c) ** 2)
        for wave in self.waves:
            radius += np.float32(0.07) * np.sin(wave[0] * x + wave[1] * y + wave[2] * z + wave[3])
        fade = np.clip((1 - radius) / (1 - self.core), 0, 1)
        depth: Array = fade * fade * (3 - 2 * fade)
        return depth

    def lost(self, mni_mm: Array, weights: dict[Territory, Array]) -> Array:
        """Share of flow lost at MNI coordinates with these `territory_weights`, not minding the hemisphere."""
        # A defect fills its territory and stops at its border; the root keeps the territory's middle at full depth.
        share: Array = np.float32(1 - self.factor) * self.depth(mni_mm) * np.sqrt(weights[self.territory])
        return share


def draw_defect(
    territory: Territory, z_mm: float, *, sign: int, depth: float, template: Template, rng: np.random.Generator
) -> Defect:
    """Draw a defect that touches the plane at `z_mm`, on the right for sign 1 and on the left for -1.

    `depth` multiplies what its core loses.
    """
    size = float(np.exp(rng.normal(np.log(MEDIAN_SIZE_MM), SIZE_SD)))
    half_axes = np.clip(size * rng.uniform((0.6, 0.8, 0.7), (1.1, 1.6, 1.2)), *HALF_AXIS_MM)
    place = draw_place(territory, z_mm, template, rng)
    # The centre lies off the plane by less than half the half axis: the plane cuts well into the defect.
    off_plane = np.clip(rng.normal(0, 8), -half_axes[2] / 2, half_axes[2] / 2)
    lost = (1 - rng.uniform(*CORE_FACTOR)) * depth
    frequencies = rng.normal(0, 0.12, (4, 3))
    return Defect(
        territory=territory,
        center_mm=(place * np.array([sign, 1, 1]) + np.array([0, 0, off_plane])).astype(np.float32),
        half_axes_mm=half_axes.astype(np.float32),
        turned=float(rng.uniform(0, np.pi)),
        core=float(rng.uniform(0.1, 0.7)),
        factor=float(np.clip(1 - lost, *CORE_FACTOR)),
        waves=np.column_stack([frequencies, rng.uniform(0, 2 * np.pi, 4)]).astype(np.float32),
    )
