import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cohort.calibration.calibrate import Calibration, Sizes, calibrate_cohort, outside
from cohort.calibration.camera import measure_point_fwhm_mm
from cohort.calibration.flow import TEMPLATE_TOLERANCE
from cohort.calibration.regions import CORE_REGIONS, locate_template_plane, read_regions
from cohort.calibration.rows import Estimate, Row
from cohort.calibration.sample import plan_normals, read_patients
from cohort.calibration.scanner import scanner_rows
from cohort.calibration.symmetry import compute_balanced_icc
from cohort.calibration.template import PLANES_MM, read_template
from cohort.calibration.text import BEGIN, END, read_section, replace_section
from cohort.simulator.anatomy import load_template
from cohort.simulator.imaging import Camera
from cohort.simulator.simulate import SIMULATOR_VERSION
from spect.conditions import Level
from spect.errors import CohortError

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT.parent / "shared/data/SPECT.nii"
# Few patients are read here: a value may miss its range by three of its own standard errors; the full run may not.
STANDARD_ERRORS = 3.0
COMBINED_ERRORS = 4.0  # of two independent estimates, over some forty rows
# Rows that are the camera's own: computed at the document's matrix, so equal to the last printed digit.
SET_BY_THE_CAMERA = ("a point's FWHM", "Butterworth", "counts of a study")
# Shares of the value by which few patients at 64 pixels differ beyond their standard error: pixels of 4 mm let cortex
# spill into white matter (measured: 4 %); extremes of a sample have no standard error and grow with it.
OTHERWISE_APART = {
    "white matter over cortex after imaging": 0.05,
    "Chang's mu": 0.06,
    "flow left in the core": 0.08,
    "its depth before imaging, smallest": 0.15,
    "its depth before imaging, largest": 0.15,
}


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate_cohort(Sizes(normals=36, other_tracer=16, unilateral=36, repeated=8), matrix=64, seed=5)


def test_every_target_is_met_within_sampling_error(calibration: Calibration) -> None:
    missed = [(row.quantity, row.simulated) for row in outside(calibration.rows, standard_errors=STANDARD_ERRORS)]
    assert missed == []


def test_the_documented_table_is_of_this_simulator_and_holds_the_same_rows(calibration: Calibration) -> None:
    section = read_section((ROOT / "docs/cohort.md").read_text())
    assert f"Simulator version {SIMULATOR_VERSION}." in section
    documented = parse_table(section)
    assert [one.quantity for one in documented] == [row.quantity for row in calibration.rows]
    assert f"{len(documented)} of {len(documented)} rows lie inside their range." in section
    for one, row in zip(documented, calibration.rows, strict=True):
        printed = row.to_markdown().strip("| ").split(" | ")
        assert (one.stated, one.range, one.source) == (printed[1], printed[2], printed[6])
        low, high = map(float, one.range.split(" to "))
        assert low <= one.value <= high, one.quantity
        assert one.inside == "yes"


