"""Patients stay whole, apart and unnamed: one pseudonym a key, one split a patient, conflicts told."""

import json
import stat

import numpy as np
import pytest

from cohort.importing.deidentify import KEY_NAME, load_pseudonyms
from cohort.importing.importer import ImportSettings, import_cohort
from cohort.importing.report import REPORT_NAME
from cohort.importing.splits import split_patients
from spect.conditions import Level
from spect.errors import CohortError
from tests.support.nuclear_medicine import Stack, positron_series, write_files
from tests.support.scan_files import run_import, write_pictures, write_volume


def test_patients_and_file_names_never_reach_the_cohort(tmp_path, home) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    write_volume(scans / "Doe_Jane.nii")
    (scans / "Roe_Richard.nii").write_text("broken")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,pattern,patient\nDoe_Jane.nii,normal,Jane Doe 1960\nRoe_Richard.nii,normal,Richard\n")

    run_import(scans, tmp_path / "cohort", "--labels", labels)

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


def test_patients_who_share_a_scan_are_kept_in_one_split(tmp_path, pseudonyms) -> None:
    rows = write_pictures(tmp_path / "scans", patients=40)
    for copy in range(20, 40):
        (tmp_path / "scans" / f"{copy:04d}.png").write_bytes((tmp_path / "scans" / f"{copy - 20:04d}.png").read_bytes())
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    cohort, report = import_cohort(tmp_path / "scans", ImportSettings(labels=tmp_path / "labels.csv"), pseudonyms)

    assert report.duplicates == {"exact": 20}
    assert cohort.split[:20].tolist() == cohort.split[20:].tolist()
    assert set(cohort.split.tolist()) == {"train", "selection", "test"}


def test_one_scan_under_two_labels_is_told_and_its_patients_share_a_split(tmp_path, pseudonyms) -> None:
    rows = write_pictures(tmp_path / "scans", patients=40)
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
    rows = write_pictures(tmp_path / "scans", patients=3)
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
