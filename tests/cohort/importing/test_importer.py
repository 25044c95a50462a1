"""Importing scans: what is read, labelled, skipped and told; patients stay whole and unnamed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cohort.importing.deidentify import KEY_NAME
from cohort.importing.importer import ImportSettings, Scaling, import_cohort
from cohort.store import load_cohort, save_cohort
from spect.conditions import Level
from spect.errors import CohortError, FormatError, InputError
from spect.formats import npz
from spect.quantify import quantify
from spect.slices import SyntheticBatch, mirror_left_right
from tests.support.nuclear_medicine import Stack, positron_series, write_files
from tests.support.scan_files import run_import, write_pictures, write_slices, write_volume
from tests.support.toy_slices import toy_cohort

TEMPLATE = Path(__file__).parents[4] / "shared" / "data" / "SPECT.nii"


@pytest.mark.skipif(not TEMPLATE.exists(), reason=f"the real template is not there: {TEMPLATE}")
def test_the_real_template_becomes_three_upright_nearly_symmetric_slices(tmp_path) -> None:
    result = run_import(TEMPLATE, tmp_path / "cohort", "--pattern", "normal")

    assert result.exit_code == 0, result.exception
    cohort = load_cohort(tmp_path / "cohort")
    assert cohort.level.tolist() == ["CER", "BG", "COR"]
    assert cohort.description.source == "acquired"
    ratio = quantify(cohort.counts, pixel_spacing_mm=2.0).left_right_ratio
    mirrored = quantify(mirror_left_right(cohort.counts), pixel_spacing_mm=2.0).left_right_ratio
    assert ((ratio > 0.97) & (ratio < 1.03)).all(), ratio
    np.testing.assert_allclose(mirrored, 1 / ratio, atol=0.003)


def test_a_directory_of_volumes_is_read_by_its_labels_and_the_rest_is_told(tmp_path) -> None:
    scans = tmp_path / "scans"
    (scans / "more").mkdir(parents=True)
    for name in ("ann.nii.gz", "bob.nii", "more/eve.nii"):
        write_volume(scans / name)
    (scans / "broken.nii").write_text("not a scan\n" * 50)
    (scans / "notes.txt").write_text("")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "file,level,pattern,patient\nann.nii.gz,,normal,A-1\nbob.nii,COR,bilateral,B-2\nbroken.nii,,normal,C-3\n"
    )

    result = run_import(scans, tmp_path / "cohort", "--labels", labels)

    assert result.exit_code == 0, result.exception
    cohort = load_cohort(tmp_path / "cohort")
    assert list(zip(cohort.level.tolist(), cohort.pattern.tolist(), strict=True)) == [
        ("CER", "normal"),
        ("BG", "normal"),
        ("COR", "normal"),
        ("COR", "bilateral"),
    ]
    assert "4 slices of 2 patients" in result.output
    assert "skipped: scan 3 (row 4 of the labels): the file is not" in result.output
    assert "broken" not in result.output
    assert "skipped: scan 4 in the order of names: no row of the labels names it" in result.output
    assert "ignored: 1 file without slices" in result.output


def test_labels_in_an_npz_are_kept_and_its_slices_are_fitted_into_the_field(tmp_path, pseudonyms) -> None:
    level = np.array(["CER", "BG", "COR"] * 2)
    write_slices(
        tmp_path / "a.npz",
        level=level,
        pattern=np.array(["normal"] * 6),
        patient=np.array(["x"] * 3 + ["y"] * 3),
        pixel_spacing_mm=np.array(4.0),
    )

    cohort, report = import_cohort(tmp_path / "a.npz", ImportSettings(), pseudonyms)

    assert cohort.counts.shape == (6, 128, 128)
    assert cohort.description.pixel_spacing_mm == 2.0
    assert cohort.level.tolist() == level.tolist()
    assert len(set(cohort.patient.tolist())) == 2
    assert report.patients == 2


def test_whole_cohort_scaling_keeps_counts_and_per_slice_scaling_is_recorded_and_warned_of(
    tmp_path, pseudonyms
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    write_volume(scans / "a.nii")
    write_volume(scans / "b.nii", scale=3.0)

    kept, _ = import_cohort(scans, ImportSettings(pattern="normal"), pseudonyms)
    scaled, report = import_cohort(scans, ImportSettings(pattern="normal", scaling=Scaling.PER_SLICE), pseudonyms)

    assert kept.counts[4].max() == pytest.approx(3 * kept.counts[1].max(), rel=1e-3)
    np.testing.assert_allclose(scaled.counts.max(axis=(1, 2)), 1)
    assert scaled.description.intensity_scaling == "per-slice"
    assert "own maximum" in report.warnings[0]


def test_a_bilateral_volume_gives_the_levels_that_exist_and_says_which_it_left_out(tmp_path, pseudonyms) -> None:
    write_volume(tmp_path / "a.nii")

    cohort, report = import_cohort(tmp_path / "a.nii", ImportSettings(pattern="bilateral"), pseudonyms)

    assert cohort.level.tolist() == ["BG", "COR"]
    assert any("CER x bilateral" in note for note in report.outcomes[0].notes)


def test_a_stack_that_names_no_patient_counts_as_one(tmp_path, pseudonyms) -> None:
    write_slices(tmp_path / "a.npz", level=np.array("COR"), pattern=np.array("normal"))

    cohort, report = import_cohort(tmp_path / "a.npz", ImportSettings(), pseudonyms)

    assert len(set(cohort.patient.tolist())) == 1
    assert set(cohort.split.tolist()) == {"train"}
    assert any("one patient's" in note for note in report.outcomes[0].notes)
    assert any("too few patients" in warning for warning in report.warnings)


def test_synthetic_slices_are_no_patients(tmp_path, pseudonyms) -> None:
    one = np.ones(1, dtype=np.int64)
    batch = SyntheticBatch(
        counts=np.ones((1, 64, 64), dtype=np.float32),
        level=np.array(["COR"]),
        pattern=np.array(["normal"]),
        seed=one,
        index=one,
        pixel_spacing_mm=4.0,
        model_version="1",
        model_sha256="ab",
    )
    npz.save_batch(batch, tmp_path / "a.npz")

    with pytest.raises(FormatError, match=r"a\.npz: it is synthetic"):
        import_cohort(tmp_path / "a.npz", ImportSettings(), pseudonyms)


def _old_slices(path: Path, **kept: np.ndarray) -> None:
    """A file of slices as cohorts were written before they bore a notice."""
    write_slices(path, level=np.array("COR"), pattern=np.array("normal"), **kept)


@pytest.mark.parametrize("kept", [{"split": np.array(["train"] * 6)}, {"truth_severity": np.zeros(6)}])
def test_a_piece_of_a_cohort_is_no_scan_as_acquired(tmp_path, pseudonyms, kept) -> None:
    save_cohort(toy_cohort(2, seed=3), tmp_path / "made")
    (tmp_path / "made" / "slices.npz").rename(tmp_path / "new.npz")
    _old_slices(tmp_path / "old.npz", **kept)
    with np.load(tmp_path / "new.npz") as archive:
        bare = {name: archive[name] for name in ("counts", "level", "pattern", "notice")}
    np.savez(tmp_path / "bare.npz", **bare)

    for name in ("new.npz", "old.npz", "bare.npz"):
        with pytest.raises(FormatError, match="it is a piece of a cohort, simulated or imported before"):
            import_cohort(tmp_path / name, ImportSettings(), pseudonyms)


def _no_counts(path: Path) -> None:
    np.savez(path, counts=np.zeros((2, 64, 64)), level=np.array("COR"))


def _nan(path: Path) -> None:
    np.savez(path, counts=np.full((2, 64, 64), np.nan), level=np.array("COR"))


def _negative(path: Path) -> None:
    np.savez(path, counts=np.full((2, 64, 64), -1.0), level=np.array("COR"))


def _none(path: Path) -> None:
    np.savez(path, counts=np.zeros((0, 64, 64)), level=np.array("COR"))


def _no_level(path: Path) -> None:
    np.savez(path, counts=np.ones((2, 64, 64)))


def _contradiction(path: Path) -> None:
    np.savez(path, counts=np.ones((2, 64, 64)), level=np.array("COR"), pattern=np.array("bilateral"))


def _truncated(path: Path) -> None:
    write_slices(path)
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_no_counts, "every slice is empty"),
        (_nan, "finite"),
        (_negative, "negative"),
        (_none, "shape"),
        (_no_level, "does not say its level"),
        (_contradiction, "it says pattern bilateral, the labels say normal"),
        (_truncated, "not a whole npz"),
    ],
)
def test_a_file_without_usable_slices_ends_in_one_line_and_no_cohort(tmp_path, write, words) -> None:
    write(tmp_path / "a.npz")

    result = run_import(tmp_path / "a.npz", tmp_path / "cohort", "--pattern", "normal")

    assert isinstance(result.exception, InputError)
    with pytest.raises(FormatError, match=rf"^a\.npz: .*{words}"):
        raise result.exception
    assert not (tmp_path / "cohort").exists()


def test_a_folder_without_scans_a_missing_one_and_a_cohort_are_refused(tmp_path, pseudonyms) -> None:
    (tmp_path / "empty").mkdir()
    write_volume(tmp_path / "a.nii")
    save_cohort(import_cohort(tmp_path / "a.nii", ImportSettings(pattern="normal"), pseudonyms)[0], tmp_path / "made")

    for source, words in (("empty", "holds no DICOM file"), ("gone", "does not exist"), ("made", "cohort already")):
        with pytest.raises(CohortError, match=words):
            import_cohort(tmp_path / source, ImportSettings(pattern="normal"), pseudonyms)


def test_a_folder_in_which_nothing_is_readable_says_why(tmp_path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.nii").write_text("text")

    result = run_import(scans, tmp_path / "cohort", "--pattern", "normal")

    with pytest.raises(CohortError, match=r"gave no slice: scan 1 in the order of names: the file is not"):
        raise result.exception


def test_other_peoples_files_are_never_written_over(tmp_path) -> None:
    write_volume(tmp_path / "a.nii")

    result = run_import(tmp_path / "a.nii", tmp_path, "--pattern", "normal")

    assert isinstance(result.exception, CohortError)
    assert {path.name for path in tmp_path.iterdir()} == {"a.nii"}


@pytest.mark.parametrize(
    "options",
    [["--pattern", "odd"], ["--planes", "TOP=3"], ["--planes", "COR"], ["--scaling", "none"], ["--seed", "-1"]],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path, options) -> None:
    result = run_import(tmp_path / "gone.nii", tmp_path / "cohort", *options)

    assert isinstance(result.exception, InputError)
    assert "gone" not in str(result.exception)


def test_a_picture_lies_as_the_labels_say_and_only_so(tmp_path, pseudonyms) -> None:
    rows = write_pictures(tmp_path / "scans", patients=1)
    labels = tmp_path / "labels.csv"
    settings = ImportSettings(labels=labels)
    labels.write_text("\n".join(rows))
    right, _ = import_cohort(tmp_path / "scans", settings, pseudonyms)
    labels.write_text("\n".join(rows).replace("image-right", "image-left"))
    left, _ = import_cohort(tmp_path / "scans", settings, pseudonyms)

    np.testing.assert_allclose(left.counts, mirror_left_right(right.counts), atol=0.01)
    assert right.description.intensity_unit == "8-bit gray values"
    for removed, words in (("image-right", "which side is the patient's left"), (",4,", "knows no pixel spacing")):
        labels.write_text("\n".join(rows).replace(removed, ",," if removed == ",4," else ""))
        with pytest.raises(CohortError, match=words):
            import_cohort(tmp_path / "scans", settings, pseudonyms)


def test_counts_and_becquerels_are_not_mixed(tmp_path, pseudonyms) -> None:
    (tmp_path / "scans").mkdir()
    for unit in ("Bq/mL", "counts per pixel"):
        write_slices(tmp_path / "scans" / f"{unit[:2]}.npz", level=np.array("COR"), intensity_unit=np.array(unit))

    with pytest.raises(CohortError, match=r"different units \(1 in Bq/mL, 1 in counts per pixel\)"):
        import_cohort(tmp_path / "scans", ImportSettings(pattern="normal"), pseudonyms)


def test_pictures_of_8_and_of_16_bits_are_not_mixed(tmp_path, pseudonyms) -> None:
    rows = write_pictures(tmp_path / "scans", patients=2)
    with Image.open(tmp_path / "scans" / "0001.png") as image:
        gray = np.asarray(image)
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "scans" / "0001.png")
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    with pytest.raises(CohortError, match=r"different units \(1 in 16-bit gray values, 1 in 8-bit gray values\)"):
        import_cohort(tmp_path / "scans", ImportSettings(labels=tmp_path / "labels.csv"), pseudonyms)


def test_quantified_flow_is_taken_in_its_own_unit(tmp_path, pseudonyms) -> None:
    write_slices(tmp_path / "a.npz", level=np.array("COR"), intensity_unit=np.array("mL/100g/min"))

    cohort, _ = import_cohort(tmp_path / "a.npz", ImportSettings(pattern="normal"), pseudonyms)

    assert cohort.description.intensity_unit == "mL/100g/min"


def test_standardised_uptake_is_not_mixed_with_becquerels_nor_taken_for_them(tmp_path, pseudonyms) -> None:
    for name, unit in (("a", "GML"), ("b", "BQML")):
        series = positron_series(stack=Stack(frames=24))
        for dataset in series:
            dataset.Units = unit
        write_files(series, tmp_path / "scans" / name)
    settings = ImportSettings(pattern="normal", planes={Level.BASAL_GANGLIA: 0.0})

    with pytest.raises(CohortError, match=r"different units \(1 in Bq/mL, 1 in g/mL \(SUV, BW\)\)"):
        import_cohort(tmp_path / "scans", settings, pseudonyms)
    alone, report = import_cohort(tmp_path / "scans" / "a", settings, pseudonyms)

    assert alone.description.intensity_unit == "g/mL (SUV, BW)"
    assert not any("no intensity unit" in warning for warning in report.warnings)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_import_leaves_nothing_and_the_next_one_succeeds(tmp_path, home, how) -> None:
    rows = write_pictures(tmp_path / "scans", patients=1500)
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", "from synspect.cli import main; main()", "cohort", "import"]
    command += [str(tmp_path / "scans"), str(out / "cohort"), "--labels", str(tmp_path / "labels.csv")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    key = home / KEY_NAME
    while not key.exists():  # made when reading begins
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(how)

    assert process.wait(timeout=60) != 0
    assert list(out.iterdir()) == []
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert [path.name for path in out.iterdir()] == ["cohort"]
    assert len(load_cohort(out / "cohort")) == 1500
