import numpy as np
import pytest

from cohort.anatomy import NUCLEI, REGIONS, Brain, SmoothField, load_template, sample_volume


def sample(region: str, *place: float) -> float:
    template = load_template()
    volume = template.fractions[REGIONS.index(region)]
    return float(sample_volume(volume, template.origin_mm, np.array(place, dtype=np.float32).reshape(3, 1))[0])


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("region", "center"), [(region, center) for region, center, _, _ in NUCLEI])
def test_every_nucleus_is_grey_at_its_centre_on_both_sides(
    region: str, center: tuple[float, float, float], side: int
) -> None:
    assert sample(region, side * center[0], *center[1:]) > 0.6


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ("cerebellum", (30, -65, -40)),
        ("temporal_base", (30, 18, -36)),
        ("medial_posterior", (6, -80, 6)),
        ("white_matter", (26, -20, 42)),
    ],
)
def test_regions_lie_where_anatomy_puts_them(region: str, place: tuple[float, ...]) -> None:
    inside = {name: sample(name, *place) for name in REGIONS}
    assert max(inside, key=lambda name: inside[name]) == region


def test_fractions_are_shares_of_a_voxel_and_mirror_each_other() -> None:
    fractions = load_template().fractions
    assert fractions.min() >= 0
    assert fractions.sum(axis=0).max() <= 1.01
    np.testing.assert_allclose(fractions, fractions[:, ::-1], atol=1e-4)


def test_a_smooth_field_has_the_spread_asked_for_and_its_symmetry() -> None:
    axes = (np.linspace(-60, 60, 7, dtype=np.float32),) * 3
    fields = [SmoothField.draw(np.random.default_rng(seed), sd=2.0, asymmetry=0.0) for seed in range(200)]
    values = np.array([field.evaluate(axes)[0] for field in fields])
    assert values.std() == pytest.approx(2.0, rel=0.15)
    np.testing.assert_allclose(values, values[:, ::-1], atol=1e-4)


def test_a_symmetric_warp_keeps_the_midline_straight() -> None:
    field = SmoothField.draw(np.random.default_rng(0), sd=2.0, asymmetry=0.0, mirror_signs=(-1, 1, 1))
    middle = (np.zeros(1, dtype=np.float32), np.linspace(-90, 50, 9, dtype=np.float32), np.zeros(1, dtype=np.float32))
    np.testing.assert_allclose(field.evaluate(middle)[0], 0, atol=1e-5)


def test_brains_differ_by_millimetres_and_stay_brains() -> None:
    axes = tuple(np.linspace(-50, 50, 6, dtype=np.float32) for _ in range(3))
    places = np.array(
        [Brain.draw(np.random.default_rng(seed)).locate((axes[0], axes[1], axes[2])) for seed in range(30)]
    )
    spread = places.std(axis=0)
    assert 2 < spread.mean() < 6
    # Without folding: neighbours 20 mm apart keep their order.
    assert (np.diff(places[:, 0], axis=1) > 0).all()
    assert (np.diff(places[:, 2], axis=3) > 0).all()
