"""Everything below a source is read or told: nothing is lost in silence, whatever lies there."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cohort.importing.deidentify import Pseudonyms
from cohort.importing.importer import ImportSettings, import_cohort
from cohort.importing.sources import find_scans
from cohort.store import save_cohort
from spect.conditions import Level
from spect.errors import CohortError
from tests.support.nuclear_medicine import Stack, positron_series, write_files
from tests.support.toy_slices import toy_cohort

PSEUDONYMS = Pseudonyms(key=bytes(32))
NOBODY = 65534
ALL_NORMAL = ImportSettings(pattern="normal")


@pytest.fixture
def scans() -> Iterator[Path]:
    """A folder that every user may enter, with one scan in it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    _write(folder / "m.npz", seed=0)
    yield folder
    shutil.rmtree(folder)


def _write(path: Path, *, seed: int) -> None:
    counts = np.random.default_rng(seed).random((1, 64, 64), dtype=np.float32) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, counts=counts, level=np.array("COR"))


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Be a user whom rights hold back: root reads everything, modules not yet imported included."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)


def _reasons(folder: Path) -> dict[str, str]:
    return {one.name: one.reason for one in find_scans(folder).left_out}


def test_a_folder_and_a_file_that_may_not_be_read_are_told(scans) -> None:
    _write(scans / "locked" / "a.npz", seed=1)
    _write(scans / "z.npz", seed=2)
    (scans / "plain").write_bytes(b"perhaps DICOM")
    for name in ("locked", "z.npz", "plain"):
        (scans / name).chmod(0)

    find_scans(scans)
    with _without_privileges():
        found = find_scans(scans)

    (scans / "locked").chmod(stat.S_IRWXU)
    assert [(scan.name, scan.position) for scan in found.scans] == [("m.npz", 2)]
    assert not found.ignored
    assert [(one.name, one.position, one.reason) for one in found.left_out] == [
        ("locked", 1, "it is a folder that cannot be opened (Permission denied); check its rights"),
        ("plain", 3, "it cannot be read (Permission denied); check the path and its rights"),
        ("z.npz", 4, "it cannot be read (Permission denied); check the path and its rights"),
    ]


def test_links_to_nothing_and_to_themselves_and_pipes_are_told(scans) -> None:
    (scans / "gone.npz").symlink_to("nowhere")
    (scans / "self.npz").symlink_to("self.npz")
    os.mkfifo(scans / "pipe.npz")
    (scans / "zero.npz").symlink_to("/dev/zero")

    reasons = _reasons(scans)

    assert "link to nothing" in reasons["gone.npz"]
    assert "leads to no file" in reasons["self.npz"]
    assert "a pipe, a socket or a device" in reasons["pipe.npz"]
    assert "a pipe, a socket or a device" in reasons["zero.npz"]
    assert [scan.name for scan in find_scans(scans).scans] == ["m.npz"]


def test_a_linked_folder_is_read_once_by_its_own_name_where_it_lies_here_and_a_loop_ends(scans, tmp_path) -> None:
    _write(scans / "years" / "a.npz", seed=1)
    _write(tmp_path / "elsewhere" / "b.npz", seed=2)
    (scans / "a-link").symlink_to(scans / "years")
    (scans / "other").symlink_to(tmp_path / "elsewhere")
    (scans / "years" / "up").symlink_to(scans)

    found = find_scans(scans)

    assert [scan.name for scan in found.scans] == ["m.npz", "other/b.npz", "years/a.npz"]
    assert {one.name for one in found.left_out} == {"a-link", "years/up"}
    assert all("read already" in one.reason for one in found.left_out)


def test_a_cohort_somewhere_below_is_left_out_and_told(scans) -> None:
    save_cohort(toy_cohort(2, seed=1), scans / "more" / "made")

    _, report = import_cohort(scans, ALL_NORMAL, PSEUDONYMS)

    assert (report.slices, len(report.skipped)) == (1, 1)
    assert "it is a cohort, which is used as it is" in str(report.skipped[0].skipped)
    with pytest.raises(CohortError, match="gave no slice: scan 1 in the order of names: it is a cohort"):
        import_cohort(scans / "more", ALL_NORMAL, PSEUDONYMS)


def test_labels_that_name_what_cannot_be_read_are_right_and_say_which_row_it_was(scans) -> None:
    (scans / "gone.npz").symlink_to("nowhere")
    (scans / "notes.txt").write_text("none")
    save_cohort(toy_cohort(2, seed=1), scans / "made")
    labels = scans.parent / f"{scans.name}.csv"
    labels.write_text("file,pattern\ngone.npz,normal\nm.npz,normal\n")

    _, report = import_cohort(scans, ImportSettings(labels=labels), PSEUDONYMS)
    labels.write_text("file,pattern\nmade/slices.npz,normal\nnotes.txt,normal\nlost.nii,normal\n")
    with pytest.raises(CohortError) as caught:
        import_cohort(scans, ImportSettings(labels=labels), PSEUDONYMS)

    labels.unlink()
    assert report.skipped[0].place == "scan 1 (row 2 of the labels)"
    assert "row 2, column file: lies in what was not read: it is a cohort" in str(caught.value)
    assert "row 3, column file: a file that is no slices" in str(caught.value)
    assert "row 4, column file: not among the files to import" in str(caught.value)


def test_a_source_that_is_a_device_is_called_one() -> None:
    with pytest.raises(CohortError, match="/dev/null is a pipe, a socket or a device"):
        find_scans(Path("/dev/null"))


def test_a_series_that_was_exported_twice_is_found_as_a_copy(tmp_path) -> None:
    series = positron_series(stack=Stack(frames=24))
    for folder in ("first", "second"):
        write_files(series, tmp_path / "scans" / folder)
    settings = ImportSettings(pattern="normal", planes={Level.BASAL_GANGLIA: 0.0})

    cohort, report = import_cohort(tmp_path / "scans", settings, PSEUDONYMS)

    assert (len(cohort), report.skipped) == (2, ())
    assert report.duplicates == {"exact": 1}
