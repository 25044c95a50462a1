"""What vascular disease does to blood flow: territories, focal defects, chronic occlusion, crossed diaschisis.

Coordinates are MNI millimetres; x is negative on the patient's left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cohort.anatomy import Array, soft_step
from spect.conditions import Level, Pattern


class Side(StrEnum):
    """Side of the disease."""

    NONE = "none"
    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class Territory(StrEnum):
    """Arterial territory of a defect."""

    MCA = "MCA"
    ACA = "ACA"
    PCA = "PCA"
    BORDER_ZONE = "border zone"


# Points an artery feeds, per territory, for one hemisphere (|x|, y, z); a place belongs to the artery that feeds the
# nearest point. Own parametric territories, after the usual maps: ACA a medial strip from the frontal pole to behind
# the central sulcus, PCA the occipital lobe, medial temporal lobe and thalamus, MCA all else.
FEEDING_POINTS_MM: dict[Territory, tuple[tuple[float, float, float], ...]] = {
    Territory.ACA: ((8, 55, 5), (8, 45, 30), (9, 20, 50), (9, -5, 55), (9, -28, 55), (8, 30, -10), (6, 5, 28)),
    Territory.MCA: (
        (40, 35, 8), (48, 10, 8), (52, -15, 12), (50, -40, 15), (42, -60, 25), (40, 15, 42), (42, -15, 48),
        (42, -42, 46), (50, -10, -18), (26, 2, 4), (30, 30, 28), (35, -62, 38), (24, -8, 28),
    ),
    Territory.PCA: (
        (10, -85, 5), (10, -65, 8), (22, -80, -5), (28, -55, -10), (24, -30, -12), (10, -18, 6), (12, -68, 30),
    ),
}  # fmt: skip
TERRITORY_EDGE_MM = 5.0
CUT_Z_MM = {Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 42.0}
# Where focal defects begin: (|x|, y) of centres by territory at each supratentorial level, mm.
CENTERS_MM: dict[Territory, dict[Level, tuple[tuple[float, float], ...]]] = {
    Territory.MCA: {
        Level.BASAL_GANGLIA: ((48, 22), (54, -5), (54, -30), (48, -52), (32, 5), (40, 40)),
        Level.CORTEX: ((42, 22), (46, -2), (46, -25), (44, -48), (30, -10)),
    },
    Territory.ACA: {
        Level.BASAL_GANGLIA: ((10, 52), (12, 38)),
        Level.CORTEX: ((10, 35), (10, 12), (11, -12)),
    },
    Territory.PCA: {
        Level.BASAL_GANGLIA: ((12, -80), (16, -62), (28, -78)),
        Level.CORTEX: ((12, -68), (16, -74)),
    },
    Territory.BORDER_ZONE: {
        Level.BASAL_GANGLIA: ((26, 50), (38, -72)),
        Level.CORTEX: ((26, 30), (27, 5), (28, -28), (30, -62)),
    },
}
LEAST_FACTOR = 0.30  # several defects in one place never read as no flow
TEMPORAL_BASE_SPARED = 0.6
DIASCHISIS_REACH_MM = 4.0  # the vermis shades from one cerebellar hemisphere to the other


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HemisphereDisease:
    """The disease of one hemisphere."""

    side: Side  # left or right
    reduction: dict[Territory, float]  # chronic occlusion: share of flow lost all over each territory
    defects: tuple[Defect, ...]

    def factor(self, mni_mm: Array) -> Array:
        """Flow over normal flow at MNI coordinates (3, ...)."""
        sign = -1 if self.side is Side.LEFT else 1
        inside = soft_step(sign * mni_mm[0] / 2)
        weights = territory_weights(mni_mm)
        # The temporal base has three arteries, and loses less when one closes.
        spared = 1 - TEMPORAL_BASE_SPARED * soft_step((-22 - mni_mm[2]) / 4)
        lost = sum((np.float32(share) * weights[territory] for territory, share in self.reduction.items()), 0.0)
        factor = 1 - inside * spared * lost
        for defect in self.defects:
            factor *= 1 - np.float32(1 - defect.factor) * inside * defect.depth(mni_mm) * _reach(weights, defect)
        return np.maximum(factor, LEAST_FACTOR).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disease:
    """A patient's disease state; none for a normal patient."""

    hemispheres: tuple[HemisphereDisease, ...] = ()
    diaschisis: float = 0.0  # share of flow lost in the cerebellar hemisphere opposite the lesion

    @property
    def side(self) -> Side:
        """Where the cerebral disease is."""
        if len(self.hemispheres) == 2:
            return Side.BOTH
        return self.hemispheres[0].side if self.hemispheres else Side.NONE

    @property
    def territories(self) -> str:
        """Territories with disease, joined by +; empty for none."""
        found = {territory for one in self.hemispheres for territory in one.reduction}
        found |= {defect.territory for one in self.hemispheres for defect in one.defects}
        return "+".join(sorted(found))

    def factor(self, mni_mm: Array) -> Array:
        """Flow over normal flow at MNI coordinates (3, ...): cerebrum and cerebellum."""
        factor = np.ones(mni_mm.shape[1:], dtype=np.float32)
        posterior_fossa = soft_step((-18 - mni_mm[2]) / 3) * soft_step((-30 - mni_mm[1]) / 3)
        for one in self.hemispheres:
            factor *= 1 - (1 - one.factor(mni_mm)) * (1 - posterior_fossa)
        if self.diaschisis:
            away = 1 if self.side is Side.LEFT else -1
            opposite = soft_step(away * mni_mm[0] / DIASCHISIS_REACH_MM)
            factor *= 1 - np.float32(self.diaschisis) * opposite * posterior_fossa
        return factor.astype(np.float32, copy=False)


