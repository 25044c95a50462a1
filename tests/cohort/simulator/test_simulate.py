import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cohort import shards
from cohort.simulator import simulate as simulation
from cohort.simulator.patients import Preset, apportion, count_conditions, parse_preset, plan_patients
from cohort.simulator.simulate import SIMULATOR_VERSION, Simulation, simulate_cohort, write_simulated_cohort
from cohort.simulator.study import SimulatedSlice
from cohort.store import Cohort, load_cohort
from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.errors import CohortError, RequestError
from spect.quantify import quantify
from synspect.commands import cohort

app = typer.Typer()
app.add_typer(cohort.app, name="cohort")

# Werner et al., Sci Rep 2022;12:18787.
PAPER_SLICES = {
    ("CER", "normal"): 248,
    ("CER", "unilateral"): 66,
    ("BG", "normal"): 174,
    ("BG", "unilateral"): 116,
    ("BG", "bilateral"): 44,
    ("COR", "normal"): 129,
    ("COR", "unilateral"): 109,
    ("COR", "bilateral"): 52,
}


@pytest.fixture(scope="module")
def small() -> Cohort:
    return simulate_cohort(Preset.SMALL, seed=3, workers=1)


def test_the_paper_preset_holds_the_papers_slices_and_patients() -> None:
    plans = list(plan_patients(Preset.PAPER, patients=None, seed=0))
    slices = Counter((level.value, plan.pattern.value) for plan in plans for level in plan.imaged)
    assert slices == PAPER_SLICES
    assert Counter(plan.pattern for plan in plans) == {
        Pattern.NORMAL: 248,
        Pattern.UNILATERAL: 116,
        Pattern.BILATERAL: 52,
    }


def test_a_quarter_of_the_patients_of_every_pattern_and_level_set_is_kept_for_selection() -> None:
    plans = list(plan_patients(Preset.PAPER, patients=None, seed=0))
    for pattern in Pattern:
        share = np.mean([plan.split == "selection" for plan in plans if plan.pattern is pattern])
        assert share == 0.25
    sets = Counter((plan.pattern, plan.levels) for plan in plans)
    chosen = Counter((plan.pattern, plan.levels) for plan in plans if plan.split == "selection")
    for group, size in sets.items():
        assert abs(chosen[group] - size / 4) < 1


def test_the_test_preset_holds_one_slice_a_patient_and_500_a_condition() -> None:
    plans = list(plan_patients(Preset.TEST, patients=None, seed=0))
    slices = Counter((plan.imaged, plan.pattern) for plan in plans)
    assert slices == {((condition.level,), condition.pattern): 500 for condition in CONDITIONS}
    assert {plan.split for plan in plans} == {"test"}
    assert len({plan.name for plan in plans}) == 4000


def test_the_test_cohort_repeats_no_patient_of_the_others_under_the_same_seed() -> None:
    seeds = [{plan.seed for plan in plan_patients(preset, patients=40, seed=0)} for preset in Preset]
    assert len(set.union(*seeds)) == 120


def test_the_number_of_patients_scales_the_mix() -> None:
    assert apportion([129, 45, 74, 66, 43, 7, 44, 8], 832) == [258, 90, 148, 132, 86, 14, 88, 16]
    assert sum(apportion([129, 45, 74, 66, 43, 7, 44, 8], 42)) == 42
    assert apportion([129, 45, 74, 66, 43, 7, 44, 8], 8) == [1] * 8


@pytest.mark.parametrize("preset", list(Preset))
@pytest.mark.parametrize("patients", [8, 9, 42, 417, None])
def test_slices_are_counted_without_planning_a_patient_as_the_plans_have_them(
    preset: Preset, patients: int | None
) -> None:
    plans = list(plan_patients(preset, patients=patients, seed=0))
    planned = Counter(Condition(level, plan.pattern) for plan in plans for level in plan.imaged)
    counted = count_conditions(preset, patients)
    assert counted == planned
    assert list(counted) == [condition for condition in CONDITIONS if planned[condition]]
    assert [plan.seed[2] for plan in plans] == list(range(len(plans)))


def test_a_million_patients_are_counted_and_begun_at_once() -> None:
    wanted = Simulation(preset=Preset.PAPER, patients=1_000_000)
    started = time.process_time()
    assert wanted.conditions.total() == pytest.approx(1_000_000 * 938 / 416, rel=1e-5)
    assert next(iter(wanted.plan())).name == "paper-00000"
    assert time.process_time() - started < 0.5


