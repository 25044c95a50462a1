"""Importing scans: what is read, labelled, skipped and told; patients stay whole and unnamed."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cohort.importing.deidentify import KEY_NAME, load_pseudonyms
from cohort.importing.importer import ImportSettings, Scaling, import_cohort
from cohort.importing.labels import load_labels
from cohort.importing.report import REPORT_NAME
from cohort.importing.splits import split_patients
from cohort.store import load_cohort, save_cohort
from spect.conditions import Level
from spect.errors import CohortError, FormatError, InputError
from spect.formats import npz
from spect.quantify import quantify
from spect.slices import SyntheticBatch, mirror_left_right
from synspect.commands.cohort_import import import_scans
from tests.support.nuclear_medicine import Stack, positron_series, write_files
from tests.support.toy_slices import toy_cohort

TEMPLATE = Path(__file__).parents[4] / "shared" / "data" / "SPECT.nii"

app = typer.Typer()
app.command()(import_scans)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SYNSPECT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pseudonyms(home):
    return load_pseudonyms(home)


def _write_volume(path: Path, *, scale: float = 1.0) -> None:
    """A head-sized ellipsoid in 4 mm voxels, brighter on the patient's left."""
    x, y, z = np.meshgrid(
        *(np.arange(n) * 4.0 - offset for n, offset in ((46, 90), (55, 126), (46, 72))), indexing="ij"
    )
    inside = (x / 65) ** 2 + ((y + 18) / 85) ** 2 + (z / 75) ** 2 < 1
    voxels = (inside * np.where(x < 0, 110, 100) * scale).astype(np.float32)
    affine = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def _write_slices(path: Path, n: int = 6, **labels: np.ndarray) -> np.ndarray:
    counts = np.random.default_rng(n).random((n, 64, 64), dtype=np.float32) + 1
    np.savez(path, counts=counts, **labels)
    return counts


def _run(*arguments: str | Path):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.skipif(not TEMPLATE.exists(), reason=f"the real template is not there: {TEMPLATE}")
def test_the_real_template_becomes_three_upright_nearly_symmetric_slices(tmp_path) -> None:
    result = _run(TEMPLATE, tmp_path / "cohort", "--pattern", "normal")

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
        _write_volume(scans / name)
    (scans / "broken.nii").write_text("not a scan\n" * 50)
    (scans / "notes.txt").write_text("")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "file,level,pattern,patient\nann.nii.gz,,normal,A-1\nbob.nii,COR,bilateral,B-2\nbroken.nii,,normal,C-3\n"
    )

    result = _run(scans, tmp_path / "cohort", "--labels", labels)

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


def test_patients_and_file_names_never_reach_the_cohort(tmp_path, home) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    _write_volume(scans / "Doe_Jane.nii")
    (scans / "Roe_Richard.nii").write_text("broken")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,pattern,patient\nDoe_Jane.nii,normal,Jane Doe 1960\nRoe_Richard.nii,normal,Richard\n")

    _run(scans, tmp_path / "cohort", "--labels", labels)

    for path in (tmp_path / "cohort").iterdir():
        content = path.read_bytes()
        for encoding in ("utf-8", "utf-32-le"):
            for secret in ("Jane", "Doe", "Richard", "Roe"):
                assert secret.encode(encoding) not in content, path
    key = home / KEY_NAME
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    report = json.loads((tmp_path / "cohort" / REPORT_NAME).read_text())
    assert (len(report["read"]), len(report["skipped"]), report["slices"]) == (1, 1, 3)
    assert [one["place"] for one in report["read"] + report["skipped"]] == [
        "scan 1 (row 2 of the labels)",
        "scan 2 (row 3 of the labels)",
    ]


def test_a_patient_keeps_the_pseudonym_under_one_key_and_loses_it_under_another(home, tmp_path) -> None:
    first = load_pseudonyms(home).patient("Jane Doe")

    assert load_pseudonyms(home).patient(" Jane Doe ") == first
    assert load_pseudonyms(tmp_path / "other").patient("Jane Doe") != first
    assert load_pseudonyms(home).patient("Jane Do") != first


def test_a_damaged_key_is_not_replaced_in_silence(home) -> None:
    load_pseudonyms(home)
    (home / KEY_NAME).write_bytes(b"short")

    with pytest.raises(CohortError, match=r"import\.key is damaged: 5 bytes"):
        load_pseudonyms(home)