def territory_weights(mni_mm: Array) -> dict[Territory, Array]:
    """Membership 0 to 1 of ACA, MCA and PCA, with soft borders; the border zone is high where two meet."""
    x, y, z = np.abs(mni_mm[0]), mni_mm[1], mni_mm[2]
    nearest = {
        territory: np.sqrt(
            np.minimum.reduce(
                [(x - np.float32(a)) ** 2 + (y - np.float32(b)) ** 2 + (z - np.float32(c)) ** 2 for a, b, c in points]
            )
        )
        for territory, points in FEEDING_POINTS_MM.items()
    }
    closest = np.minimum.reduce(list(nearest.values()))
    raw = {territory: np.exp((closest - distance) / TERRITORY_EDGE_MM) for territory, distance in nearest.items()}
    total = sum(raw.values())
    weights: dict[Territory, Array] = {territory: values / total for territory, values in raw.items()}
    squares = sum(values**2 for values in weights.values())
    weights[Territory.BORDER_ZONE] = np.clip(2 * (1 - squares), 0, 1)
    return weights


def _reach(weights: dict[Territory, Array], defect: Defect) -> Array:
    # A defect fills its territory and stops at its border; the root keeps the middle of the territory at full depth.
    return np.sqrt(weights[defect.territory])


def draw_disease(pattern: Pattern, levels: Sequence[Level], rng: np.random.Generator) -> Disease:
    """Draw the disease of a patient whose `levels` all show `pattern`.

    A unilateral cerebellar slice is read as crossed diaschisis: an inference, since no bilateral one exists.
    """
    if pattern is Pattern.NORMAL:
        return Disease()
    cuts = [level for level in levels if level in CUT_Z_MM]
    if pattern is Pattern.BILATERAL:
        # Both carotids, or both border zones: alike in kind and depth, unlike in place.
        shared = _draw_occlusion(rng)
        sides = tuple(_draw_hemisphere(side, cuts, shared, rng) for side in (Side.LEFT, Side.RIGHT))
        return Disease(hemispheres=sides)
    side = Side.LEFT if rng.random() < 0.5 else Side.RIGHT
    crossed = _draw_diaschisis(rng) if Level.CEREBELLUM in levels else 0.0
    return Disease(hemispheres=(_draw_hemisphere(side, cuts, _draw_occlusion(rng), rng),), diaschisis=crossed)


def _draw_diaschisis(rng: np.random.Generator) -> float:
    """Miyazawa 2001, Wang 2020: 10 to 25 % lost, 17 % in the mean."""
    return float(0.10 + 0.15 * rng.beta(2.0, 2.3))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Occlusion:
    """What an artery's disease does in its hemisphere: the loss all over a territory, and where defects lie."""

    reduction: dict[Territory, float]
    territory: Territory
    depth: float  # multiplies what defects lose


def _draw_occlusion(rng: np.random.Generator) -> _Occlusion:
    reduction: dict[Territory, float] = {}
    if rng.random() < 0.75:  # chronic occlusion of the carotid or the middle cerebral artery
        share = float(np.clip(rng.normal(0.17, 0.06), 0.04, 0.35))
        reduction[Territory.MCA] = share
        if rng.random() < 0.5:
            reduction[Territory.ACA] = share * float(rng.uniform(0.4, 1.0))
    territory = Territory(rng.choice(list(Territory), p=(0.62, 0.12, 0.12, 0.14)))
    return _Occlusion(reduction=reduction, territory=territory, depth=float(rng.uniform(0.75, 1.15)))


def _draw_hemisphere(
    side: Side, cuts: Sequence[Level], occlusion: _Occlusion, rng: np.random.Generator
) -> HemisphereDisease:
    own = rng.uniform(0.8, 1.2)
    defects = [_draw_defect(side, occlusion.territory, level, occlusion.depth, rng) for level in cuts]
    if rng.random() < 0.35:
        extra = Territory(rng.choice(list(Territory), p=(0.4, 0.2, 0.2, 0.2)))
        defects.append(_draw_defect(side, extra, cuts[int(rng.integers(len(cuts)))], occlusion.depth, rng))
    reduction = {territory: float(share * own) for territory, share in occlusion.reduction.items()}
    return HemisphereDisease(side=side, reduction=reduction, defects=tuple(defects))


def _draw_defect(side: Side, territory: Territory, level: Level, depth: float, rng: np.random.Generator) -> Defect:
    places = CENTERS_MM[territory][level]
    x, y = np.array(places[int(rng.integers(len(places)))]) + rng.normal(0, 6, 2)
    center = np.array([max(x, 5) * (-1 if side is Side.LEFT else 1), y, CUT_Z_MM[level] + rng.normal(0, 8)])
    size = float(np.exp(rng.normal(np.log(30), 0.35)))
    lost = float(np.clip((1 - rng.uniform(0.40, 0.90)) * depth, 0.05, 0.60))
    frequencies = rng.normal(0, 0.12, (4, 3))
    return Defect(
        territory=territory,
        center_mm=center.astype(np.float32),
        half_axes_mm=np.clip(size * rng.uniform((0.6, 0.8, 0.7), (1.1, 1.6, 1.2)), 12, 75).astype(np.float32),
        turned=float(rng.uniform(0, np.pi)),
        core=float(rng.uniform(0.1, 0.7)),
        factor=1 - lost,
        waves=np.column_stack([frequencies, rng.uniform(0, 2 * np.pi, 4)]).astype(np.float32),
    )
