"""Reconstructed NM and PT come back upright whichever way they lie, in their own units, by their own series."""

import random
import shutil

import numpy as np
import pydicom
import pytest

from spect.conditions import Level
from spect.errors import FormatError
from spect.formats import dicom
from spect.formats.reader import is_dicom_file, parse_slices
from spect.quantify import quantify
from tests.support import nuclear_medicine as phantom
from tests.support.nuclear_medicine import Stack

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
    parsed = dicom.read_slices(phantom.to_bytes(phantom.recon_tomo(stack=stack)), planes=phantom.PLANES)

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

    parsed = dicom.read_series(files, planes=phantom.PLANES)

    _expect_upright(parsed.counts)


def test_an_oblique_volume_is_cut_across_the_patient_not_across_its_frames() -> None:
    angle = np.deg2rad(15)
    tilted = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))

    parsed = dicom.read_slices(
        phantom.to_bytes(phantom.recon_tomo(stack=Stack(orientation=tilted, frames=56, rows=64))), planes=phantom.PLANES
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

    parsed = dicom.read_series(list(phantom.write_files(datasets, tmp_path).values()), planes=phantom.PLANES)

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

    _expect_upright(dicom.read_slices(phantom.to_bytes(dataset), planes=phantom.PLANES).counts)


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


def test_a_patient_position_alone_does_not_say_which_side_is_left() -> None:
    dataset = phantom.recon_tomo()
    dataset.PatientPosition = "HFS"
    del dataset.DetectorInformationSequence[0].ImageOrientationPatient

    with pytest.raises(FormatError, match="its patient position alone does not say it"):
        dicom.read_slices(phantom.to_bytes(dataset), planes=phantom.PLANES)


def test_slice_thickness_stands_in_for_a_missing_spacing_only_where_it_cannot_swap_left_and_right() -> None:
    transverse, sagittal = phantom.recon_tomo(), phantom.recon_tomo(stack=Stack(orientation=phantom.SAGITTAL))
    del transverse.SpacingBetweenSlices, sagittal.SpacingBetweenSlices

    parsed = dicom.read_slices(phantom.to_bytes(transverse), planes=phantom.PLANES)

    _expect_upright(parsed.counts)
    assert "the slice thickness was taken" in parsed.notes[0]
    with pytest.raises(FormatError, match="how its slices are stacked is unknown"):
        dicom.read_slices(phantom.to_bytes(sagittal), planes=phantom.PLANES)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian dicom3tools) is not installed")
def test_the_images_of_these_tests_conform_to_the_standard(tmp_path) -> None:
    stack = Stack(frames=3)
    datasets = [phantom.recon_tomo(stack=stack), *phantom.nuclear_medicine_series(stack=stack)]
    for path in phantom.write_files([*datasets, *phantom.positron_series(stack=stack)], tmp_path).values():
        assert phantom.conformance_errors(path) == []


def test_reading_leaves_pydicoms_settings_as_they_were() -> None:
    mode, filters = pydicom.config.settings.reading_validation_mode, list(pydicom.config.logger.filters)

    dicom.read_slices(phantom.to_bytes(phantom.recon_tomo()), planes=phantom.PLANES)

    assert pydicom.config.settings.reading_validation_mode == mode
    assert pydicom.config.logger.filters == filters