def test_the_same_seed_gives_the_same_cohort_for_any_number_of_workers() -> None:
    one = simulate_cohort(Preset.TEST, patients=9, matrix=64, seed=5, workers=1)
    two = simulate_cohort(Preset.TEST, patients=9, matrix=64, seed=5, workers=2)
    assert one.description.fingerprint == two.description.fingerprint
    for name, values in one.truth.items():
        np.testing.assert_array_equal(values, two.truth[name])


def test_every_file_is_the_same_byte_for_byte_for_one_two_and_three_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SLICES_PER_FILE", 10)
    wanted = Simulation(preset=Preset.SMALL, patients=12, matrix=64, seed=5)
    seen: list[int] = []
    for workers in (1, 2, 3):
        write_simulated_cohort(wanted, tmp_path / str(workers), workers=workers, progress=seen.append)
    written = [{path.name: path.read_bytes() for path in (tmp_path / str(n)).iterdir()} for n in (1, 2, 3)]
    assert len(written[0]) > 2
    assert written[0] == written[1] == written[2]
    in_memory = simulate_cohort(Preset.SMALL, patients=12, matrix=64, seed=5, workers=1)
    loaded = load_cohort(tmp_path / "1")
    assert loaded.description == in_memory.description
    assert sum(seen) == 3 * len(loaded)
    for name, values in in_memory.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], values)


def test_a_slice_keeps_everything_else_the_simulator_knows_as_its_truth(small: Cohort) -> None:
    names = {one.name for one in fields(SimulatedSlice)} - {"counts", "level", "plan"}
    assert small.truth.keys() == names
    for values in small.truth.values():
        assert values.dtype.kind == "U" or values.dtype == np.float32


