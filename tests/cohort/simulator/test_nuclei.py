import numpy as np
import pytest

from cohort.simulator.anatomy import TEMPLATE_SPACING_MM, load_template, sample_volume
from cohort.simulator.nuclei import DEEP_NUCLEI, NUCLEI, REGIONS

# Middle of a nucleus of the right side in MNI space, mm.
MIDDLES_MM = {"putamen": (27, 1, 1), "caudate": (13, 10, 9), "thalamus": (11, -18, 8)}
# ml a side, MR volumetry of adults.
VOLUMES_ML = {"putamen": (4.0, 5.0), "caudate": (3.5, 4.5), "thalamus": (6.0, 8.0)}


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("region", "center"), [(region, center) for region, center, _, _ in NUCLEI])
def test_every_nucleus_is_grey_at_its_centre_on_both_sides(
    region: str, center: tuple[float, float, float], side: int
) -> None:
    template = load_template()
    place = np.array([side * center[0], *center[1:]], dtype=np.float32).reshape(3, 1)
    assert sample_volume(template.fractions[REGIONS.index(region)], template.origin_mm, place)[0] > 0.6


@pytest.mark.parametrize("region", DEEP_NUCLEI)
def test_nuclei_have_the_volumes_of_anatomy(region: str) -> None:
    least, most = VOLUMES_ML[region]
    assert least < load_template().volumes_ml()[REGIONS.index(region)] / 2 < most


@pytest.mark.parametrize("region", DEEP_NUCLEI)
def test_nuclei_lie_where_mni_space_has_them(region: str) -> None:
    template = load_template()
    fraction = template.fractions[REGIONS.index(region)].copy()
    fraction[: fraction.shape[0] // 2] = 0  # the left
    i = np.indices(fraction.shape).reshape(3, -1)
    middle = i @ fraction.ravel() / fraction.sum() * TEMPLATE_SPACING_MM + template.origin_mm
    np.testing.assert_allclose(middle, MIDDLES_MM[region], atol=3)


def test_the_cerebellum_has_the_volume_of_anatomy() -> None:
    grey_and_white_ml = load_template().volumes_ml()[REGIONS.index("cerebellum")] / 0.85  # some 15 % of it is white
    assert 110 < grey_and_white_ml < 200
