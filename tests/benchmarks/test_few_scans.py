"""Few scans end to end on toy patients: stopped, gone on with by the same command, reported; and what is refused."""

import json
import re
import shutil
from pathlib import Path

import few_scans
import numpy as np
import pytest
from tenth.cut import cut_tenth, select_site
from tenth.results import Tenths
from tenth.scans import MeasuredScans
from tenth.seeds import teach_all

from cohort.store import load_cohort, save_cohort
from spect.slices import FIELD_MM
from tests.support.killed import kill_in_training
from tests.support.toy_slices import honest_sample, reference_sample, toy_cohort
from training.run import RunDirectory
from training.validation.pattern_classifier import LabelledSlices

SMALL = ["--images", "32", "--width", "2", "--slices", "8", "--principal-scores", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cohorts")
    save_cohort(toy_cohort(30, seed=61, split="train", name="paper"), directory / "train")
    save_cohort(toy_cohort(8, seed=62), directory / "test")
    return directory


def _command(cohorts: Path, work: Path, *more: str) -> list[str]:
    return ["run", str(work), "--train", str(cohorts / "train"), "--test", str(cohorts / "test"), *SMALL, *more]


def test_what_is_done_is_kept_what_was_trained_is_not_trained_again_and_the_report_tells(
    taught_run: RunDirectory, cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenths = Tenths(tmp_path / "few")
    shutil.copytree(taught_run.path, tenths.run_path(0))  # trained already, and killed before its slices were judged
    command = _command(cohorts, tenths.path, "--seeds", "0")

    assert few_scans.main(command) == 0
    written = tenths.result_path(0).stat().st_mtime_ns
    assert few_scans.main(command) == 0

    assert tenths.result_path(0).stat().st_mtime_ns == written
    (result,) = tenths.results()
    assert result.outcome == "measured", result.reason
    assert set(result.lessons) == {"few", "few_synthetic", "few_gaussian", "all", "synthetic"}
    assert result.images_seen == 960, "of the training that was there"
    assert result.slices_synthetic == 8 * 8
    assert result.slices_judged == 8 * 8
    assert result.slices_few + result.slices_rest == 8 * 30
    tenth = load_cohort(tenths.cohort_path(0))
    assert tenth.description.fingerprint == result.tenth_fingerprint
    assert not set(tenth.patient) & set(load_cohort(cohorts / "test").patient)
    assert "over 1 seed (5 are asked for): one seed has no interval" in capsys.readouterr().out

    assert few_scans.main([*command, "--dry-run"]) == 0
    assert "to train on, fewest 3 of CER/normal; done, 0.00 h" in capsys.readouterr().out
    assert few_scans.main([*command, "--images", "64"]) == 2
    assert "holds a study with scale" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.e2e
def test_a_seed_that_is_killed_in_its_training_goes_on_where_it_was(cohorts: Path, tmp_path: Path) -> None:
    tenths = Tenths(tmp_path / "few")
    run, command = RunDirectory(tenths.run_path(3)), _command(cohorts, tenths.path, "--seeds", "3", "--images", "160")

    kill_in_training(few_scans.__file__, command, run)
    begun, cut = run.record().created_at, tenths.cohort_path(3).stat().st_mtime_ns
    assert run.has_died()
    assert tenths.results() == []

    assert few_scans.main(command) == 0

    assert run.record().created_at == begun, "it was trained on, not anew"
    assert tenths.cohort_path(3).stat().st_mtime_ns == cut
    (result,) = tenths.results()
    assert result.images_seen == 160
    assert result.training_hours > 0
    assert {"few", "few_gaussian", "all"} <= result.lessons.keys()
    assert (result.reason is None) == ("few_synthetic" in result.lessons)


def test_another_cohort_where_the_tenth_should_lie_is_refused_before_training(
    cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenths = Tenths(tmp_path / "few")
    save_cohort(toy_cohort(8, seed=9), tenths.cohort_path(0))
    assert few_scans.main(_command(cohorts, tenths.path, "--seeds", "0")) == 2
    assert "the cut has changed since" in capsys.readouterr().err
    assert not tenths.run_path(0).exists()


def test_a_damaged_result_is_named(cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tenths = Tenths(tmp_path / "few")
    assert few_scans.main(["report", str(tenths.path)]) == 2
    assert "few-scans.json cannot be read" in capsys.readouterr().err

    tenths.result_path(0).parent.mkdir(parents=True)
    tenths.result_path(0).write_text(json.dumps({"seed": 0}), encoding="utf-8")
    assert few_scans.main(_command(cohorts, tenths.path, "--dry-run")) == 2
    assert "seed0.json: outcome is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seeds", "1", "1"], "seeds must be different whole numbers"),
        (["--slices", "2"], "--slices must be at least 3"),
        (["--images", "0"], "images must be from 1"),
        (
            ["--principal-scores", "40"],
            r"seed 0 leaves a level \d+ training slices, 40 principal scores need 80; lower",
        ),
        (["--train", "nowhere"], "nowhere is not a directory; make a cohort"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--images-per-second", "nan"], "--images-per-second must be positive"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    code = few_scans.main(_command(cohorts, tmp_path / "few", *more))

    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert re.search(words, said)
    assert not (tmp_path / "few").exists()


def test_the_cohort_that_is_cut_cannot_be_the_one_that_judges(
    cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = str(cohorts / "train")
    assert few_scans.main(["run", str(tmp_path / "few"), "--train", train, "--test", train]) == 2
    assert "this is the cohort the model was trained on" in capsys.readouterr().err


def test_slices_of_a_perfect_generator_help_a_few_scans_nearly_as_much_as_scans_and_the_rest_is_the_ceiling() -> None:
    site = select_site(toy_cohort(40, seed=63, split="train", name="paper"))
    known = reference_sample()  # 40 a condition, in the order of the toy cohort
    assert np.array_equal(known.condition_index, site.condition_index)
    assert site.matrix * site.description.pixel_spacing_mm == FIELD_MM
    judged = honest_sample()
    perfect = LabelledSlices.of(judged.take(np.arange(0, len(judged), 2)))
    scans = MeasuredScans(
        site=LabelledSlices.of(known), judged=LabelledSlices.of(judged.take(np.arange(1, len(judged), 2)))
    )

    lessons = teach_all(scans, cut_tenth(site, 0), perfect, per_condition=20, seed=0)

    few = lessons["few"]
    for more in ("few_synthetic", "all"):
        assert lessons[more].balanced_accuracy > few.balanced_accuracy + 0.05
        assert lessons[more].auc > few.auc + 0.05
    assert lessons["few_gaussian"].balanced_accuracy < lessons["few_synthetic"].balanced_accuracy
    without = teach_all(scans, cut_tenth(site, 0), None, per_condition=20, seed=0)
    assert without == {name: lessons[name] for name in ("few", "few_gaussian", "all")}
