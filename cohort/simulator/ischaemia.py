"""What vascular disease does to blood flow: chronic occlusion, focal defects, crossed cerebellar diaschisis.

Coordinates are MNI millimetres; x is negative on the patient's left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cohort.simulator.anatomy import REGIONS, TEMPLATE_SPACING_MM, Array, Template, soft_step
from cohort.simulator.defects import Defect, draw_defect
from cohort.simulator.territories import Territory, territory_weights
from spect.conditions import Level, Pattern


class Side(StrEnum):
    """Side of the disease."""

    NONE = "none"
    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"

    @property
    def sign(self) -> int:
        """Sign of x on this side; 0 where it is not one side."""
        return {Side.LEFT: -1, Side.RIGHT: 1}.get(self, 0)


CUT_Z_MM = {Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 42.0}
LEAST_FACTOR = 0.40  # several losses in one place never read lower than the deepest territory factor
TEMPORAL_BASE_SPARED = 0.8  # more would balance crossed diaschisis in the left/right ratio of a cerebellar slice
DIASCHISIS_REACH_MM = 4.0  # the vermis shades from one cerebellar hemisphere to the other
# A slice labelled diseased shows it: the least share of a hemisphere's flow lost in the level's plane, 2 SD of normal
# left/right differences.
LEAST_LOSS = 0.04
OCCLUSION_SHARE = 0.75  # of patients with chronic occlusion of the carotid or the middle cerebral artery
OCCLUSION_LOSS = (0.15, 0.06)  # mean and SD in its territory: hemispheres read 0.876 of the other (Miyazawa 2001)
TERRITORY_SHARE = {Territory.MCA: 0.62, Territory.ACA: 0.12, Territory.PCA: 0.12, Territory.BORDER_ZONE: 0.14}
EXTRA_DEFECT_SHARE = 0.35
# For losses in a plane: grey to white 3 : 1, and no cerebellum.
_WEIGHT = {"white_matter": 1 / 3, "cerebellum": 0.0}
_RELATIVE_FLOW = np.array([_WEIGHT.get(region, 1.0) for region in REGIONS], dtype=np.float32)


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
            factor *= 1 - inside * spared * defect.lost(mni_mm, weights)
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


def draw_disease(pattern: Pattern, levels: Sequence[Level], rng: np.random.Generator, template: Template) -> Disease:
    """Draw the disease of a patient whose `levels` all show `pattern`.

    Every supratentorial level of theirs loses at least `LEAST_LOSS` of a diseased hemisphere's flow in its plane.
    A unilateral cerebellar slice is read as crossed diaschisis, an inference, since no bilateral one exists: so the
    unilateral patients with a cerebellar slice are those with crossed diaschisis, and no others have it. In the
    paper's cohort they are 66 of 116, 57 % (Miyazawa 2001, Wang 2020: 33 to 60 %).
    """
    if pattern is Pattern.NORMAL:
        return Disease()
    planes = [_TemplatePlane.cut(template, CUT_Z_MM[level]) for level in levels if level in CUT_Z_MM]
    if pattern is Pattern.BILATERAL:
        # Both carotids, or both border zones: alike in kind and depth, unlike in place.
        return Disease(hemispheres=_draw_visible((Side.LEFT, Side.RIGHT), planes, template, rng))
    side = Side.LEFT if rng.random() < 0.5 else Side.RIGHT
    crossed = _draw_diaschisis(rng) if Level.CEREBELLUM in levels else 0.0
    return Disease(hemispheres=_draw_visible((side,), planes, template, rng), diaschisis=crossed)


def _draw_diaschisis(rng: np.random.Generator) -> float:
    """Miyazawa 2001, Wang 2020: 10 to 25 % lost, 17 % in the mean."""
    return float(0.10 + 0.15 * rng.beta(2.0, 2.3))


@dataclass(frozen=True, slots=True, kw_only=True)
class _TemplatePlane:
    """Cerebral tissue in one axial plane of the template, every 4 mm."""

    z_mm: float
    mni_mm: Array  # (3, n)
    flow: Array  # (n,), relative flow in health

    @classmethod
    def cut(cls, template: Template, z_mm: float) -> "_TemplatePlane":
        plane = round((z_mm - float(template.origin_mm[2])) / TEMPLATE_SPACING_MM)
        flow = np.einsum("r,rxy->xy", _RELATIVE_FLOW, template.fractions[:, ::2, ::2, plane])
        i, j = np.nonzero(flow > 0.1)
        x, y = (template.origin_mm[axis] + 2 * TEMPLATE_SPACING_MM * index for axis, index in ((0, i), (1, j)))
        places = np.stack([x, y, np.full(len(i), z_mm)]).astype(np.float32)
        return cls(z_mm=z_mm, mni_mm=places, flow=flow[i, j])

    def lost(self, disease: HemisphereDisease) -> float:
        """Share of the diseased hemisphere's flow lost in the plane."""
        healthy = self.flow * (self.mni_mm[0] * disease.side.sign > 0)
        return float(1 - (healthy * disease.factor(self.mni_mm)).sum() / healthy.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Occlusion:
    """What an artery's disease does in its hemisphere: the loss all over a territory, and where defects lie."""

    reduction: Mapping[Territory, float]
    territory: Territory
    depth: float  # multiplies what defects lose


def _draw_visible(
    sides: Sequence[Side], planes: Sequence[_TemplatePlane], template: Template, rng: np.random.Generator
) -> tuple[HemisphereDisease, ...]:
    """Draw again until every side shows its disease in every plane."""
    while True:
        occlusion = _draw_occlusion(rng)
        drawn = tuple(_draw_hemisphere(side, planes, occlusion, template, rng) for side in sides)
        if all(plane.lost(one) >= LEAST_LOSS for one in drawn for plane in planes):
            return drawn


def _draw_occlusion(rng: np.random.Generator) -> _Occlusion:
    reduction: dict[Territory, float] = {}
    if rng.random() < OCCLUSION_SHARE:
        share = float(np.clip(rng.normal(*OCCLUSION_LOSS), 0.04, 0.35))
        reduction[Territory.MCA] = share
        if rng.random() < 0.5:
            reduction[Territory.ACA] = share * float(rng.uniform(0.4, 1.0))
    territory = _draw_territory(list(TERRITORY_SHARE.values()), rng)
    return _Occlusion(reduction=reduction, territory=territory, depth=float(rng.uniform(0.75, 1.15)))


def _draw_territory(shares: Sequence[float], rng: np.random.Generator) -> Territory:
    return list(TERRITORY_SHARE)[int(rng.choice(len(TERRITORY_SHARE), p=shares))]


def _draw_hemisphere(
    side: Side, planes: Sequence[_TemplatePlane], occlusion: _Occlusion, template: Template, rng: np.random.Generator
) -> HemisphereDisease:
    own = rng.uniform(0.8, 1.2)
    where = [(occlusion.territory, plane) for plane in planes]
    if rng.random() < EXTRA_DEFECT_SHARE:
        where.append((_draw_territory((0.4, 0.2, 0.2, 0.2), rng), planes[int(rng.integers(len(planes)))]))
    defects = [
        draw_defect(territory, plane.z_mm, sign=side.sign, depth=occlusion.depth, template=template, rng=rng)
        for territory, plane in where
    ]
    reduction = {territory: float(share * own) for territory, share in occlusion.reduction.items()}
    return HemisphereDisease(side=side, reduction=reduction, defects=tuple(defects))
