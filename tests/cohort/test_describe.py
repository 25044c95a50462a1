"""The description of a cohort: its counts, its intervals, how alike one patient's slices are, and its pictures."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cohort.describe import MeasuredCohort, compare, compute_icc, measure_cohort, summarise
from cohort.figures import draw_contact_sheet, draw_quantities
from cohort.store import Cohort, CohortDescription, build_cohort, load_cohort, save_cohort
from spect.errors import CohortError
from synspect.commands.cohort_describe import describe

app = typer.Typer()
app.command()(describe)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Thirty patients of one normal and one unilateral cortical slice; the defect takes 20 % of the patient's left."""
    return _ellipses(30, side_factor=0.8)


def _ellipses(patients: int, *, side_factor: float, flow: float = 50.0, unit: str = "counts", seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    axis = (np.arange(64) - 31.5) * 4
    y, x = np.meshgrid(axis, axis, indexing="ij")
    soft = 1 / (1 + np.exp((np.hypot(x / 64, y / 82) - 1) * 25))
    soft[soft < 0.02] = 0
    slices = []
    for scale in flow * np.exp(rng.normal(0, 0.1, patients)):
        slices += [soft * scale, soft * scale * np.where(x > 0, side_factor, 1)]
    return build_cohort(
        {
            "counts": np.array(slices, dtype=np.float32),
            "level": np.array(["COR"] * 2 * patients),
            "pattern": np.array(["normal", "unilateral"] * patients),
            "patient": np.repeat([f"P{i:03d}" for i in range(patients)], 2),
            "split": np.array(["train"] * 2 * patients),
        },
        CohortDescription(
            name="ellipses",
            pixel_spacing_mm=4.0,
            intensity_unit=unit,
            intensity_scaling="whole-cohort",
            source="simulated",
        ),
    )


def test_counts_and_quantities_of_every_condition_are_told(cohort) -> None:
    summary = summarise(measure_cohort(cohort))

    assert (summary.slices, summary.patients, summary.patients_by_slices) == (60, 30, {2: 30})
    normal, unilateral = summary.conditions
    assert (normal.condition, normal.slices, normal.patients) == ("COR/normal", 30, 30)
    assert normal.left_right_ratio.mean == pytest.approx(1, abs=0.003)
    assert unilateral.left_right_ratio.mean == pytest.approx(0.8, abs=0.01)
    assert unilateral.asymmetry.mean == pytest.approx(1 / 0.8, abs=0.015)
    assert normal.mean_counts.low < normal.mean_counts.mean < normal.mean_counts.high
    # SD 10 % of patients' flow; the interval of the mean of 30 patients is 2.045 / sqrt(30) of it on either side.
    half = (normal.mean_counts.high - normal.mean_counts.low) / 2
    assert half == pytest.approx(2.045 / np.sqrt(30) * normal.mean_counts.sd, rel=0.02)


def test_slices_of_one_patient_are_alike_and_the_coefficient_says_how_much(cohort) -> None:
    assert summarise(measure_cohort(cohort)).mean_counts_icc > 0.95

    rng = np.random.default_rng(0)
    patient_part, slice_part = np.repeat(rng.normal(0, 1, 2000), 2), rng.normal(0, 1, 4000)
    assert compute_icc(_with_mean_counts(patient_part + slice_part)) == pytest.approx(0.5, abs=0.07)
    # Standard error 1 / sqrt(2000) = 0.022.
    assert compute_icc(_with_mean_counts(slice_part)) == pytest.approx(0, abs=0.09)


def _with_mean_counts(values: np.ndarray) -> MeasuredCohort:
    """Pairs of slices of one condition with these mean counts."""
    n = len(values)
    made = build_cohort(
        {
            "counts": np.ones((n, 1, 1), dtype=np.float32),
            "level": np.array(["COR"] * n),
            "pattern": np.array(["normal"] * n),
            "patient": np.repeat(np.arange(n // 2), 2).astype(str),
            "split": np.array(["train"] * n),
        },
        CohortDescription(
            name="x", pixel_spacing_mm=2.0, intensity_unit="c", intensity_scaling="whole-cohort", source="simulated"
        ),
    )
    return MeasuredCohort(cohort=made, mean_counts=values, log_left_right_ratio=np.zeros(n))


def test_a_patient_of_one_slice_tells_nothing_of_likeness() -> None:
    cohort = _ellipses(4, side_factor=0.9)

    assert compute_icc(measure_cohort(cohort.select(condition=cohort.conditions()[0]))) is None


def test_a_slice_without_a_brain_is_counted_and_left_out(cohort) -> None:
    counts = cohort.counts.copy()
    counts[0] = 0
    damaged = build_cohort({**cohort.arrays(), "counts": counts}, cohort.description)

    normal = summarise(measure_cohort(damaged)).conditions[0]

    assert (normal.slices, normal.slices_without_outline) == (30, 1)
    assert np.isfinite(normal.mean_counts.mean)


def test_too_few_patients_have_no_interval() -> None:
    normal = summarise(measure_cohort(_ellipses(2, side_factor=0.8))).conditions[0]

    assert normal.mean_counts.low is None
    assert normal.mean_counts.mean > 0


def test_an_empty_cohort_is_refused(cohort) -> None:
    with pytest.raises(CohortError, match="no slice"):
        summarise(measure_cohort(cohort.take(np.array([], dtype=np.int64))))


def test_a_cohort_is_equivalent_to_itself_and_differs_from_another_flow_and_another_side(cohort) -> None:
    here = measure_cohort(cohort)
    alike = compare(here, here)
    assert {row.mean_counts_verdict for row in alike} <= {"equivalent", "inconclusive"}
    assert {row.log_ratio_verdict for row in alike} == {"equivalent"}

    other = compare(here, measure_cohort(_ellipses(30, side_factor=0.6, flow=80, seed=1)))

    assert [row.mean_counts_verdict for row in other] == ["different", "different"]
    assert [row.log_ratio_verdict for row in other] == ["equivalent", "different"]
    assert other[0].mean_counts_ratio.value == pytest.approx(50 / 80, rel=0.08)


def test_mean_counts_in_other_units_are_not_comparable(cohort) -> None:
    other = measure_cohort(_ellipses(30, side_factor=0.8, unit="kBq"))

    assert {row.mean_counts_verdict for row in compare(measure_cohort(cohort), other)} == {"not comparable"}


def test_pictures_are_drawn_and_marked(cohort) -> None:
    measured = measure_cohort(cohort)

    for picture in (draw_contact_sheet(cohort), draw_quantities([measured]), draw_quantities([measured, measured])):
        image = Image.open(io.BytesIO(picture))
        assert image.info["Source"] == "simulated"
        assert np.asarray(image.convert("L")).std() > 10


def test_the_command_prints_tables_and_writes_pictures(tmp_path, cohort) -> None:
    save_cohort(cohort, tmp_path / "cohort")

    result = CliRunner().invoke(app, [str(tmp_path / "cohort"), "--compare", str(tmp_path / "cohort")])

    assert result.exit_code == 0, result.exception
    assert "COR/unilateral" in result.output
    assert "equivalent" in result.output
    for name in ("contact-sheet.png", "mean-counts-left-right.png"):
        assert (tmp_path / "cohort" / "figures" / name).read_bytes().startswith(b"\x89PNG")
    assert len(load_cohort(tmp_path / "cohort")) == 60


def test_json_is_json_alone(tmp_path, cohort) -> None:
    save_cohort(cohort, tmp_path / "cohort")

    result = CliRunner().invoke(app, [str(tmp_path / "cohort"), "--json", "--out", str(tmp_path / "here")])

    answer = json.loads(result.stdout)
    assert answer["cohorts"][0]["slices"] == 60
    assert [Path(picture).parent for picture in answer["pictures"]] == [tmp_path / "here"] * 2


def test_a_folder_that_is_no_cohort_is_one_line_and_stays_as_it_is(tmp_path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path)])

    assert isinstance(result.exception, CohortError)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []
