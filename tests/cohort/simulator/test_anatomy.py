import numpy as np
import pytest

from cohort.simulator.anatomy import AGE_RANGE_YEARS, Brain, load_template, sample_volume
from cohort.simulator.nuclei import REGIONS


def sample(region: str, *place: float) -> float:
    template = load_template()
    volume = template.fractions[REGIONS.index(region)]
    return float(sample_volume(volume, template.origin_mm, np.array(place, dtype=np.float32).reshape(3, 1))[0])


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


def test_age_widens_ventricles_and_thins_cortex_together() -> None:
    brains = [Brain.draw(np.random.default_rng(seed)) for seed in range(400)]
    age, widening, thinning = np.array(
        [(one.age_years, one.ventricle_widening, one.cortical_thinning) for one in brains]
    ).T
    assert age.mean() == pytest.approx(65, abs=2)
    assert age.min() >= AGE_RANGE_YEARS[0]
    assert age.max() <= AGE_RANGE_YEARS[1]
    assert np.corrcoef(age, widening)[0, 1] > 0.7
    assert np.corrcoef(age, thinning)[0, 1] > 0.7
    assert np.corrcoef(widening, thinning)[0, 1] < 0.8  # people of one age still differ
    assert thinning.min() >= 1
