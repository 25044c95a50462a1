"""Place, extent and depth of defects and regional counts by territory, none of which a generator is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

from cohort.simulator.territories import Territory
from spect.conditions import CONDITIONS, Level, Pattern
from spect.quantify import DEFAULT_THRESHOLD, require_regions
from tests.support.phantom import brain_phantom, one_sided
from tests.support.toy_slices import PIXEL_SPACING_MM, compare, corrupt, honest_comparison, honest_sample
from training.validation.defects import (
    DEPTH,
    EXTENT,
    PLACE,
    compute_place_distance,
    is_unilateral,
    map_normals,
    measure_defects,
)
from training.validation.standard_space import ACROSS, ALONG, COLUMNS, ROWS, to_standard_space
from training.validation.territories import LEVELS, measure_territories, territory_metric, weigh_territories


def standard_of(phantom, spacing=2.0):
    return to_standard_space(phantom.counts, require_regions(0, phantom.counts, spacing, DEFAULT_THRESHOLD))


def by_cell(measurements, metric):
    return {m.cell: m for m in measurements if m.metric == metric}


def lower(share, where):
    """Lower the flow of the poorer hemisphere of diseased slices in part of the field."""

    def change(counts):
        honest = honest_sample()
        diseased = np.array([CONDITIONS[i].pattern is not Pattern.NORMAL for i in honest.condition_index])
        rows, columns = np.indices(counts.shape[1:])
        for row in np.flatnonzero(diseased):
            is_left = honest.measures["log_left_right_ratio"][row] < 0
            side = columns >= 32 if is_left else columns < 32
            counts[row] *= 1 - share * scipy.ndimage.gaussian_filter((side & where(rows)).astype(float), 1)
        return counts

    return corrupt(change)


def everywhere(rows):
    return rows >= 0


def test_pose_and_size_are_gone_in_the_standard_space() -> None:
    upright = standard_of(brain_phantom(matrix=128, seed=1))
    turned = standard_of(brain_phantom(matrix=128, seed=1, angle_deg=6, shift_mm=7))
    smaller = standard_of(brain_phantom(matrix=128, seed=4))
    inside = np.hypot(ACROSS, ALONG) < 0.9
    assert upright.shape == (ROWS, COLUMNS)
    assert np.abs(upright - turned)[inside].max() < 0.08
    assert np.abs(upright - smaller)[inside].max() < 0.08


def test_the_patients_left_stays_on_image_right() -> None:
    standard = standard_of(brain_phantom(matrix=128, defect=one_sided(0.5)))
    assert standard[:, COLUMNS // 2 :].mean() < 0.95 * standard[:, : COLUMNS // 2].mean()


def test_a_perfect_generator_has_the_defects_of_the_reference() -> None:
    measured = measure_defects(honest_comparison())
    diseased = {str(c) for c in CONDITIONS if c.pattern is not Pattern.NORMAL}
    for metric in (PLACE, EXTENT, DEPTH):
        assert set(by_cell(measured, metric)) == diseased
    assert not [m for m in measured if m.verdict == "different"]
    for cell, one in by_cell(measured, PLACE).items():
        assert one.value < one.null + 0.1, cell


def test_deeper_defects_rank_in_order_of_what_was_lost() -> None:
    depths, extents = [], []
    for share in (0.0, 0.05, 0.1, 0.2):
        measured = measure_defects(compare(lower(share, everywhere)))
        depths.append(np.mean([m.value for m in by_cell(measured, DEPTH).values()]))
        extents.append(np.mean([m.value for m in by_cell(measured, EXTENT).values()]))
    assert depths == sorted(depths)
    assert extents == sorted(extents)
    assert depths[-1] > depths[0] + 0.03
    assert all(m.verdict == "different" for m in by_cell(measured, DEPTH).values())


def test_a_generator_without_defects_is_said_to_differ_and_stops_nothing() -> None:
    honest = honest_sample()
    healthy = {c.index: CONDITIONS.index(replace(c, pattern=Pattern.NORMAL)) for c in CONDITIONS}
    source = [
        np.flatnonzero(honest.condition_index == healthy[index])[row % 40]
        for row, index in enumerate(honest.condition_index.tolist())
    ]
    healed = replace(honest.take(np.array(source)), condition_index=honest.condition_index, patient=honest.patient)
    measured = measure_defects(compare(healed))
    assert all(m.verdict == "different" and m.value < 0 for m in by_cell(measured, EXTENT).values())


def test_a_defect_in_another_place_moves_the_map() -> None:
    fair = by_cell(measure_defects(honest_comparison()), PLACE)
    moved = by_cell(measure_defects(compare(lower(0.3, lambda rows: rows < 28))), PLACE)
    for cell in fair:
        assert moved[cell].value > 1.4 * fair[cell].value, cell


def test_distances_of_maps_run_from_0_to_1() -> None:
    one, other = np.zeros((2, ROWS, COLUMNS))
    one[3, 3], other[9, 9] = 0.5, 0.2
    assert compute_place_distance(one, 2 * one) == pytest.approx(0)
    assert compute_place_distance(one, other) == pytest.approx(1)
    assert compute_place_distance(one, 0 * one) == 1
    assert compute_place_distance(0 * one, 0 * one) == 0


def test_unilateral_slices_are_turned_so_that_the_poorer_side_is_on_image_right() -> None:
    comparison = honest_comparison()
    normals = map_normals(comparison.reference)
    unilateral = comparison.synthetic.take(np.flatnonzero(is_unilateral(comparison.synthetic)))
    place = normals.place(unilateral)
    assert place[:, COLUMNS // 2 :].sum() > 5 * place[:, : COLUMNS // 2].sum()


def test_without_normal_slices_defects_are_not_measured_and_it_says_why() -> None:
    comparison = honest_comparison()
    diseased = np.flatnonzero(
        [CONDITIONS[i].pattern is not Pattern.NORMAL for i in comparison.reference.condition_index]
    )
    measured = measure_defects(replace(comparison, reference=comparison.reference.take(diseased)))
    assert [m.value for m in measured] == [None, None, None]
    assert all("normal" in m.note for m in measured)


@pytest.fixture(scope="module")
def weights():
    return {level: weigh_territories(level) for level in LEVELS}


def test_territories_lie_where_the_arteries_feed(weights) -> None:
    for level in LEVELS:
        for territory in Territory:
            of_territory = weights[level].territory[territory]
            assert np.allclose(of_territory, of_territory[:, ::-1], atol=0.15)  # either side alike
        total = sum(weights[level].territory[t] for t in (Territory.ACA, Territory.MCA, Territory.PCA))
        assert np.allclose(total, weights[level].whole, atol=1e-4)
        shares = {name: values / values.sum() for name, values in weights[level].territory.items()}
        along = {name: float((values * ALONG).sum()) for name, values in shares.items()}
        across = {name: float((values * abs(ACROSS)).sum()) for name, values in shares.items()}
        assert along[Territory.ACA] < along[Territory.PCA]  # the ACA's lies in front
        assert across[Territory.MCA] > across[Territory.ACA]


def brighten(share, level, weights):
    """Raise the anterior cerebral artery's territory, in the field as in the standard space."""

    def change(counts):
        honest = honest_sample()
        rows = np.array([CONDITIONS[i].level is level for i in honest.condition_index])
        pattern = weights[level].territory[Territory.ACA]
        half_axes = {Level.BASAL_GANGLIA: (66, 82), Level.CORTEX: (60, 74)}[level]
        axis = (np.arange(64) - 31.5) * PIXEL_SPACING_MM
        y, x = np.meshgrid(axis / half_axes[1], axis / half_axes[0], indexing="ij")
        places = [(y - ALONG[0, 0]) / (ALONG[1, 0] - ALONG[0, 0]), (x - ACROSS[0, 0]) / (ACROSS[0, 1] - ACROSS[0, 0])]
        counts[rows] *= 1 + share * scipy.ndimage.map_coordinates(pattern, places, order=1)
        return counts

    return corrupt(change)


