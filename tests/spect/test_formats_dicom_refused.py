"""DICOM that is no scan we can use, that is broken or hostile, is refused in one sentence that names nobody."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from spect.conditions import Level
from spect.errors import FormatError
from spect.formats import dicom
from tests.support import nuclear_medicine as phantom
from tests.support.nuclear_medicine import Stack


def _set(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return change


def _set_detector(**values: object) -> Callable[[Dataset], None]:
    return lambda dataset: _set(**values)(dataset.DetectorInformationSequence[0])


def _compress(syntax: str) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", syntax)


def _of_type(kind: str) -> Callable[[Dataset], None]:
    return _set(ImageType=["ORIGINAL", "PRIMARY", kind, "EMISSION"])


def _second_detector(dataset: Dataset) -> None:
    other = Dataset()
    other.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    dataset.DetectorInformationSequence.append(other)


REFUSALS: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "projections": (_of_type("TOMO"), "type TOMO: the projections of a tomography.*RECON TOMO"),
    "static": (_of_type("STATIC"), "type STATIC: a planar image"),
    "whole body": (_of_type("WHOLE BODY"), "type WHOLE BODY: a planar image"),
    "dynamic": (_of_type("DYNAMIC"), "type DYNAMIC: a series of planar images"),
    "gated": (_of_type("GATED"), "type GATED: planar images of a heart's cycle"),
    "gated slices": (_of_type("RECON GATED TOMO"), "slices of a heart's cycle"),
    "no type": (_set(ImageType=["ORIGINAL", "PRIMARY"]), r"value 3 of ImageType \(0008,0008\) must be RECON TOMO"),
    "capture": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "Secondary Capture: a picture of a screen"),
    "CT": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "is CT Image Storage; only reconstructed"),
    "MR": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), "is MR Image Storage; only reconstructed"),
    "enhanced": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.130"), "enhanced multi-frame PET"),
    "private class": (_set(SOPClassUID="1.2.826.0.1.3680043.8.498.9"), "of an unknown class"),
    "palette": (_set(PhotometricInterpretation="PALETTE COLOR"), r"in colour \(PALETTE COLOR\)"),
    "colour": (_set(PhotometricInterpretation="RGB", SamplesPerPixel=3), r"in colour \(RGB\)"),
    "JPEG": (_compress(JPEG2000Lossless), r"compressed \(JPEG 2000.*export it uncompressed"),
    "RLE": (_compress(RLELossless), r"compressed \(RLE Lossless"),
    "no orientation": (
        _set_detector(ImageOrientationPatient=None),
        r"does not hold ImageOrientationPatient \(0020,0037\), so which side is left .* unknown",
    ),
    "no position": (_set_detector(ImagePositionPatient=None), r"does not hold ImagePositionPatient \(0020,0032\)"),
    "skewed": (_set_detector(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "not at a right angle"),
    "short": (_set_detector(ImageOrientationPatient=[0.5, 0, 0, 0, 1, 0]), "a direction of length 0.5, not 1"),
    "five cosines": (_set_detector(ImageOrientationPatient=[1, 0, 0, 0, 1]), "must hold 6 finite numbers"),
    "two orientations": (_second_detector, "holds two ImageOrientationPatient"),
    "contradiction": (_set(PatientOrientation=["R", "P"]), r"PatientOrientation \(0020,0020\) contradicts"),
    "no pixel spacing": (_set(PixelSpacing=None), r"does not hold PixelSpacing \(0028,0030\)"),
    "spacing of zero": (_set(PixelSpacing=[0, 4]), "pixel spacing must be 0.2 to 20"),
    "no slice spacing": (_set(SpacingBetweenSlices=None, SliceThickness=None), r"SpacingBetweenSlices \(0018,0088\)"),
    "slices numbered twice": (_set(SliceVector=[1] * 40), r"SliceVector \(0054,0080\) must number its 40 frames"),
    "two energies": (_set(EnergyWindowVector=[1, 2] * 20), "holds several volumes: .*EnergyWindowVector"),
    "absurd size": (_set(NumberOfFrames=10**6, Rows=65535, Columns=65535), "voxels; at most .* are read"),
    "no frames": (_set(NumberOfFrames=0), r"NumberOfFrames \(0028,0008\) must be a whole number from 1"),
    "cut pixels": (_set(PixelData=b"\0\0" * 100), "pixels that do not fit its header"),
    "no pixels": (_set(PixelData=None), "is cut short or holds no pixels"),
    "empty pixels": (_set(PixelData=b"\0\0" * 40 * 48 * 44), "counts must be finite and not all zero"),
    "slope of zero": (_set(RescaleSlope=0), r"RescaleSlope \(0028,1053\) must be positive"),
}


@pytest.mark.parametrize(("change", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_be_used_is_refused_in_one_sentence_that_names_nobody(change, words) -> None:
    dataset = phantom.recon_tomo()
    change(dataset)

    with pytest.raises(FormatError, match=words) as caught:
        dicom.read_slices(_encode_as_it_is(dataset), planes=phantom.PLANES, name="the file")

    phantom.expect_no_identifier(str(caught.value))
    assert str(caught.value).startswith("the file")
    assert "\n" not in str(caught.value)


def _drop_some(datasets: list[Dataset]) -> None:
    del datasets[10:12]


def _repeat_one(datasets: list[Dataset]) -> None:
    datasets[11].ImagePositionPatient = datasets[10].ImagePositionPatient


def _shift_one(datasets: list[Dataset]) -> None:
    x, y, z = datasets[10].ImagePositionPatient
    datasets[10].ImagePositionPatient = [x, y, float(z) + 1.5]


def _slide_one(datasets: list[Dataset]) -> None:
    x, y, z = datasets[10].ImagePositionPatient
    datasets[10].ImagePositionPatient = [float(x) + 3, y, z]


def _turn_one(datasets: list[Dataset]) -> None:
    datasets[10].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def _shrink_one(datasets: list[Dataset]) -> None:
    datasets[10].Rows, datasets[10].PixelData = 24, datasets[10].PixelData[: 24 * 44 * 2]


SERIES_REFUSALS: dict[str, tuple[Callable[[list[Dataset]], None], str]] = {
    "missing": (_drop_some, r"lacks 2 of its slices \(4 mm apart\)"),
    "repeated": (_repeat_one, "two slices at one place"),
    "unequal": (_shift_one, "slices 2.5 to 5.5 mm apart; equal distances are needed"),
    "sheared": (_slide_one, "shifted against each other"),
    "turned": (_turn_one, "mixes orientations"),
    "shrunk": (_shrink_one, "mixes slices of different matrices"),
    "two patients": (lambda datasets: _set(PatientID="OTHER")(datasets[3]), "differ in their patient"),
    "two series": (lambda datasets: _set(SeriesInstanceUID="1.2.3")(datasets[3]), "differ in their series"),
    "no slope": (lambda datasets: _set(RescaleSlope=None)(datasets[3]), r"does not hold RescaleSlope \(0028,1053\)"),
    "gated": (lambda datasets: _set(SeriesType=["GATED", "IMAGE"])(datasets[3]), "PT of type GATED"),
    "projected": (lambda datasets: _set(SeriesType=["STATIC", "REPROJECTION"])(datasets[0]), "projections made of"),
}


@pytest.mark.parametrize(("change", "words"), SERIES_REFUSALS.values(), ids=SERIES_REFUSALS.keys())
def test_a_series_that_is_no_single_whole_volume_is_refused(change, words, tmp_path) -> None:
    datasets = phantom.positron_series()
    change(datasets)
    files = list(phantom.write_files(datasets, tmp_path).values())

    with pytest.raises(FormatError, match=words) as caught:
        dicom.read_series(files, planes=phantom.PLANES, name="the series")

    phantom.expect_no_identifier(str(caught.value))


def test_an_identifier_where_a_word_of_the_standard_should_stand_is_not_quoted() -> None:
    for keyword in ("Modality", "SOPClassUID", "PhotometricInterpretation", "Units", "SeriesType"):
        dataset = phantom.nuclear_medicine_series()[20]
        setattr(dataset, keyword, phantom.UID_ROOT + "1" if keyword.endswith("UID") else "PLANTED")
        try:
            dicom.read_slices(phantom.to_bytes(dataset))
        except FormatError as error:
            phantom.expect_no_identifier(str(error))
    dataset = phantom.recon_tomo()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "PLANTED NAME"]
    with pytest.raises(FormatError) as caught:
        dicom.read_slices(phantom.to_bytes(dataset))
    phantom.expect_no_identifier(str(caught.value))


def test_a_header_that_pydicom_would_inflate_without_a_limit_is_refused_before() -> None:
    dataset = phantom.recon_tomo()
    encoded = phantom.to_bytes(dataset)
    explicit, deflated = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    assert str(DeflatedExplicitVRLittleEndian).encode() == deflated
    at = encoded.index(explicit)
    length = len(deflated).to_bytes(2, "little")

    with pytest.raises(FormatError, match=r"compressed .Deflated"):
        dicom.read_slices(encoded[: at - 2] + length + deflated + encoded[at + len(explicit) :])


@pytest.mark.parametrize("depth", [50, 5_000, 100_000])
def test_sequences_nested_beyond_reason_are_an_error_not_an_overflow(depth) -> None:
    undefined = b"\xff\xff\xff\xff"
    nested = (b"\x54\x00\x22\x00SQ\0\0" + undefined + b"\xfe\xff\x00\xe0" + undefined) * depth

    with pytest.raises(FormatError):
        dicom.read_slices(_header_only() + nested)


def test_a_header_of_a_million_empty_elements_is_refused_within_two_seconds() -> None:
    start = time.process_time()

    with pytest.raises(FormatError, match="a header of too many parts"):
        dicom.read_slices(_header_only() + b"\x09\x00\x10\x10LO\0\0" * 1_000_000)

    assert time.process_time() - start < 2


def test_a_length_of_four_gigabytes_is_not_allocated() -> None:
    with pytest.raises(FormatError):
        dicom.read_slices(_header_only() + b"\xe0\x7f\x10\x00OW\0\0\xf0\xff\xff\xff" + b"\0" * 50)


def test_files_cut_or_changed_anywhere_are_read_or_refused_never_more() -> None:
    whole = phantom.to_bytes(phantom.recon_tomo(stack=Stack(rows=16, columns=16, frames=4, pixel_mm=12, step_mm=20)))
    rng = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, min(len(damaged), 2_500), size=rng.integers(1, 6)):
            damaged[at] = rng.integers(0, 256)
        try:
            counts = dicom.read_slices(bytes(damaged), planes={Level.CORTEX: 10.0}, max_bytes=2**24).counts
        except FormatError as error:
            phantom.expect_no_identifier(str(error))
        else:
            assert np.isfinite(counts).all()
            assert counts.min() >= 0


def _header_only() -> bytes:
    dataset = Dataset()
    dataset.file_meta = phantom.recon_tomo().file_meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = phantom.NuclearMedicineImageStorage, "1.2.3"
    return phantom.to_bytes(dataset)


def _encode_as_it_is(dataset: Dataset) -> bytes:
    """Encode it even where its header lies about its pixels, as broken exporters do."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return phantom.to_bytes(dataset)
    dataset.file_meta.TransferSyntaxUID = phantom.ExplicitVRLittleEndian
    encoded, plain = phantom.to_bytes(dataset), b"\x14\x001.2.840.10008.1.2.1\0"
    word = str(syntax).encode() + b"\0" * (len(syntax) % 2)
    return encoded.replace(plain, len(word).to_bytes(2, "little") + word, 1)
