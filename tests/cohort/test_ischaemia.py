import numpy as np
import pytest

from cohort.anatomy import Array
from cohort.ischaemia import Disease, Side, Territory, draw_disease, territory_weights
from spect.conditions import Level, Pattern

ALL_LEVELS = (Level.CEREBELLUM, Level.BASAL_GANGLIA, Level.CORTEX)
CEREBRAL_LEVELS = (Level.BASAL_GANGLIA, Level.CORTEX)


def make_plane(z_mm: float) -> Array:
    x, y = np.meshgrid(np.arange(-64, 65, 4), np.arange(-96, 65, 4), indexing="ij")
    return np.stack([x, y, np.full_like(x, z_mm)]).astype(np.float32)


def draw(pattern: Pattern, levels: tuple[Level, ...], seed: int) -> Disease:
    return draw_disease(pattern, levels, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("place", "territory"),
    [
        ((50, -10, 10), Territory.MCA),
        ((-50, -10, 10), Territory.MCA),
        ((8, 45, 20), Territory.ACA),
        ((-10, -85, 5), Territory.PCA),
        ((12, -18, 6), Territory.PCA),
        ((-26, 2, 2), Territory.MCA),
    ],
)
def test_a_place_belongs_to_the_artery_that_feeds_it(place: tuple[float, ...], territory: Territory) -> None:
    weights = territory_weights(np.array(place, dtype=np.float32).reshape(3, 1))
    assert weights[territory][0] > 0.6
    assert sum(weights[one][0] for one in (Territory.ACA, Territory.MCA, Territory.PCA)) == pytest.approx(1, abs=1e-5)


def test_the_border_zone_is_where_two_territories_meet() -> None:
    weights = territory_weights(np.array([[28, 50], [45, -10], [20, 10]], dtype=np.float32))
    assert weights[Territory.BORDER_ZONE][0] > 2 * weights[Territory.BORDER_ZONE][1]


def test_health_leaves_flow_alone() -> None:
    disease = draw(Pattern.NORMAL, ALL_LEVELS, 0)
    assert disease.side is Side.NONE
    assert (disease.factor(make_plane(6)) == 1).all()


def test_unilateral_disease_spares_the_other_hemisphere_and_takes_either_side() -> None:
    sides = []
    for seed in range(40):
        disease = draw(Pattern.UNILATERAL, CEREBRAL_LEVELS, seed)
        sides.append(disease.side)
        for z_mm in (6, 42):
            plane = make_plane(z_mm)
            factor = disease.factor(plane)
            sick = plane[0] < -8 if disease.side is Side.LEFT else plane[0] > 8
            healthy = plane[0] > 8 if disease.side is Side.LEFT else plane[0] < -8
            assert factor[healthy].min() > 0.97
            assert factor[sick].min() < 0.97
    assert 8 <= sides.count(Side.LEFT) <= 32


def test_defects_differ_in_place_size_and_depth() -> None:
    plane = make_plane(6)
    factors = np.array([draw(Pattern.UNILATERAL, CEREBRAL_LEVELS, seed).factor(plane) for seed in range(60)])
    depth, size = factors.min(axis=(1, 2)), (factors < 0.9).mean(axis=(1, 2))
    assert depth.min() >= 0.29
    assert depth.std() > 0.08
    assert size.std() > 0.05
    deepest = factors.reshape(60, -1).argmin(axis=1)
    assert len(set(deepest.tolist())) > 40


def test_bilateral_disease_lowers_both_hemispheres() -> None:
    plane = make_plane(42)
    for seed in range(20):
        disease = draw(Pattern.BILATERAL, CEREBRAL_LEVELS, seed)
        factor = disease.factor(plane)
        assert disease.side is Side.BOTH
        assert factor[plane[0] < -8].min() < 0.97
        assert factor[plane[0] > 8].min() < 0.97


def test_crossed_diaschisis_lowers_the_opposite_cerebellum_by_10_to_25_percent() -> None:
    plane = make_plane(-36)
    cerebellum = (plane[1] < -45) & (np.abs(plane[0]) > 16)
    lost = []
    for seed in range(100):
        disease = draw(Pattern.UNILATERAL, ALL_LEVELS, seed)
        opposite = plane[0] > 0 if disease.side is Side.LEFT else plane[0] < 0
        factor = disease.factor(plane)
        lost.append(1 - factor[cerebellum & opposite].mean())
        assert factor[cerebellum & ~opposite].min() > 0.97
    assert min(lost) > 0.09
    assert max(lost) < 0.26
    assert np.mean(lost) == pytest.approx(0.17, abs=0.01)


def test_without_a_cerebellar_slice_no_diaschisis_is_drawn() -> None:
    assert draw(Pattern.UNILATERAL, CEREBRAL_LEVELS, 0).diaschisis == 0
