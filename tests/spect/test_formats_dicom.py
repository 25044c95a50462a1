"""Reconstructed NM and PT come back upright whichever way they lie, every other DICOM is refused with its reason."""

import random
import shutil
import time
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from spect.conditions import Level
from spect.errors import FormatError
from spect.formats import dicom
from spect.formats.reader import is_dicom_file, parse_slices
from spect.quantify import quantify
from tests.support import nuclear_medicine as phantom
from tests.support.nuclear_medicine import Stack

PLANES = {Level.BASAL_GANGLIA: 0.0, Level.CORTEX: 40.0}
# Rows and columns at 2 mm: beside the middle, and in front.
LEFT, RIGHT, FRONT_LEFT = (64, 80), (64, 48), (34, 70)
STACKS = {
    "transverse": Stack(),
    "transverse, from head to feet": Stack(step_mm=-4.0),
    "transverse, prone": Stack(orientation=phantom.TRANSVERSE_PRONE),
    "transverse, feet first": Stack(orientation=phantom.TRANSVERSE_FROM_ABOVE),
    "transverse, feet first, reversed": Stack(orientation=phantom.TRANSVERSE_FROM_ABOVE, step_mm=-4.0),
    "coronal": Stack(orientation=phantom.CORONAL, frames=48),
    "coronal, reversed": Stack(orientation=phantom.CORONAL, frames=48, step_mm=-4.0),
    "sagittal": Stack(orientation=phantom.SAGITTAL),
    "sagittal, reversed": Stack(orientation=phantom.SAGITTAL, step_mm=-4.0),
}


def _expect_upright(counts: np.ndarray) -> None:
    ganglia, cortex = counts
    assert (ganglia[LEFT], ganglia[RIGHT], ganglia[FRONT_LEFT]) == pytest.approx((150, 100, 250), rel=0.02)
    assert (cortex[64, 74], cortex[64, 54]) == pytest.approx((90, 40), rel=0.02)  # the cold top


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_the_patients_left_lies_on_image_right_whichever_way_a_multi_frame_runs(stack) -> None:
    parsed = dicom.read_slices(phantom.to_bytes(phantom.recon_tomo(stack=stack)), planes=PLANES)

    _expect_upright(parsed.counts)
    assert parsed.level is not None
    assert parsed.level.tolist() == ["BG", "COR"]
    assert parsed.pixel_spacing_mm == 2.0
    assert parsed.patient is not None
    assert parsed.patient.tolist() == ["PLANTED-ID-4711"] * 2
    assert not parsed.synthetic


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("make", [phantom.nuclear_medicine_series, phantom.positron_series])
def test_the_patients_left_lies_on_image_right_whichever_way_a_series_runs(make, stack, tmp_path) -> None:
    files = list(phantom.write_files(make(stack=stack), tmp_path).values())
    random.Random(1).shuffle(files)

    parsed = dicom.read_series(files, planes=PLANES)

    _expect_upright(parsed.counts)


def test_an_oblique_volume_is_cut_across_the_patient_not_across_its_frames() -> None:
    angle = np.deg2rad(15)
    tilted = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))

    parsed = dicom.read_slices(
        phantom.to_bytes(phantom.recon_tomo(stack=Stack(orientation=tilted, frames=56, rows=64))), planes=PLANES
    )

    _expect_upright(parsed.counts)


@pytest.mark.parametrize("orientation", [phantom.TRANSVERSE, phantom.TRANSVERSE_PRONE, phantom.TRANSVERSE_FROM_ABOVE])
def test_a_transverse_frame_alone_is_one_upright_slice_without_a_level(orientation) -> None:
    frame = phantom.nuclear_medicine_series(stack=Stack(orientation=orientation, frames=3))[1]

    parsed = parse_slices(phantom.to_bytes(frame))

    assert parsed.counts.shape == (1, 48, 44)
    assert parsed.counts[0, 24, 30] == 150  # image right
    assert parsed.counts[0, 24, 13] == 100
    assert parsed.counts[0, 8, 26] == 250  # row 0 in front
    assert parsed.level is None
    assert parsed.pixel_spacing_mm == 4.0


def test_a_frame_alone_that_is_not_transverse_is_refused() -> None:
    frame = phantom.nuclear_medicine_series(stack=Stack(orientation=phantom.CORONAL, frames=3))[1]

    with pytest.raises(FormatError, match="one slice that is not transverse"):
        dicom.read_slices(phantom.to_bytes(frame))


