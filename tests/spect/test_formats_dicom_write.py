"""Synthetic slices as DICOM: conformant, marked, unrelated to each other, and read back within the error they state."""

import io
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from spect.errors import FormatError
from spect.formats import dicom, dicom_write
from spect.formats.heading import write_whole
from spect.formats.reader import parse_slices
from spect.formats.units import FLOW_UNIT
from spect.quantify import quantify
from spect.slices import SyntheticBatch
from tests.support import nuclear_medicine
from tests.support.phantom import brain_phantom, one_sided


@pytest.fixture(scope="module")
def batch() -> SyntheticBatch:
    counts = np.stack([brain_phantom(matrix=64, angle_deg=a, noise=0.02, defect=one_sided(0.6)).counts for a in (0, 4)])
    return SyntheticBatch(
        counts=np.concatenate([counts, counts[:1] * 0.01]).astype(np.float32),
        level=np.array(["COR", "COR", "BG"]),
        pattern=np.array(["unilateral"] * 3),
        seed=np.full(3, 7),
        index=np.array([0, 1, 0]),
        pixel_spacing_mm=4.0,
        model_version="3",
        model_sha256="ab" * 32,
        intensity_unit=FLOW_UNIT,
    )


@pytest.fixture(scope="module")
def archive(batch: SyntheticBatch) -> bytes:
    return write_whole(dicom_write.write, batch)


def objects(archive: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [opened.read(name) for name in opened.namelist()]


def headers(archive: bytes) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(io.BytesIO(content)) for content in objects(archive)]


def stated_error(header: pydicom.Dataset) -> float:
    return float(re.search(r"error at most (\S+)", header.DerivationDescription)[1])


def test_our_import_reads_the_counts_back_within_the_stated_error(batch, archive) -> None:
    for row, (content, header) in enumerate(zip(objects(archive), headers(archive), strict=True)):
        parsed = dicom.read_slices(content)
        difference = np.abs(parsed.counts[0] - batch.counts[row]).max()
        assert difference <= stated_error(header)
        assert stated_error(header) < 1e-5 * batch.counts[row].max()
        assert parsed.pixel_spacing_mm == 4.0
        assert parsed.intensity_unit == FLOW_UNIT
        assert parsed.notes == ()


def test_pydicom_alone_finds_the_counts(batch, archive) -> None:
    for row, header in enumerate(headers(archive)):
        counts = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        np.testing.assert_allclose(counts, batch.counts[row], atol=stated_error(header))
        (mapping,) = header.RealWorldValueMappingSequence
        assert mapping.RealWorldValueSlope == float(header.RescaleSlope)


def test_left_stays_left(batch, archive) -> None:
    written = quantify(batch.counts, pixel_spacing_mm=4.0)
    read = parse_slices(archive)
    again = quantify(read.counts, pixel_spacing_mm=read.pixel_spacing_mm)

    assert abs(np.log(written.left_right_ratio)).min() > 0.1
    np.testing.assert_allclose(again.left_right_ratio, written.left_right_ratio, atol=1e-4)
    np.testing.assert_allclose(again.mean_counts, written.mean_counts, rtol=1e-4)


def test_every_object_says_that_it_is_synthetic(archive) -> None:
    for content, header in zip(objects(archive), headers(archive), strict=True):
        assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert header.PatientID.startswith("SYNTHETIC-")
        assert str(header.PatientName) == "SYNTHETIC^NO PATIENT"
        assert "research use only" in header.ImageComments
        assert "not acquired" in header.DerivationDescription
        assert header.BurnedInAnnotation == "NO"
        assert "synthetic" in header.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical
        assert dicom.read_slices(content).synthetic


def test_each_slice_is_a_patient_of_its_own(archive) -> None:
    found = headers(archive)
    for keyword in (
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "SOPInstanceUID",
    ):
        values = [str(header[keyword].value) for header in found]
        assert len(set(values)) == 3
        assert all(len(value) <= 64 for value in values)
    uids = {str(header[keyword].value) for header in found for keyword in ("StudyInstanceUID", "SeriesInstanceUID")}
    assert all(re.fullmatch(r"2\.25\.[1-9]\d*", uid) for uid in uids)


def test_the_same_slice_is_the_same_object_alone_and_among_others(batch, archive) -> None:
    fields = {name: getattr(batch, name)[1:2] for name in ("counts", "level", "pattern", "seed", "index")}
    alone = write_whole(dicom_write.write, replace(batch, **fields))

    assert objects(alone) == objects(archive)[1:2]
    assert write_whole(dicom_write.write, batch) == archive