def test_labels_in_an_npz_are_kept_and_its_slices_are_fitted_into_the_field(tmp_path, pseudonyms) -> None:
    level = np.array(["CER", "BG", "COR"] * 2)
    _write_slices(
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
    _write_volume(scans / "a.nii")
    _write_volume(scans / "b.nii", scale=3.0)

    kept, _ = import_cohort(scans, ImportSettings(pattern="normal"), pseudonyms)
    scaled, report = import_cohort(scans, ImportSettings(pattern="normal", scaling=Scaling.PER_SLICE), pseudonyms)

    assert kept.counts[4].max() == pytest.approx(3 * kept.counts[1].max(), rel=1e-3)
    np.testing.assert_allclose(scaled.counts.max(axis=(1, 2)), 1)
    assert scaled.description.intensity_scaling == "per-slice"
    assert "own maximum" in report.warnings[0]


def test_a_bilateral_volume_gives_the_levels_that_exist_and_says_which_it_left_out(tmp_path, pseudonyms) -> None:
    _write_volume(tmp_path / "a.nii")

    cohort, report = import_cohort(tmp_path / "a.nii", ImportSettings(pattern="bilateral"), pseudonyms)

    assert cohort.level.tolist() == ["BG", "COR"]
    assert any("CER x bilateral" in note for note in report.outcomes[0].notes)


def test_a_stack_that_names_no_patient_counts_as_one(tmp_path, pseudonyms) -> None:
    _write_slices(tmp_path / "a.npz", level=np.array("COR"), pattern=np.array("normal"))

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
    _write_slices(path, level=np.array("COR"), pattern=np.array("normal"), **kept)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "file,pattern\na.nii,norml\nb.nii,\n",
            "row 2, column pattern: is none of normal.*row 3, column pattern: is",
        ),
        (
            "file,level,pattern\na.nii,CER,bilateral\nb.nii,TOP,normal\n",
            "row 2, column level: CER x bi.*row 3, column level",
        ),
        (
            "file,pattern\na.nii,normal\na.nii,normal\n,normal\n",
            "row 3, column file: is named in row 2 already.*row 4, column file: is",
        ),
        ("file,pattern\na.nii\n", "row 2: 1 cells where the header has 2"),
        ("name,pattern\na.nii,normal\n", "row 1: column file missing; the name in place 1 is unknown"),
        ("file;pattern\na.nii;normal\n", "row 1: column file and pattern missing"),
        ("file,pattern,pattern\n", "column pattern twice"),
        ("", "column file and pattern missing"),
        ("file,pattern\n", "no file is named"),
        ('file,pattern\n"a.nii,normal\n', "is not a CSV file"),
        ("file,pattern\nc.nii,normal\n", "row 2, column file: not among the files"),
        (
            "file,pattern\nc.nii,norml\na.nii,normal\nd.nii,normal\nb.nii,\n",
            "row 2, column pattern: is none.*row 2, column file: not among.*row 4, column file: not.*row 5, column pat",
        ),
    ],
)
def test_every_mistake_in_the_labels_is_told_at_once_with_its_place(tmp_path, text, words) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a.nii", "b.nii"):
        _write_volume(scans / name)
    labels = tmp_path / "labels.csv"
    labels.write_text(text)

    result = _run(scans, tmp_path / "cohort", "--labels", labels)

    with pytest.raises(CohortError, match=words):
        raise result.exception
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "cohort").exists()


