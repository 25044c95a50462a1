import numpy as np
import pytest

from cohort.simulator.anatomy import load_template
from cohort.simulator.territories import Territory, cerebral_tissue, draw_place, territory_weights

ARTERIES = (Territory.ACA, Territory.MCA, Territory.PCA)


@pytest.mark.parametrize(
    ("place", "territory"),
    [
        ((50, -10, 10), Territory.MCA),
        ((-50, -10, 10), Territory.MCA),
        ((8, 45, 20), Territory.ACA),
        ((-10, -85, 5), Territory.PCA),
        ((12, -18, 6), Territory.PCA),
        ((-26, 2, 2), Territory.MCA),
        ((38, 12, -34), Territory.MCA),
    ],
)
def test_a_place_belongs_to_the_artery_that_feeds_it(place: tuple[float, ...], territory: Territory) -> None:
    weights = territory_weights(np.array(place, dtype=np.float32).reshape(3, 1))
    assert weights[territory][0] > 0.6
    assert sum(weights[one][0] for one in ARTERIES) == pytest.approx(1, abs=1e-5)


def test_the_border_zone_is_where_two_territories_meet() -> None:
    weights = territory_weights(np.array([[28, 50], [45, -10], [20, 10]], dtype=np.float32))
    assert weights[Territory.BORDER_ZONE][0] > 2 * weights[Territory.BORDER_ZONE][1]


def test_territories_mirror_each_other() -> None:
    places = np.random.default_rng(0).uniform(-70, 70, (3, 500)).astype(np.float32)
    mirrored = places * np.array([[-1], [1], [1]], dtype=np.float32)
    for territory, weights in territory_weights(places).items():
        np.testing.assert_array_equal(weights, territory_weights(mirrored)[territory])


@pytest.mark.parametrize("z_mm", [6.0, 42.0])
def test_the_middle_cerebral_artery_feeds_the_largest_part_of_a_hemisphere(z_mm: float) -> None:
    x, y = np.meshgrid(np.arange(2, 72, 2), np.arange(-104, 74, 2), indexing="ij")
    plane = np.stack([x, y, np.full_like(x, z_mm)]).astype(np.float32).reshape(3, -1)
    tissue = cerebral_tissue(load_template(), plane)
    weights = territory_weights(plane)
    share = {one: float((weights[one] * tissue).sum() / tissue.sum()) for one in ARTERIES}
    assert 0.45 < share[Territory.MCA] < 0.75
    assert min(share[Territory.ACA], share[Territory.PCA]) > 0.08


@pytest.mark.parametrize("territory", list(Territory))
@pytest.mark.parametrize("z_mm", [6.0, 42.0])
def test_places_drawn_lie_in_tissue_of_the_territory_and_never_twice(territory: Territory, z_mm: float) -> None:
    template = load_template()
    rng = np.random.default_rng(1)
    places = np.stack([draw_place(territory, z_mm, template, rng) for _ in range(150)], axis=1)
    assert len({place.tobytes() for place in places.T}) == 150
    assert cerebral_tissue(template, places).min() > 0
    assert territory_weights(places)[territory].mean() > 0.6
    assert places[:2].std(axis=1).max() > 8  # all over the territory
    assert (places[0] > 0).all()
