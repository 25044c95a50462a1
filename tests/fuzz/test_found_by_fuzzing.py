"""Faults that the fuzz test found once, each as its smallest file: none may come back."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from cohort.importing.deidentify import Pseudonyms
from cohort.importing.importer import ImportSettings, import_cohort
from cohort.importing.labels import load_labels
from spect.errors import CohortError, FormatError
from spect.formats import dicom, npy, picture
from tests.fuzz.arrays import npy_with_header
from tests.fuzz.case import case_rng
from tests.fuzz.nuclear_medicine import sound_file
from tests.fuzz.phantoms import head_slices
from tests.fuzz.pictures import tiff

_HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 32, 32)}"


def test_an_array_written_by_python_2_is_read_without_a_warning() -> None:
    counts = head_slices(case_rng("npy", 0, 0))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parsed = npy.read_counts(npy_with_header(_HEADER.replace("32", "32L"), counts.tobytes()))

    np.testing.assert_array_equal(parsed.counts, counts)


def test_a_dicom_attribute_of_a_width_its_kind_does_not_have_is_told_in_one_line() -> None:
    content = sound_file().replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00FL")

    with pytest.raises(FormatError, match=r"unreadable Rows \(0028,0010\)"):
        dicom.read_slices(content, name="the file")


def test_a_fax_is_no_scan_and_its_decoder_prints_nothing(capfd) -> None:
    page = tiff(np.ones((32, 32), dtype=np.uint8), tags={259: (3, 1, 4)})

    with pytest.raises(FormatError, match="compressed as documents or photographs are"):
        picture.read_slices(page)
    assert capfd.readouterr().err == ""


def test_a_scan_whose_counts_all_lie_outside_the_field_gives_no_empty_slice(tmp_path: Path) -> None:
    counts = np.zeros((1, 64, 64), dtype=np.uint8)
    counts[0, :2] = 1
    arrays = {"level": np.array("COR"), "pattern": np.array("normal"), "pixel_spacing_mm": np.array(10.0)}
    np.savez(tmp_path / "a.npz", counts=counts, **arrays)

    with pytest.raises(FormatError, match="1 of its slices lie outside the field of 256 mm"):
        import_cohort(tmp_path / "a.npz", ImportSettings(), Pseudonyms(key=bytes(32)))


@pytest.mark.parametrize(
    "tags", [{259: (3, 1, 8)}, {259: (3, 1, 5)}, {277: (3, 1, 7)}], ids=["deflate", "lzw", "samples"]
)
def test_a_broken_tiff_is_told_by_us_and_not_by_its_decoder(capfd, tags) -> None:
    page = tiff(np.full((32, 32), 200, dtype=np.uint8), tags=tags)

    with pytest.raises(FormatError, match=r"broken or cut-off|transparency"):
        picture.read_slices(page)
    assert capfd.readouterr().err == ""


@pytest.mark.timeout(10)
def test_a_table_of_fifty_thousand_columns_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,pattern" + ",x" * 50_000 + "\na.nii,normal\n")

    with pytest.raises(CohortError, match="row 1: the name in place 3"):
        load_labels(tmp_path / "labels.csv")


def test_a_few_kilobytes_that_claim_a_million_slices_are_refused_before_they_are_fitted(tmp_path: Path) -> None:
    counts = np.ones((1_000_000, 1, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", counts=counts, level=np.array("COR"), pattern=np.array("normal"))

    with pytest.raises(FormatError, match="holds 1000000 slices; at most 2048"):
        import_cohort(tmp_path / "a.npz", ImportSettings(), Pseudonyms(key=bytes(32)))