def test_a_spreadsheet_saved_on_windows_is_read(tmp_path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_bytes("\ufefffile,pattern\r\nmore\\eve.nii , normal \r\n\r\n".encode())

    assert load_labels(labels).labels["more/eve.nii"].pattern == "normal"
    labels.write_bytes("file,pattern\nJürgen.nii,normal\n".encode("latin-1"))
    with pytest.raises(CohortError, match="not UTF-8"):
        load_labels(labels)


def test_a_thousand_mistakes_are_counted_and_not_all_printed(tmp_path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,pattern\n" + "".join(f"{i}.nii,x\n" for i in range(1000)))

    with pytest.raises(CohortError, match="and 980 more"):
        load_labels(labels).raise_all()


@pytest.mark.timeout(60)
def test_labels_from_a_device_without_an_end_are_refused(tmp_path) -> None:
    with pytest.raises(CohortError, match="/dev/zero has more than 67108864 bytes"):
        load_labels(Path("/dev/zero"))


def test_labels_from_a_pipe_are_read(tmp_path) -> None:
    os.mkfifo(tmp_path / "labels")
    writer = threading.Thread(target=(tmp_path / "labels").write_text, args=("file,pattern\na.nii,normal\n",))
    writer.start()

    assert load_labels(tmp_path / "labels").labels["a.nii"].pattern == "normal"
    writer.join()


def test_an_umlaut_written_as_two_letters_names_the_file_written_with_one(tmp_path, pseudonyms) -> None:
    (tmp_path / "scans").mkdir()
    _write_volume(tmp_path / "scans" / unicodedata.normalize("NFC", "Jürgen.nii"))
    labels = tmp_path / "labels.csv"
    labels.write_text(unicodedata.normalize("NFD", "file,pattern\nJürgen.nii,normal\n"), encoding="utf-8")

    _, report = import_cohort(tmp_path / "scans", ImportSettings(labels=labels), pseudonyms)

    assert (len(report.read), report.skipped) == (1, ())


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
    _write_slices(path)
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

    result = _run(tmp_path / "a.npz", tmp_path / "cohort", "--pattern", "normal")

    assert isinstance(result.exception, InputError)
    with pytest.raises(FormatError, match=rf"^a\.npz: .*{words}"):
        raise result.exception
    assert not (tmp_path / "cohort").exists()


def test_a_folder_without_scans_a_missing_one_and_a_cohort_are_refused(tmp_path, pseudonyms) -> None:
    (tmp_path / "empty").mkdir()
    _write_volume(tmp_path / "a.nii")
    save_cohort(import_cohort(tmp_path / "a.nii", ImportSettings(pattern="normal"), pseudonyms)[0], tmp_path / "made")

    for source, words in (("empty", "holds no DICOM file"), ("gone", "does not exist"), ("made", "cohort already")):
        with pytest.raises(CohortError, match=words):
            import_cohort(tmp_path / source, ImportSettings(pattern="normal"), pseudonyms)


def test_a_folder_in_which_nothing_is_readable_says_why(tmp_path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.nii").write_text("text")

    result = _run(scans, tmp_path / "cohort", "--pattern", "normal")

    with pytest.raises(CohortError, match=r"gave no slice: scan 1 in the order of names: the file is not"):
        raise result.exception


def test_other_peoples_files_are_never_written_over(tmp_path) -> None:
    _write_volume(tmp_path / "a.nii")

    result = _run(tmp_path / "a.nii", tmp_path, "--pattern", "normal")

    assert isinstance(result.exception, CohortError)
    assert {path.name for path in tmp_path.iterdir()} == {"a.nii"}


@pytest.mark.parametrize(
    "options",
    [["--pattern", "odd"], ["--planes", "TOP=3"], ["--planes", "COR"], ["--scaling", "none"], ["--seed", "-1"]],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path, options) -> None:
    result = _run(tmp_path / "gone.nii", tmp_path / "cohort", *options)

    assert isinstance(result.exception, InputError)
    assert "gone" not in str(result.exception)


def test_patients_are_split_whole_and_each_pattern_in_the_same_shares() -> None:
    patient = np.array([f"{i // 3}" for i in range(3 * 200)])
    pattern = np.array(["normal"] * 300 + ["unilateral"] * 300)

    split = split_patients(patient, pattern, seed=1)

    for name in set(patient.tolist()):
        assert len(set(split[patient == name].tolist())) == 1
    for word in ("normal", "unilateral"):
        shares = [(split[pattern == word] == name).mean() for name in ("train", "selection", "test")]
        assert shares == [0.65, 0.15, 0.2]
    np.testing.assert_array_equal(split, split_patients(patient, pattern, seed=1))
    assert (split != split_patients(patient, pattern, seed=2)).any()


def _pictures(folder: Path, *, patients: int) -> list[str]:
    """One gray picture a patient, and the rows of their labels."""
    folder.mkdir(exist_ok=True)
    rows = ["file,pattern,level,patient,pixel_spacing_mm,left"]
    for patient in range(patients):
        gray = np.random.default_rng(patient).integers(1, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(gray).save(folder / f"{patient:04d}.png")
        rows.append(f"{patient:04d}.png,normal,COR,{patient},4,image-right")
    return rows


def test_a_picture_lies_as_the_labels_say_and_only_so(tmp_path, pseudonyms) -> None:
    rows = _pictures(tmp_path / "scans", patients=1)
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


def test_patients_who_share_a_scan_are_kept_in_one_split(tmp_path, pseudonyms) -> None:
    rows = _pictures(tmp_path / "scans", patients=40)
    for copy in range(20, 40):
        (tmp_path / "scans" / f"{copy:04d}.png").write_bytes((tmp_path / "scans" / f"{copy - 20:04d}.png").read_bytes())
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    cohort, report = import_cohort(tmp_path / "scans", ImportSettings(labels=tmp_path / "labels.csv"), pseudonyms)

    assert report.duplicates == {"exact": 20}
    assert cohort.split[:20].tolist() == cohort.split[20:].tolist()
    assert set(cohort.split.tolist()) == {"train", "selection", "test"}


def test_one_scan_under_two_labels_is_told_and_its_patients_share_a_split(tmp_path, pseudonyms) -> None:
    rows = _pictures(tmp_path / "scans", patients=40)
    for copy in range(20, 40):
        (tmp_path / "scans" / f"{copy:04d}.png").write_bytes((tmp_path / "scans" / f"{copy - 20:04d}.png").read_bytes())
        rows[copy + 1] = rows[copy + 1].replace("normal", "unilateral")
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    cohort, report = import_cohort(tmp_path / "scans", ImportSettings(labels=tmp_path / "labels.csv"), pseudonyms)

    assert report.duplicates == {"exact": 20}
    assert cohort.split[:20].tolist() == cohort.split[20:].tolist()
    assert any("20 slices copied exactly from a slice with another level" in warning for warning in report.warnings)
    assert report.outcomes[20].notes[-1] == "COR: exact copy of an earlier slice with another label"


def test_a_patient_of_two_patterns_is_told(tmp_path, pseudonyms) -> None:
    rows = _pictures(tmp_path / "scans", patients=3)
    rows[2] = "0001.png,unilateral,COR,0,4,image-right"
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    _, report = import_cohort(tmp_path / "scans", ImportSettings(labels=tmp_path / "labels.csv"), pseudonyms)

    assert any(warning.startswith("1 patient with more than one pattern") for warning in report.warnings)
    told = ["another pattern" in " ".join(outcome.notes) for outcome in report.outcomes]
    assert told == [True, True, False]


@pytest.mark.parametrize(
    ("other", "patients", "warned"),
    [
        ({}, 1, False),
        ({"PatientBirthDate": "19440404"}, 1, True),
        ({"IssuerOfPatientID": "OTHER"}, 2, False),
    ],
)
def test_one_number_of_two_people_is_kept_apart_or_told(tmp_path, pseudonyms, other, patients, warned) -> None:
    for folder, values in (("a", {}), ("b", other)):
        series = positron_series(stack=Stack(frames=24))
        for dataset in series:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)
        write_files(series, tmp_path / "scans" / folder)

    cohort, report = import_cohort(
        tmp_path / "scans", ImportSettings(pattern="normal", planes={Level.BASAL_GANGLIA: 0.0}), pseudonyms
    )

    assert len(set(cohort.patient.tolist())) == patients
    assert any("different birth dates" in warning for warning in report.warnings) is warned
    assert "1944" not in json.dumps(report.to_dict())


def test_counts_and_becquerels_are_not_mixed(tmp_path, pseudonyms) -> None:
    (tmp_path / "scans").mkdir()
    for unit in ("Bq/mL", "counts per pixel"):
        _write_slices(tmp_path / "scans" / f"{unit[:2]}.npz", level=np.array("COR"), intensity_unit=np.array(unit))

    with pytest.raises(CohortError, match=r"different units \(1 in Bq/mL, 1 in counts per pixel\)"):
        import_cohort(tmp_path / "scans", ImportSettings(pattern="normal"), pseudonyms)


def test_pictures_of_8_and_of_16_bits_are_not_mixed(tmp_path, pseudonyms) -> None:
    rows = _pictures(tmp_path / "scans", patients=2)
    with Image.open(tmp_path / "scans" / "0001.png") as image:
        gray = np.asarray(image)
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "scans" / "0001.png")
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    with pytest.raises(CohortError, match=r"different units \(1 in 16-bit gray values, 1 in 8-bit gray values\)"):
        import_cohort(tmp_path / "scans", ImportSettings(labels=tmp_path / "labels.csv"), pseudonyms)


def test_quantified_flow_is_taken_in_its_own_unit(tmp_path, pseudonyms) -> None:
    _write_slices(tmp_path / "a.npz", level=np.array("COR"), intensity_unit=np.array("mL/100g/min"))

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
    rows = _pictures(tmp_path / "scans", patients=1500)
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
