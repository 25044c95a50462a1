"""A model of dataset B knows the cortex alone: it is validated there, and never released."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cohort.store import save_cohort
from spect.conditions import CONDITIONS, Level
from spect.errors import CohortError, RunError
from tests.support.taught_run import build_taught_run
from tests.support.toy_slices import toy_cohort
from training.release.release import release
from training.run import RunDirectory
from training.validation.report import render_report
from training.validation.samples import SliceNumbers
from training.validation.subject import Subject, open_subject, validate_subject

FEW = SliceNumbers(synthetic=12)
CORTEX = tuple(condition for condition in CONDITIONS if condition.level is Level.CORTEX)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return build_taught_run(tmp_path_factory.mktemp("taught"), dataset="B")


@pytest.fixture(scope="module")
def subject(run: RunDirectory) -> Iterator[Subject]:
    with open_subject(str(run.path), None) as subject:
        yield subject


@pytest.fixture(scope="module")
def test_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cohort") / "test"
    save_cohort(toy_cohort(12, seed=31), directory)
    return directory


def test_it_is_measured_in_the_cortex_against_the_slices_it_was_trained_on(
    subject: Subject, test_directory: Path
) -> None:
    validation, gates = validate_subject(subject, test_directory, numbers=FEW, workers=1)
    report = render_report(validation, subject.generator.manifest, gates)

    comparison, panel = validation.comparison, validation.panel
    assert comparison.conditions == CORTEX
    assert comparison.training is not None
    assert set(comparison.training.condition_index) == {condition.index for condition in CORTEX}
    assert comparison.floor_note == "fitted on the training cohort"
    for metric in ("mean_counts_ratio", "c2st_auc_inside_outline", "mean_counts_p_value"):
        found = panel.find(metric, "normal")
        assert found is not None
        assert found.value is not None
    assert panel.find("mean_counts_ratio", "CER/normal") is None
    memorised = panel.find("memorisation_share", "all")
    assert memorised is not None
    assert memorised.value is not None
    assert not gates.passed, "a gate without its condition fails"
    assert "COR/bilateral" in report


def test_it_is_never_released(run: RunDirectory, test_directory: Path, tmp_path: Path) -> None:
    lacking = re.escape("run taught was trained without CER/normal, CER/unilateral, BG/normal")
    with pytest.raises(RunError, match=f"{lacking}.*; validate it, or train with --dataset A"):
        release(run, test_directory, destination=tmp_path / "bundle", workers=1)
    assert not (tmp_path / "bundle").exists()


def test_a_cohort_without_its_level_is_refused(subject: Subject, tmp_path: Path) -> None:
    cohort = toy_cohort(8, seed=32)
    save_cohort(cohort.take((cohort.level != "COR").nonzero()[0]), tmp_path / "deep")
    with pytest.raises(CohortError, match="no slice of COR/normal, COR/unilateral, COR/bilateral, all that the model"):
        validate_subject(subject, tmp_path / "deep", numbers=FEW, workers=1)