def test_each_slice_of_a_positron_series_is_rescaled_by_its_own_slope_and_intercept(tmp_path) -> None:
    slopes = [2.0 if frame % 2 else 0.25 for frame in range(40)]
    datasets = phantom.positron_series(slopes=slopes)
    for dataset, slope in zip(datasets, slopes, strict=True):
        stored = np.frombuffer(dataset.PixelData, "<u2") + 8
        dataset.PixelData, dataset.RescaleIntercept = stored.astype("<u2").tobytes(), f"{-8 * slope:g}"

    parsed = dicom.read_series(list(phantom.write_files(datasets, tmp_path).values()), planes=PLANES)

    _expect_upright(parsed.counts)
    assert parsed.intensity_unit == "Bq/mL"


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ({"Units": "CNTS"}, "counts per pixel"),
        ({"Units": "BQML"}, "Bq/mL"),
        ({"Units": "GML"}, "g/mL (SUV, BW)"),
        ({"Units": "GML", "SUVType": "LBM"}, "g/mL (SUV, LBM)"),
        ({"Units": "MLMING"}, "mL/min/g"),
        ({"Units": None}, None),
    ],
)
def test_every_unit_of_the_standard_is_told_apart_and_an_absent_one_is_left_unsaid(values, unit) -> None:
    dataset = phantom.positron_series(stack=Stack(frames=3))[1]
    for keyword, value in values.items():
        setattr(dataset, keyword, value)

    assert dicom.read_slices(phantom.to_bytes(dataset)).intensity_unit == unit


@pytest.mark.parametrize("values", [{"Units": "PLANTED"}, {"Units": "GML", "SUVType": "PLANTED"}])
def test_a_unit_that_is_none_of_the_standards_is_refused_and_not_quoted(values) -> None:
    dataset = phantom.positron_series(stack=Stack(frames=3))[1]
    for keyword, value in values.items():
        setattr(dataset, keyword, value)

    with pytest.raises(FormatError, match=r"\(0054,100[16]\) is none of the standard's") as caught:
        dicom.read_slices(phantom.to_bytes(dataset))
    assert "PLANTED" not in str(caught.value)


def test_frames_are_ordered_by_their_slice_numbers() -> None:
    dataset = phantom.recon_tomo()
    frames = np.frombuffer(dataset.PixelData, "<u2").reshape(40, 48, 44)
    order = np.random.default_rng(2).permutation(40)
    dataset.PixelData, dataset.SliceVector = frames[order].tobytes(), (order + 1).tolist()

    _expect_upright(dicom.read_slices(phantom.to_bytes(dataset), planes=PLANES).counts)


def test_a_volume_is_not_cut_where_mni_would_have_its_levels() -> None:
    with pytest.raises(FormatError, match=r"scanner's coordinates, not MNI's.*--planes or in the labels"):
        parse_slices(phantom.to_bytes(phantom.recon_tomo()))


@pytest.mark.skipif(not phantom.TEMPLATE.exists(), reason=f"the real template is not there: {phantom.TEMPLATE}")
def test_the_real_template_keeps_its_ratio_through_a_tomography() -> None:
    planes = {Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 40.0}
    stack = Stack(rows=109, columns=91, frames=91, pixel_mm=2.0, step_mm=2.0, centre=(0.0, 18.0, 18.0))
    expected = quantify(parse_slices(phantom.TEMPLATE, planes=planes).counts, pixel_spacing_mm=2.0)

    parsed = dicom.read_slices(phantom.to_bytes(phantom.recon_tomo(phantom.template_scan(), stack)), planes=planes)

    measured = quantify(parsed.counts, pixel_spacing_mm=2.0)
    np.testing.assert_allclose(measured.left_right_ratio, expected.left_right_ratio, atol=0.003)


def test_synthetic_images_are_known_by_type_and_patient() -> None:
    dataset = phantom.nuclear_medicine_series()[20]
    dataset.ImageType = ["DERIVED", "SECONDARY", "RECON TOMO", "EMISSION"]
    assert not dicom.read_slices(phantom.to_bytes(dataset)).synthetic

    dataset.PatientID = "SYNTHETIC-7"

    assert dicom.read_slices(phantom.to_bytes(dataset)).synthetic


def test_files_without_a_suffix_are_gathered_by_series_under_the_first_ones_name(tmp_path) -> None:
    first = phantom.write_files(phantom.nuclear_medicine_series(stack=Stack(frames=3)), tmp_path / "a")
    second = phantom.write_files(phantom.positron_series(stack=Stack(frames=2)), tmp_path / "b")
    whole = phantom.write_files([phantom.recon_tomo(stack=Stack(frames=2))], tmp_path / "c")
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 20)
    folders = {"a": first, "b": second, "c": whole}
    paths = {f"{folder}/{name}": path for folder, files in folders.items() for name, path in files.items()}
    shuffled = dict(random.Random(4).sample(sorted({**paths, "broken": broken}.items()), 7))

    groups = dicom.group_series(shuffled)

    assert list(groups) == ["a/IM0000", "b/IM0000", "broken", "c/IM0000"]
    assert groups["a/IM0000"] == tuple(first.values())
    assert groups["b/IM0000"] == tuple(second.values())
    assert all(is_dicom_file(path, name="it") for path in paths.values())