def test_another_model_or_other_pixels_are_other_objects_of_another_or_the_same_patient(batch, archive) -> None:
    other_model = headers(write_whole(dicom_write.write, replace(batch, model_sha256="cd" * 32)))
    other_pixels = headers(write_whole(dicom_write.write, replace(batch, counts=batch.counts[..., ::-1])))
    for mine, model, pixels in zip(headers(archive), other_model, other_pixels, strict=True):
        assert len({mine.SOPInstanceUID, model.SOPInstanceUID, pixels.SOPInstanceUID}) == 3
        assert mine.PatientID == pixels.PatientID != model.PatientID


def test_no_clock_and_no_person_is_in_the_header(archive) -> None:
    for header in headers(archive):
        for element in header.iterall():
            if element.VR in {"DA", "TM", "DT"}:
                assert not element.value
        assert not header.PatientSex
        assert not header.ReferringPhysicianName


def test_a_slice_of_nothing_is_written_too(batch) -> None:
    dark = replace(batch, counts=np.zeros_like(batch.counts))
    for header in headers(write_whole(dicom_write.write, dark)):
        assert not header.pixel_array.any()
        assert float(header.RescaleSlope) == 1.0


def test_a_unit_without_a_code_is_told_in_words_alone(batch) -> None:
    (header, *_) = headers(write_whole(dicom_write.write, replace(batch, intensity_unit="µg/分")))
    assert "RealWorldValueMappingSequence" not in header
    assert "µg/分" in header.DerivationDescription


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian: dicom3tools)")
def test_dciodvfy_finds_nothing_but_the_word_that_says_synthetic(archive, tmp_path: Path) -> None:
    for number, content in enumerate(objects(archive)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(content)
        checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        lines = checked.stderr.splitlines()
        errors = [line for line in lines if line.startswith("Error")]
        # The class knows PRIMARY alone; PRIMARY would say that the image came of an examination of a patient.
        assert errors == ["Error - </ImageType(0008,0008)[2]> - Unrecognized enumerated value = <SECONDARY>"]
        warned = {re.search(r"</(\w+)", line)[1] for line in lines if line.startswith("Warning")}
        # No date is invented, and the slope stands also where programs look for it that do not know NM.
        assert warned == {"StudyDate", "StudyTime", "RescaleSlope", "RescaleIntercept"}


def test_a_zip_of_them_is_read_whole(batch, archive) -> None:
    parsed = parse_slices(archive)

    assert parsed.synthetic
    np.testing.assert_allclose(parsed.counts, batch.counts, atol=0.01)
    assert len(set(parsed.patient.tolist())) == 3


def _zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def test_other_zips_of_dicom_are_refused_in_one_line(batch, archive) -> None:
    scan = nuclear_medicine.to_bytes(nuclear_medicine.nuclear_medicine_series()[20])
    mine = objects(archive)[0]
    finer = replace(batch, counts=batch.counts.repeat(2, 1).repeat(2, 2), pixel_spacing_mm=2.0)
    other = objects(write_whole(dicom_write.write, finer))[0]
    refused = {
        "is a zip of scans; unpack it": _zip_of({"PLANTED.dcm": scan}),
        "mixes slices of different matrices": _zip_of({"a.dcm": mine, "b.dcm": other}),
        "holds files that are no DICOM": _zip_of({"a.dcm": mine, "PLANTED.txt": b"text"}),
        "packed in a strange way": _zip_of({"a.dcm": mine}, zipfile.ZIP_LZMA),
        "one of its files is not a DICOM file": _zip_of({"PLANTED.dcm": b"text" * 100}),
        "would take": _zip_of({"a.dcm": bytes(2**20)}, zipfile.ZIP_DEFLATED),
    }
    for words, content in refused.items():
        with pytest.raises(FormatError, match=words) as caught:
            parse_slices(content, name="it", max_bytes=2**20)
        assert "PLANTED" not in str(caught.value).upper()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_zip_cut_off_anywhere_is_refused(archive, share) -> None:
    with pytest.raises(FormatError, match="not a whole"):
        parse_slices(archive[: int(len(archive) * share)], name="it")


def test_a_changed_pixel_is_noticed(archive) -> None:
    damaged = bytearray(archive)
    damaged[len(objects(archive)[0]) // 2] ^= 0xFF
    with pytest.raises(FormatError, match="not a whole zip of DICOM"):
        parse_slices(bytes(damaged), name="it")