def test_a_disk_that_cannot_hold_the_cohort_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation.shutil, "disk_usage", lambda _place: SimpleNamespace(free=10**9))
    with pytest.raises(CohortError, match=r"90000 slices need 5\.9 GB, .* has 1\.0 GB free"):
        write_simulated_cohort(Simulation(preset=Preset.TEST, patients=90_000), tmp_path / "big")
    monkeypatch.setattr(simulation.shutil, "disk_usage", lambda _place: SimpleNamespace(free=100_000))
    with pytest.raises(CohortError, match=r"8 slices need 0\.5 MB, .* has 0\.1 MB free"):
        write_simulated_cohort(Simulation(preset=Preset.TEST, patients=8), tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_simulation_leaves_the_cohort_that_was_there(tmp_path: Path) -> None:
    first = Simulation(preset=Preset.TEST, patients=8, matrix=64, seed=1)
    write_simulated_cohort(first, tmp_path / "c", workers=1)
    before = load_cohort(tmp_path / "c").description

    def interrupt(slices: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_simulated_cohort(replace(first, seed=2), tmp_path / "c", workers=2, progress=interrupt)
    assert load_cohort(tmp_path / "c").description == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_another_seed_gives_other_patients() -> None:
    first, second = (simulate_cohort(Preset.TEST, patients=8, matrix=64, seed=seed, workers=1) for seed in (0, 1))
    assert first.description.fingerprint != second.description.fingerprint


def test_a_cohort_says_what_made_it(small: Cohort) -> None:
    description = small.description
    assert (description.source, description.simulator_version, description.seed) == ("simulated", SIMULATOR_VERSION, 3)
    assert (description.name, description.intensity_unit, description.pixel_spacing_mm) == ("small", "mL/100g/min", 2.0)
    assert small.counts.shape[1:] == (128, 128)
    assert len(small.conditions()) == len(CONDITIONS)


def test_patients_bring_the_levels_they_have_from_one_brain(small: Cohort) -> None:
    measured = quantify(small.counts, pixel_spacing_mm=2.0).mean_counts
    normal = small.pattern == Pattern.NORMAL
    per_level = [
        dict(zip(small.patient[rows], measured[rows], strict=True))
        for rows in (normal & (small.level == Level.CEREBELLUM), normal & (small.level == Level.BASAL_GANGLIA))
    ]
    shared = sorted(set(per_level[0]) & set(per_level[1]))
    assert len(shared) > 10
    correlation = np.corrcoef([[level[patient] for patient in shared] for level in per_level])[0, 1]
    assert correlation > 0.5  # a dozen patients; over the paper's cohort it is 0.83


def test_the_defect_lies_on_the_side_the_truth_names(small: Cohort) -> None:
    supratentorial = (small.pattern == Pattern.UNILATERAL) & (small.level != Level.CEREBELLUM)
    clear = np.flatnonzero(supratentorial & (np.abs(np.log(small.truth["left_right_ratio"])) > 0.05))
    assert len(clear) > 8
    ratios = quantify(small.counts[clear], pixel_spacing_mm=2.0).left_right_ratio
    expected_low = small.truth["side"][clear] == "left"
    np.testing.assert_array_equal(ratios < 1, expected_low)


def test_unilateral_cerebella_are_low_on_the_side_opposite_the_lesion(small: Cohort) -> None:
    crossed = np.flatnonzero((small.pattern == Pattern.UNILATERAL) & (small.level == Level.CEREBELLUM))
    sides = small.truth["side"][crossed]
    middle = 64 + np.rint(small.truth["midline_shift_mm"][crossed] / 2).astype(int)
    posterior = [counts[78:92] for counts in small.counts[crossed]]
    # The patient's left is on image right.
    left = np.array([rows[:, column + 4 : column + 18].mean() for rows, column in zip(posterior, middle, strict=True)])
    right = np.array([rows[:, column - 18 : column - 4].mean() for rows, column in zip(posterior, middle, strict=True)])
    lower_over_higher = np.where(sides == "left", right / left, left / right)
    assert lower_over_higher.min() > 0.70
    assert lower_over_higher.max() < 0.95


def test_normal_hemispheres_differ_by_less_than_two_percent_and_white_matter_is_darker(small: Cohort) -> None:
    normal = np.flatnonzero(small.pattern == Pattern.NORMAL)
    ratios = quantify(small.counts[normal], pixel_spacing_mm=2.0).left_right_ratio
    assert 0.005 < np.log(ratios).std() < 0.025  # some fifty slices: the population has 0.015 to 0.019
    cortex_level = small.counts[normal][small.level[normal] == Level.CORTEX]
    mean = cortex_level.mean(axis=0)
    white = np.concatenate([mean[54:72, 49:55].ravel(), mean[54:72, 73:79].ravel()])
    assert white.mean() / np.quantile(mean, 0.97) < 0.8


def test_disease_lowers_blood_flow_and_leaves_the_background_empty(small: Cohort) -> None:
    cortex = small.level == Level.CORTEX
    flow = {pattern: small.truth["severity"][cortex & (small.pattern == pattern)] for pattern in Pattern}
    assert flow[Pattern.NORMAL].max() == 0
    assert flow[Pattern.UNILATERAL].min() > 0
    assert flow[Pattern.BILATERAL].min() > 0
    border = np.concatenate([small.counts[:, :4].ravel(), small.counts[:, -4:].ravel(), small.counts[:, :, :8].ravel()])
    assert border.max() == 0


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"matrix": 100}, CohortError, "64, 128"),
        ({"patients": 0}, CohortError, "at least 8"),
        ({"patients": -5}, CohortError, "at least 8"),
        ({"patients": 1_000_001}, CohortError, "at most 1000000 patients, got 1000001"),
        ({"seed": -1}, RequestError, "seed"),
    ],
)
def test_what_cannot_be_simulated_is_refused(asked: dict[str, int], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        simulate_cohort(Preset.SMALL, **asked)


def test_an_unknown_preset_names_the_choices() -> None:
    with pytest.raises(CohortError, match="paper, small, test"):
        parse_preset("huge")


def test_the_command_writes_a_cohort_that_loads_and_replaces_it_when_asked_again(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        arguments = ["cohort", "simulate", str(tmp_path / "c"), "--preset", "test", "--patients", "8"]
        result = CliRunner().invoke(app, [*arguments, "--matrix", "64", "--workers", "1", "--seed", seed])
        assert result.exit_code == 0, result.output
        assert "8 slices of 8 patients" in " ".join(result.output.split())
        assert load_cohort(tmp_path / "c").description.seed == int(seed)


def test_the_command_refuses_a_directory_of_someone_elses_files_before_it_works(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(app, ["cohort", "simulate", str(tmp_path)])
    assert isinstance(result.exception, CohortError)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