def test_the_documented_values_are_those_the_simulator_gives_within_sampling_error(calibration: Calibration) -> None:
    """Values of few patients at 64 pixels, against the document's of many at 128."""
    documented = parse_table(read_section((ROOT / "docs/cohort.md").read_text()))
    settings = {row.quantity: row for row in scanner_rows(Camera(matrix=128), calibration.normals)}
    far = []
    for one, row in zip(documented, calibration.rows, strict=True):
        if row.quantity.startswith(SET_BY_THE_CAMERA):
            assert f"{one.value:.{row.decimals}f}" == settings[row.quantity].to_markdown().split(" | ")[3]
            continue
        rounding = 0.5 * 10.0**-row.decimals
        error = np.hypot(one.standard_error or 0, row.scale * (row.simulated.standard_error or 0))
        own = next((share for name, share in OTHERWISE_APART.items() if row.quantity.startswith(name)), 0.0)
        slack = rounding + COMBINED_ERRORS * error + own * abs(one.value)
        if abs(one.value - row.scale * row.simulated.value) > slack:
            far.append((one, row.simulated))
        assert (one.standard_error is None) is (row.simulated.standard_error is None)
    assert far == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A row as docs/cohort.md has it, in the units that are printed."""

    quantity: str
    stated: str
    range: str
    value: float
    standard_error: float | None
    inside: str
    source: str


def parse_table(section: str) -> list[Documented]:
    """Read the rows between head and end of the first table of the section."""
    lines = section.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| quantity |")) + 2
    rows = []
    for line in itertools.takewhile(lambda one: one.startswith("|"), lines[first:]):
        quantity, stated, span, simulated, n, inside, source = line.strip("| ").split(" | ")
        value, *error = map(float, simulated.split(" ± "))
        assert (n == "set") is not bool(error)
        one = Documented(
            quantity=quantity,
            stated=stated,
            range=span,
            value=value,
            standard_error=error[0] if error else None,
            inside=inside,
            source=source,
        )
        rows.append(one)
    return rows


@pytest.mark.skipif(not TEMPLATE.is_file(), reason="SPM's SPECT.nii is not beside this checkout")
def test_simulated_hmpao_regions_lie_within_8_percent_of_the_real_template_read_alike(calibration: Calibration) -> None:
    real = read_template(TEMPLATE).over_cortex
    for name, ratio in real.items():
        label = f"{name.replace('_', ' ')} over cortex after imaging, HMPAO"
        simulated = next(row.simulated for row in calibration.rows if row.quantity == label)
        slack = STANDARD_ERRORS * (simulated.standard_error or 0)
        assert simulated.value == pytest.approx(ratio, abs=TEMPLATE_TOLERANCE * ratio + slack), name


@pytest.mark.skipif(not TEMPLATE.is_file(), reason="SPM's SPECT.nii is not beside this checkout")
def test_the_real_template_is_nearly_symmetric() -> None:
    for ratio in read_template(TEMPLATE).left_right_ratio.values():
        assert ratio == pytest.approx(1.0, abs=0.02)


def test_a_region_of_known_counts_is_read_back() -> None:
    template = load_template()
    for level, plane_mm in PLANES_MM.items():
        mni_mm = locate_template_plane(128, plane_mm)
        counts = np.where(mni_mm[0] < 0, 20, 30).astype(np.float32)
        found = read_regions(counts, template, mni_mm, level)
        assert set(found) == {region.name for region in CORE_REGIONS if level in region.levels}
        for name in ("cortex", "white_matter"):
            if name in found:
                assert found[name] == pytest.approx(25, abs=0.5)
    found = read_regions(
        np.where(locate_template_plane(128, -36)[0] < 0, 20, 30).astype(np.float32),
        template,
        locate_template_plane(128, -36),
        Level.CEREBELLUM,
    )
    assert (found["left_cerebellum"], found["right_cerebellum"]) == (20, 30)


def test_the_same_persons_are_read_for_any_number_of_workers() -> None:
    alone, shared = (list(read_patients(plan_normals(2, 1), Camera(matrix=64), workers=workers)) for workers in (1, 2))
    assert [one.regions for one in alone] == [one.regions for one in shared]


def test_another_scan_of_a_person_differs_by_noise_alone() -> None:
    first, second = (
        next(iter(read_patients(plan_normals(1, 1), Camera(matrix=64), repeat=repeat))) for repeat in (0, 1)
    )
    assert first.slices[Level.CORTEX].true_left_right_ratio == second.slices[Level.CORTEX].true_left_right_ratio
    assert first.regions["cortex"] != second.regions["cortex"]
    assert first.regions["cortex"] == pytest.approx(second.regions["cortex"], rel=0.03)


def test_a_sharper_filter_reads_a_point_narrower() -> None:
    widths = [
        measure_point_fwhm_mm(Camera(cutoff_cycles_per_cm=cutoff), row_mm=0, column_mm=0) for cutoff in (0.3, 0.6)
    ]
    assert widths[0] > widths[1] + 2


def test_slices_of_one_person_alike_give_a_correlation_of_one_and_of_strangers_none() -> None:
    rng = np.random.default_rng(0)
    person = rng.normal(30, 4, (500, 1))
    assert compute_balanced_icc(person + np.array([0.0, 3.0, -2.0])) == pytest.approx(1)
    assert compute_balanced_icc(rng.normal(30, 4, (2000, 3))) == pytest.approx(0, abs=0.05)
    assert compute_balanced_icc(person + rng.normal(0, 4, (500, 3))) == pytest.approx(0.5, abs=0.07)


def test_a_value_outside_its_range_is_said_to_be_outside() -> None:
    row = Row(
        quantity="cortex",
        stated="33",
        low=31.0,
        high=35.0,
        simulated=Estimate(value=30.0, standard_error=0.6, n=9),
        source="nobody",
    )
    assert not row.is_inside()
    assert row.is_inside(standard_errors=2)
    assert "**no**" in row.to_markdown()


def test_a_table_replaces_the_one_before_and_nothing_else() -> None:
    document = f"# head\n{BEGIN}\nold\n{END}\ntail\n"
    renewed = replace_section(document, "new")
    assert read_section(renewed) == "new"
    assert renewed == f"# head\n{BEGIN}\nnew\n{END}\ntail\n"
    with pytest.raises(CohortError, match="put them back"):
        replace_section("# head\n", "new")
