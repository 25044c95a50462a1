"""The study end to end on toy patients: killed while it trains, gone on with by the same command, reported."""

import re
import shutil
from pathlib import Path

import paper_study
import pytest
from study.results import Study

from cohort.store import save_cohort
from tests.support.killed import kill_in_training
from tests.support.toy_slices import toy_cohort
from training.run import RunDirectory

TAUGHT, TRAINED = "A-ours-seed4", "B-paper-seed4"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cohorts")
    save_cohort(toy_cohort(16, seed=51, split="train", name="paper"), directory / "train")
    save_cohort(toy_cohort(10, seed=52), directory / "test")
    return directory


@pytest.mark.slow
@pytest.mark.e2e
def test_a_study_that_is_killed_goes_on_and_reports_what_is_done(
    taught_run: RunDirectory, cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(tmp_path / "study")
    shutil.copytree(taught_run.path, study.runs / TAUGHT)  # trained already, and good enough to be measured
    run, measured = RunDirectory(study.runs / TRAINED), study.path / "results" / f"{TAUGHT}.json"
    where = ["run", str(study.path), "--train", str(taught_run.path.parent / "train"), "--test", str(cohorts / "test")]
    size = ["--width", "2", "--images", "80", "--seeds", "4", "--quick", "--workers", "1"]
    command = [*where, *size, "--only", TAUGHT, "--only", TRAINED]

    kill_in_training(paper_study.__file__, command, run)
    begun, first = run.record().created_at, measured.stat().st_mtime_ns
    assert run.has_died()
    assert [result.arm.name for result in study.results()] == [TAUGHT]

    assert paper_study.main(command) == 0
    assert paper_study.main(command) == 0

    assert run.record().created_at == begun, "it was trained on, not anew"
    assert measured.stat().st_mtime_ns == first, "what is done is not done again"
    done = {result.arm.name: result for result in study.results()}
    assert list(done) == [TAUGHT, TRAINED]
    taught, trained = done.values()
    assert taught.outcome == "measured", taught.reason
    assert taught.find("mean_counts_ratio", "CER/normal") is not None
    assert len(taught.against_training) == 6
    assert trained.outcome != "measured" or trained.panel is not None
    assert trained.images_seen == 80
    assert trained.training_hours > 0
    text = (study.path / "report.md").read_text(encoding="utf-8")
    assert "64 × 64 pixels (author's code 256 × 256), width 2 (64), 80 images seen by every arm" in text
    assert "1 × author's code on B" in text
    assert all((study.figures / name).stat().st_size > 5000 for name in ("equivalence.png", "told-apart.png"))

    capsys.readouterr()
    assert paper_study.main([*command, "--dry-run"]) == 0
    assert "2 arms, 0.0 h on one core by the arms that are done" in capsys.readouterr().out
    assert paper_study.main([*command, "--images", "320"]) == 2
    assert "holds a study with scale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--matrix", "96"], "the study runs at matrix 64 or 128, got 96"),
        (["--seeds", "1", "1"], "seeds must be different whole numbers"),
        (["--only", "C-*"], r"no arm is called C-\*; --dry-run without --only lists their names"),
        (["--only", "*", "--ablation", "lecam_wait=0"], "there is no setting 'lecam_wait'; did you mean lecam_weight"),
        (["--train", "nowhere"], "nowhere is not a directory; make a cohort"),
        (["--images-per-second", "0"], "--images-per-second must be positive"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    where = ["--train", str(cohorts / "train"), "--test", str(cohorts / "test")]

    code = paper_study.main(["run", str(tmp_path / "study"), *where, *more])

    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert re.search(words, said)
    assert not (tmp_path / "study").exists()


def test_the_cohort_of_training_cannot_be_the_one_of_the_test(
    cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = str(cohorts / "train")

    assert paper_study.main(["run", str(tmp_path / "study"), "--train", train, "--test", train]) == 2

    assert "this is the cohort the model was trained on" in capsys.readouterr().err


def test_a_report_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper_study.main(["report", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_plan_is_printed_with_hours_and_writes_nothing(
    cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--train", str(cohorts / "train"), "--test", str(cohorts / "test")]

    code = paper_study.main(
        ["run", str(tmp_path / "study"), *where, "--seeds", "0", "--images", "79200", "--only", "A-ours-*", "--dry-run"]
    )

    out = capsys.readouterr().out
    assert code == 0
    assert "not begun    1.10 h" in out, "79,200 images at 22 a second are an hour; the validation comes on top"
    assert "1 arms, 1.1 h on one core" in out
    assert not (tmp_path / "study").exists()
