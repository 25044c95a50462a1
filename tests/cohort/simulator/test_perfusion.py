import numpy as np
import pytest

from cohort.simulator.anatomy import CORTICAL, REGIONS, Axes, Brain, load_template, sample_volume
from cohort.simulator.perfusion import FLOW, BloodFlow, Tracer, retain

PEOPLE = 400
VOLUME_SIDE_MM = 24.0  # of a region of interest as a reader lays it
# Regions of interest in MNI mm and the region they read.
PLACES: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("cortex", (40, 30, 20)), ("cortex", (45, -45, 35)), ("cortex", (-45, 0, 40)), ("cortex", (-50, -30, 10)),
    ("temporal_base", (45, -10, -25)), ("medial_posterior", (6, -80, 6)), ("cerebellum", (30, -65, -36)),
    ("thalamus", (11, -18, 8)), ("putamen", (-27, 1, 1)),
)  # fmt: skip


def around(place: tuple[float, float, float]) -> Axes:
    x, y, z = (np.linspace(-VOLUME_SIDE_MM / 2, VOLUME_SIDE_MM / 2, 4, dtype=np.float32) + middle for middle in place)
    return x, y, z


def draw_people(tracer: Tracer = Tracer.IMP) -> list[BloodFlow]:
    return [BloodFlow.draw(np.random.default_rng(seed), tracer=tracer) for seed in range(PEOPLE)]


def test_global_uptake_differs_by_12_to_16_percent_between_people() -> None:
    template = load_template()
    brains = [Brain.draw(np.random.default_rng([seed, 1])) for seed in range(PEOPLE)]
    totals = np.array(
        [
            BloodFlow.draw(np.random.default_rng([seed, 2]), age_years=one.age_years).total(template)
            for seed, one in enumerate(brains)
        ]
    )
    assert 0.12 < totals.std() / totals.mean() < 0.16


def test_regions_differ_by_some_5_percent_between_people_of_one_global_flow() -> None:
    template = load_template()
    healthy = np.array([FLOW[Tracer.IMP][region] for region in REGIONS])
    relative = []
    for flow in draw_people():
        region = dict(zip(REGIONS, flow.regions / healthy, strict=True))
        whole = flow.total(template) / (healthy @ template.volumes_ml())
        relative.append(
            [region[name] / whole * (1 + flow.field.evaluate(around(place))[0].mean()) for name, place in PLACES]
        )
    # Van Laere 2001: 4.8 % in the mean over regions.
    assert np.std(relative, axis=0).mean() == pytest.approx(0.048, abs=0.005)


def test_healthy_hemispheres_differ_by_less_than_2_percent() -> None:
    axes: Axes = tuple(np.linspace(low, high, 9, dtype=np.float32) for low, high in ((-60, 60), (-90, 60), (0, 12)))  # type: ignore[assignment]
    logs = []
    for flow in draw_people():
        shading = (1 + flow.field.evaluate(axes)[0]) * (1 - flow.left_excess / 2 * np.sign(axes[0]))[:, None, None]
        logs.append(np.log(shading[:4].sum() / shading[5:].sum()))
    assert 0.012 < np.std(logs) < 0.02
    assert abs(np.mean(logs)) < 0.003


def test_cortical_flow_falls_mildly_with_age() -> None:
    young, old = (BloodFlow.draw(np.random.default_rng(3), age_years=age).regions for age in (45.0, 85.0))
    ratio = old / young
    # 0.2 % a year; thinning shows the rest of what the literature reports.
    np.testing.assert_allclose(ratio[CORTICAL], 1 - 0.08 / 1.04, atol=1e-6)
    np.testing.assert_array_equal(ratio[CORTICAL.stop :], 1)


def test_a_thinner_cortex_shows_less_flow_and_leaves_white_matter_alone() -> None:
    template = load_template()
    axes = (np.arange(-60, 61, 4, dtype=np.float32), np.arange(-96, 60, 4, dtype=np.float32), np.float32([38.0]))
    brain = Brain.draw(np.random.default_rng(0))
    flow = BloodFlow.draw(np.random.default_rng(0))
    thick, thin = (_with_thinning(brain, exponent) for exponent in (1.0, 1.7))
    located = brain.locate(axes)
    full, thinned = (flow.evaluate(template, one, axes, located) for one in (thick, thin))
    white = sample_volume(template.fractions[REGIONS.index("white_matter")], template.origin_mm, located)
    assert thinned.sum() < 0.95 * full.sum()
    np.testing.assert_allclose(thinned[white > 0.98], full[white > 0.98], rtol=0.05)


def test_one_person_is_the_same_under_either_tracer() -> None:
    imp, hmpao = (BloodFlow.draw(np.random.default_rng(7), tracer=tracer) for tracer in Tracer)
    tables = [np.array([FLOW[tracer][region] for region in REGIONS]) for tracer in Tracer]
    np.testing.assert_allclose(imp.regions / hmpao.regions, tables[0] / tables[1])
    np.testing.assert_array_equal(imp.field.coefficients, hmpao.field.coefficients)


@pytest.mark.parametrize("region", ["white_matter", "cerebellum", "putamen", "caudate"])
def test_imp_shows_less_than_hmpao_in_white_matter_cerebellum_and_striatum(region: str) -> None:
    over_cortex = {tracer: FLOW[tracer][region] / FLOW[tracer]["cortex"] for tracer in Tracer}
    assert over_cortex[Tracer.IMP] < over_cortex[Tracer.HMPAO]


def test_hmpao_flattens_a_defect_that_imp_shows_in_full() -> None:
    flow = np.array([0.4, 0.7, 1.0])
    np.testing.assert_array_equal(retain(flow, Tracer.IMP), flow)
    # Lassen's curve with a conversion ratio of 1.5.
    np.testing.assert_allclose(retain(flow, Tracer.HMPAO), [2.5 * 0.4 / 1.9, 2.5 * 0.7 / 2.2, 1.0])


def _with_thinning(brain: Brain, exponent: float) -> Brain:
    return Brain(
        to_mni=brain.to_mni,
        shift_mm=brain.shift_mm,
        warp=brain.warp,
        age_years=brain.age_years,
        ventricle_widening=brain.ventricle_widening,
        cortical_thinning=exponent,
    )
