"""The description of a cohort: its counts, its intervals, how alike one patient's slices are, and its pictures."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cohort.description.asymmetry import map_cohort
from cohort.description.comparison import compare
from cohort.description.describe import summarise
from cohort.description.figures import build_quantities, choose_ratio_ticks, draw_contact_sheet, draw_quantities
from cohort.description.likeness import compute_icc, correlate_levels
from cohort.description.map_figures import draw_asymmetry, draw_mean_slices
from cohort.description.measuring import COLUMNS, MeasuredCohort, measure_cohort
from cohort.store import Cohort, CohortDescription, build_cohort, load_cohort, save_cohort
from spect.conditions import parse_condition
from spect.errors import CohortError
from spect.features import FEATURES
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
    assert summarise(measure_cohort(cohort)).mean_counts_icc.value > 0.95

    rng = np.random.default_rng(0)
    patient_part, slice_part = np.repeat(rng.normal(0, 1, 2000), 2), rng.normal(0, 1, 4000)
    half = compute_icc(_with_mean_counts(patient_part + slice_part))
    assert half.value == pytest.approx(0.5, abs=0.07)
    # Pairs at ICC 0.5: standard error (1 - 0.25) / sqrt(2000) = 0.017, so 0.066 from end to end.
    assert half.high - half.low == pytest.approx(0.066, abs=0.006)
    assert half.low < half.value < half.high
    # Standard error 1 / sqrt(2000) = 0.022.
    assert compute_icc(_with_mean_counts(slice_part)).value == pytest.approx(0, abs=0.09)


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
    features = np.zeros((n, len(FEATURES)))
    features[:, 0] = values
    flat = np.zeros((n, 3))
    return MeasuredCohort(
        cohort=made, features=features, log_ratio_at=flat, mean_counts_at=flat, midline=np.zeros((n, 2))
    )


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
    itself = compare(here, here)
    alike = itself.conditions
    assert "same cohort" in " ".join(itself.notes)
    assert {row.mean_counts_ratio.verdict for row in alike} <= {"equivalent", "inconclusive"}
    assert {row.log_ratio_difference.verdict for row in alike} == {"equivalent"}

    other = compare(here, measure_cohort(_ellipses(30, side_factor=0.6, flow=80, seed=1))).conditions

    assert [row.mean_counts_ratio.verdict for row in other] == ["different", "different"]
    assert [row.log_ratio_difference.verdict for row in other] == ["equivalent", "different"]
    assert other[0].mean_counts_ratio.estimate.value == pytest.approx(50 / 80, rel=0.08)


def test_mean_counts_in_other_units_are_not_comparable(cohort) -> None:
    other = measure_cohort(_ellipses(30, side_factor=0.8, unit="kBq"))

    found = compare(measure_cohort(cohort), other)

    assert {row.mean_counts_ratio.verdict for row in found.conditions} == {"not comparable"}
    assert "counts against kBq" in found.notes[0]


def test_pictures_are_drawn_and_marked(cohort) -> None:
    measured = measure_cohort(cohort)

    mapped = (cohort.description, map_cohort(measured))
    pictures = [draw_contact_sheet(cohort), draw_quantities([measured]), draw_quantities([measured, measured])]
    pictures += [draw(both) for draw in (draw_mean_slices, draw_asymmetry) for both in ([mapped], [mapped, mapped])]

    for picture in pictures:
        image = Image.open(io.BytesIO(picture))
        assert image.info["Source"] == "simulated"
        assert np.asarray(image.convert("L")).std() > 10


def test_mean_counts_of_other_units_or_scaling_are_drawn_on_an_axis_of_their_own(cohort) -> None:
    here = measure_cohort(cohort)
    by_slice = replace(cohort, description=replace(cohort.description, intensity_scaling="per-slice"))
    others = (_ellipses(30, side_factor=0.8, unit="kBq", flow=5000), by_slice)

    for other in others:
        mine, theirs, ratio = build_quantities([here, measure_cohort(other)]).axes
        assert "(counts)" in mine.get_ylabel()
        assert other.description.intensity_unit in theirs.get_ylabel()
        assert "left/right" in ratio.get_ylabel()
    assert (mine.get_ylabel(), theirs.get_ylabel()) == (
        "mean counts, whole-cohort\n(counts)",
        "mean counts, per-slice\n(counts)",
    )
    assert len(build_quantities([here, here]).axes) == 2


def test_the_legend_lies_over_no_violin(cohort) -> None:
    measured = measure_cohort(cohort)
    for cohorts in (
        [measured],
        [measured, measured],
        [measured, measure_cohort(_ellipses(6, side_factor=1, unit="c"))],
    ):
        figure = build_quantities(cohorts)
        figure.canvas.draw()
        (legend,) = figure.legends
        assert all(axes.get_legend() is None for axes in figure.axes)
        assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert len(legend.get_texts()) == len(cohorts)


@pytest.mark.parametrize(("low", "high"), [(0.97, 1.035), (0.99, 1.01), (0.7, 1.45), (0.2, 9.0), (0.05, 20.0)])
def test_the_axis_of_ratios_has_several_round_ticks_whatever_its_range(low: float, high: float) -> None:
    ticks = choose_ratio_ticks(low, high)

    assert 4 <= len(ticks) <= 10
    assert 1.0 in ticks
    assert low <= min(ticks)
    assert max(ticks) <= high
    assert all(len(f"{tick:g}") <= 5 for tick in ticks)


def test_the_command_prints_tables_and_writes_pictures(tmp_path, cohort) -> None:
    save_cohort(cohort, tmp_path / "cohort")

    CliRunner().invoke(app, [str(tmp_path / "cohort")])
    figures = tmp_path / "cohort" / "figures"
    alone = {path.name: path.read_bytes() for path in figures.iterdir()}
    result = CliRunner().invoke(app, [str(tmp_path / "cohort"), "--compare", str(tmp_path / "cohort")])

    assert result.exit_code == 0, result.exception
    assert "COR/unilateral" in result.output
    assert "equivalent" in result.output
    printed = [line for line in result.output.splitlines() if not line.startswith(("wrote", "measured"))]
    assert max(map(len, printed)) <= 80
    for name in ("contact-sheet.png", "mean-counts-left-right.png", "mean-slices.png", "asymmetry.png"):
        assert alone[name].startswith(b"\x89PNG")
        assert (figures / name).read_bytes() == alone[name]  # a comparison leaves a cohort's own pictures alone
    assert {path.name for path in figures.iterdir()} - set(alone) == {
        "compared-mean-counts-left-right.png",
        "compared-mean-slices.png",
        "compared-asymmetry.png",
    }
    assert len(load_cohort(tmp_path / "cohort")) == 60


def test_tables_of_few_patients_and_of_other_units_fit_80_columns_uncut(tmp_path, cohort) -> None:
    save_cohort(_ellipses(2, side_factor=0.8), tmp_path / "few")
    save_cohort(_ellipses(30, side_factor=0.8, unit="kBq", seed=1), tmp_path / "other")
    save_cohort(cohort, tmp_path / "cohort")

    for other, verdict in (("few", "not enough"), ("other", "comparable")):
        result = CliRunner().invoke(app, [str(tmp_path / "cohort"), "--compare", str(tmp_path / other)])
        assert result.exit_code == 0, result.exception
        printed = [line for line in result.output.splitlines() if not line.startswith(("wrote", "measured"))]
        assert max(map(len, printed)) <= 80
        assert verdict in result.output
        assert "\u2026" not in result.output  # what a table cuts off


def test_json_is_json_alone(tmp_path, cohort) -> None:
    save_cohort(cohort, tmp_path / "cohort")

    result = CliRunner().invoke(app, [str(tmp_path / "cohort"), "--json", "--out", str(tmp_path / "here")])

    answer = json.loads(result.stdout)
    assert answer["cohorts"][0]["slices"] == 60
    assert [Path(picture).parent for picture in answer["pictures"]] == [tmp_path / "here"] * 4


def test_a_folder_that_is_no_cohort_is_one_line_and_stays_as_it_is(tmp_path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path)])

    assert isinstance(result.exception, CohortError)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_many_processes_measure_the_same_as_one() -> None:
    cohort = _ellipses(70, side_factor=0.9)

    one, two = (measure_cohort(cohort, workers=workers) for workers in (1, 2))

    np.testing.assert_array_equal(one.features, two.features)
    np.testing.assert_array_equal(one.midline, two.midline)
    assert one.features.shape[1] + 3 + 3 + 2 == COLUMNS


def test_a_defect_of_twenty_percent_is_eleven_in_the_asymmetry_map_and_lies_on_the_lower_side() -> None:
    left, right = _ellipses(6, side_factor=0.8), _ellipses(6, side_factor=1 / 0.8)

    for cohort in (left, right):
        maps = map_cohort(measure_cohort(cohort))
        unilateral = maps[parse_condition("COR", "unilateral")].asymmetry_percent
        normal = maps[parse_condition("COR", "normal")].asymmetry_percent

        # (0.8 - 1) / (0.8 + 1) = -11.1 %, on image right whichever side the patient's defect is on.
        assert unilateral[28:36, 42].mean() == pytest.approx(-11.1, abs=0.5)
        assert unilateral[28:36, 21].mean() == pytest.approx(11.1, abs=0.5)
        assert np.nanmax(np.abs(normal)) < 2
        assert np.isnan(normal[0, 0])


def test_a_measured_ratio_is_held_against_the_true_one() -> None:
    plain = _ellipses(20, side_factor=0.8)
    truth = np.where(plain.pattern == "unilateral", 0.75, 1.0)
    cohort = build_cohort({**plain.arrays(), "truth_left_right_ratio": truth}, plain.description)

    normal, unilateral = summarise(measure_cohort(cohort)).conditions

    assert normal.truth.bias == pytest.approx(0, abs=0.003)
    assert unilateral.truth.true_asymmetry == pytest.approx(1 / 0.75)
    assert unilateral.truth.bias == pytest.approx(np.log(0.8 / 0.75), abs=0.01)  # above 0: reads too small
    assert summarise(measure_cohort(plain)).conditions[0].truth is None


def test_what_can_be_shown_follows_from_the_numbers_and_the_spread() -> None:
    here, there = (measure_cohort(_ellipses(120, side_factor=0.9, seed=seed)) for seed in (0, 1))

    judged = compare(here, there).conditions[0].mean_counts_ratio

    # SD 0.1 of the log, 120 against 120: 2.926 standard errors of 0.1 sqrt(2 / 120).
    assert np.log1p(judged.margin_at_80_percent_power) == pytest.approx(2.926 * 0.1 * np.sqrt(2 / 120), rel=0.15)
    # 5 % of the ratio is 3.8 of those errors: beyond 1.645 of them on either side lie 0.97 of the chances.
    assert judged.power == pytest.approx(0.97, abs=0.03)


def test_a_noisier_cohort_is_farther_in_noise_than_chance_allows() -> None:
    here, there = _ellipses(40, side_factor=0.9), _ellipses(40, side_factor=0.9, seed=1)
    noisy = there.counts * np.random.default_rng(0).normal(1, 0.05, there.counts.shape).clip(0.5)
    changed = build_cohort({**there.arrays(), "counts": noisy.astype(np.float32)}, there.description)

    row = compare(measure_cohort(changed), measure_cohort(here)).conditions[0]
    noise = {one.feature: one for one in row.features}["noise_sd"]

    assert noise.kolmogorov_smirnov == 1
    assert noise.wasserstein_in_sd > 3 * noise.wasserstein_by_chance


def test_a_condition_of_one_cohort_alone_is_named(cohort) -> None:
    normal = cohort.select(condition=parse_condition("COR", "normal"))

    found = compare(measure_cohort(cohort), measure_cohort(normal))

    assert found.only_in_first == ("COR/unilateral",)
    assert [row.condition for row in found.conditions] == ["COR/normal"]


def test_flags_and_repeated_slices_are_counted(cohort: Cohort) -> None:
    rng = np.random.default_rng(3)
    counts = cohort.counts * rng.uniform(0.99, 1.01, (len(cohort), 1, 1)).astype(np.float32)
    counts += rng.gamma(1.0, 3.0, counts.shape).astype(np.float32) * (counts > 0)  # no two alike
    counts[4] = counts[0]  # both normal
    counts[6, :, :] = 0.0
    counts[8] = np.minimum(counts[8], 0.6 * counts[8].max())
    flags = summarise(measure_cohort(build_cohort({**cohort.arrays(), "counts": counts}, cohort.description)))
    assert flags.quality_flags["exact copy of another slice"] == 1
    assert flags.quality_flags["no brain found"] == 1
    assert flags.quality_flags["clipped at the top"] == 1
    assert flags.quality_flags["cropped by the edge of the picture"] == 0


def test_levels_are_correlated_over_the_patients_who_have_both_and_quickly_for_many() -> None:
    patients = 20_000
    rng = np.random.default_rng(0)
    person, own = rng.normal(0, 1, patients), rng.normal(0, 1, (2, patients))
    made = _with_mean_counts(np.concatenate([person + own[0], person + own[1]]))
    arrays = made.cohort.arrays()
    names = np.array([f"P{number:05d}" for number in range(patients)])
    # Every tenth patient has a cortical slice alone.
    arrays |= {"level": np.repeat(["BG", "COR"], patients), "patient": np.concatenate([names, names])}
    arrays["patient"][:patients:10] = [f"Q{number}" for number in range(patients // 10)]
    measured = replace(made, cohort=build_cohort(arrays, made.cohort.description))

    started = time.process_time()
    (pair,) = correlate_levels(measured)

    assert time.process_time() - started < 2  # it was a minute
    assert (pair.levels, pair.correlation.patients) == ("BG-COR", patients * 9 // 10)
    assert pair.correlation.value == pytest.approx(0.5, abs=0.03)