def test_a_series_that_was_exported_twice_is_a_group_in_each_folder_and_one_in_two_folders_is_one(tmp_path) -> None:
    datasets = phantom.positron_series(stack=Stack(frames=6))
    whole = phantom.write_files(datasets, tmp_path / "a")
    again = phantom.write_files(datasets, tmp_path / "b")
    halves = {f"c/{name}": path for name, path in list(whole.items())[:3]}
    halves |= {f"d/{name}": path for name, path in list(whole.items())[3:]}

    twice = dicom.group_series(
        {f"{folder}/{n}": p for folder, of in (("a", whole), ("b", again)) for n, p in of.items()}
    )

    assert twice == {"a/IM0000": tuple(whole.values()), "b/IM0000": tuple(again.values())}
    assert dicom.group_series(halves) == {"c/IM0000": tuple(whole.values())}


def test_a_dicom_file_is_known_by_its_content_even_where_its_preamble_is_a_tiffs() -> None:
    encoded = phantom.to_bytes(phantom.nuclear_medicine_series()[20])

    assert parse_slices(b"II*\0" + encoded[4:]).counts.shape == (1, 48, 44)


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
        dicom.read_slices(_encode_as_it_is(dataset), planes=PLANES, name="the file")

    _expect_no_identifier(str(caught.value))
    assert str(caught.value).startswith("the file")
    assert "\n" not in str(caught.value)


def test_a_patient_position_alone_does_not_say_which_side_is_left() -> None:
    dataset = phantom.recon_tomo()
    dataset.PatientPosition = "HFS"
    del dataset.DetectorInformationSequence[0].ImageOrientationPatient

    with pytest.raises(FormatError, match="its patient position alone does not say it"):
        dicom.read_slices(phantom.to_bytes(dataset), planes=PLANES)


def test_slice_thickness_stands_in_for_a_missing_spacing_only_where_it_cannot_swap_left_and_right() -> None:
    transverse, sagittal = phantom.recon_tomo(), phantom.recon_tomo(stack=Stack(orientation=phantom.SAGITTAL))
    del transverse.SpacingBetweenSlices, sagittal.SpacingBetweenSlices

    parsed = dicom.read_slices(phantom.to_bytes(transverse), planes=PLANES)

    _expect_upright(parsed.counts)
    assert "the slice thickness was taken" in parsed.notes[0]
    with pytest.raises(FormatError, match="how its slices are stacked is unknown"):
        dicom.read_slices(phantom.to_bytes(sagittal), planes=PLANES)


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
        dicom.read_series(files, planes=PLANES, name="the series")

    _expect_no_identifier(str(caught.value))


def test_an_identifier_where_a_word_of_the_standard_should_stand_is_not_quoted() -> None:
    for keyword in ("Modality", "SOPClassUID", "PhotometricInterpretation", "Units", "SeriesType"):
        dataset = phantom.nuclear_medicine_series()[20]
        setattr(dataset, keyword, phantom.UID_ROOT + "1" if keyword.endswith("UID") else "PLANTED")
        try:
            dicom.read_slices(phantom.to_bytes(dataset))
        except FormatError as error:
            _expect_no_identifier(str(error))
    dataset = phantom.recon_tomo()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "PLANTED NAME"]
    with pytest.raises(FormatError) as caught:
        dicom.read_slices(phantom.to_bytes(dataset))
    _expect_no_identifier(str(caught.value))


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
            _expect_no_identifier(str(error))
        else:
            assert np.isfinite(counts).all()
            assert counts.min() >= 0


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian dicom3tools) is not installed")
def test_the_images_of_these_tests_conform_to_the_standard(tmp_path) -> None:
    stack = Stack(frames=3)
    datasets = [phantom.recon_tomo(stack=stack), *phantom.nuclear_medicine_series(stack=stack)]
    for path in phantom.write_files([*datasets, *phantom.positron_series(stack=stack)], tmp_path).values():
        assert phantom.conformance_errors(path) == []


def test_reading_leaves_pydicoms_settings_as_they_were() -> None:
    mode, filters = pydicom.config.settings.reading_validation_mode, list(pydicom.config.logger.filters)

    dicom.read_slices(phantom.to_bytes(phantom.recon_tomo()), planes=PLANES)

    assert pydicom.config.settings.reading_validation_mode == mode
    assert pydicom.config.logger.filters == filters


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


def _expect_no_identifier(message: str) -> None:
    assert "planted" not in message.lower()
    assert phantom.UID_ROOT not in message
    assert "4711" not in message
    assert "1901" not in message
