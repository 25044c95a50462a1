"""The labels beside scans: read as people write them, every mistake told with its place."""

import os
import threading
import unicodedata
from pathlib import Path

import pytest

from cohort.importing.importer import ImportSettings, import_cohort
from cohort.importing.labels import load_labels
from spect.errors import CohortError
from tests.support.scan_files import run_import, write_volume


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
        write_volume(scans / name)
    labels = tmp_path / "labels.csv"
    labels.write_text(text)

    result = run_import(scans, tmp_path / "cohort", "--labels", labels)

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
    write_volume(tmp_path / "scans" / unicodedata.normalize("NFC", "Jürgen.nii"))
    labels = tmp_path / "labels.csv"
    labels.write_text(unicodedata.normalize("NFD", "file,pattern\nJürgen.nii,normal\n"), encoding="utf-8")

    _, report = import_cohort(tmp_path / "scans", ImportSettings(labels=labels), pseudonyms)

    assert (len(report.read), report.skipped) == (1, ())