def test_a_territory_raised_by_2_5_and_10_percent_ranks_in_order(weights) -> None:
    metric = territory_metric("share_ratio", Territory.ACA)
    ratios = [
        by_cell(measure_territories(compare(brighten(share, Level.CORTEX, weights))), metric)["COR/normal"].value
        for share in (0.0, 0.02, 0.05, 0.1)
    ]
    assert ratios == sorted(ratios)
    assert ratios[-1] > 1.02 * ratios[0]
    fair = by_cell(measure_territories(honest_comparison()), metric)
    assert all(m.verdict == "equivalent" for m in fair.values())


def test_the_cerebellum_has_no_cerebral_territory() -> None:
    assert {m.cell.split("/")[0] for m in measure_territories(honest_comparison())} == {"BG", "COR"}


def test_territories_that_lose_their_sides_lose_their_spread() -> None:
    metric = territory_metric("asymmetry_sd_ratio", Territory.MCA)
    even = corrupt(lambda counts: (counts + counts[:, :, ::-1]) / 2)
    lost = by_cell(measure_territories(compare(even)), metric)["COR/unilateral"]
    fair = by_cell(measure_territories(honest_comparison()), metric)["COR/unilateral"]
    assert lost.value < 0.5
    assert fair.value > 0.7
    assert lost.verdict == "different"
