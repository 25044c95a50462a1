"""Volumes become upright slices at the three levels, stacks come back as written, and broken files say so."""

import gzip
import io
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from spect.conditions import Level
from spect.errors import FormatError, RequestError
from spect.formats import nifti
from spect.formats.heading import write_whole
from spect.formats.planes import parse_planes
from spect.formats.reader import parse_slices
from spect.quantify import quantify
from spect.slices import SyntheticBatch, mirror_left_right

TEMPLATE = Path(__file__).parents[3] / "shared" / "data" / "SPECT.nii"


def _marked_volume() -> nibabel.Nifti1Image:
    """2 mm voxels in MNI-like space: bright on the patient's left, brighter in front, plane number as base."""
    voxels = np.zeros((91, 109, 91), dtype=np.float32)
    voxels[10:80, 10:100, :] = np.arange(91, dtype=np.float32) + 100
    voxels[10:45, 10:100, :] += 1000  # low x is the patient's left in RAS
    voxels[10:80, 80:100, :] += 5000  # high y is the front
    affine = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    return nibabel.Nifti1Image(voxels, affine)


def test_a_volume_is_cut_upright_with_the_patients_left_on_image_right() -> None:
    parsed = nifti.read_slices(_marked_volume().to_bytes())

    assert parsed.counts.shape == (3, 128, 128)
    assert parsed.level is not None
    assert parsed.level.tolist() == ["CER", "BG", "COR"]
    for counts, z in zip(parsed.counts, (-36, 6, 40), strict=True):
        plane = 100 + (z + 72) / 2
        assert counts[90, 50] == pytest.approx(plane)  # behind, image left: patient's right
        assert counts[90, 78] == pytest.approx(plane + 1000)  # behind, image right: patient's left
        assert counts[30, 50] == pytest.approx(plane + 5000)  # in front


@pytest.mark.parametrize("codes", ["LAS", "LPS", "RPI", "ASL"])
def test_the_storage_order_of_the_voxels_does_not_matter(codes) -> None:
    image = _marked_volume()
    expected = nifti.read_slices(image.to_bytes()).counts
    reorder = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(codes))
    )

    stored = image.as_reoriented(reorder)

    assert nibabel.aff2axcodes(stored.affine) == tuple(codes)
    np.testing.assert_allclose(nifti.read_slices(stored.to_bytes()).counts, expected, rtol=1e-6)


def test_planes_between_voxels_are_interpolated() -> None:
    parsed = nifti.read_slices(_marked_volume().to_bytes(), planes={Level.CORTEX: 41.0})

    assert parsed.counts[0, 90, 50] == pytest.approx(100 + 56.5)


def test_a_plane_outside_the_volume_names_its_span() -> None:
    with pytest.raises(FormatError, match="no counts at z = 200 mm; it spans -72 to 108 mm"):
        nifti.read_slices(_marked_volume().to_bytes(), planes={Level.CORTEX: 200.0})


@pytest.mark.skipif(not TEMPLATE.exists(), reason=f"the real template is not there: {TEMPLATE}")
def test_the_real_template_is_nearly_symmetric_at_the_three_levels_and_its_mirror_is_reciprocal() -> None:
    counts = parse_slices(TEMPLATE).counts

    ratio = quantify(counts, pixel_spacing_mm=2.0).left_right_ratio
    mirrored = quantify(mirror_left_right(counts), pixel_spacing_mm=2.0).left_right_ratio

    assert ((ratio > 0.97) & (ratio < 1.03)).all(), ratio
    np.testing.assert_allclose(mirrored, 1 / ratio, atol=0.003)


@pytest.mark.skipif(not TEMPLATE.exists(), reason=f"the real template is not there: {TEMPLATE}")
def test_the_real_template_stands_upright() -> None:
    ganglia = parse_slices(TEMPLATE).counts[1]

    # The visual cortex is the hottest midline region of the plane and lies behind.
    rows = ganglia[:, 62:66].mean(axis=1)
    assert rows.argmax() > 80


def _wide(image: nibabel.Nifti1Image, shift_mm: tuple[int, int], code: int) -> bytes:
    """The volume in a field of 440 mm, its head off the middle of it but where it was in space."""
    voxels = np.zeros((220, 220, image.shape[2]), dtype=np.float32)
    x, y = ((220 - side) // 2 + shift // 2 for side, shift in zip(image.shape[:2], shift_mm, strict=True))
    voxels[x : x + image.shape[0], y : y + image.shape[1]] = np.asarray(image.dataobj)
    affine = image.affine.copy()
    affine[:2, 3] -= 2.0 * np.array([x, y])
    if code == 1:  # a scanner's space, in which the head lies where the bed put it
        affine[:2, 3] += (31.0, -17.0)
    wide = nibabel.Nifti1Image(voxels, affine)
    wide.set_sform(affine, code=code)
    wide.set_qform(affine, code=code)
    return wide.to_bytes()


@pytest.mark.skipif(not TEMPLATE.exists(), reason=f"the real template is not there: {TEMPLATE}")
@pytest.mark.parametrize("code", [1, 4])
def test_a_head_far_from_the_middle_of_its_field_is_cut_whole(code) -> None:
    planes = {Level.BASAL_GANGLIA: 6.0, Level.CORTEX: 40.0}
    expected = quantify(parse_slices(TEMPLATE, planes=planes).counts, pixel_spacing_mm=2.0)

    parsed = parse_slices(_wide(nibabel.load(TEMPLATE), (120, -80), code), planes=planes)

    measured = quantify(parsed.counts, pixel_spacing_mm=2.0)
    # Pixels that fall elsewhere between the voxels change a ratio by up to 0.0035.
    np.testing.assert_allclose(measured.left_right_ratio, expected.left_right_ratio, atol=0.005)
    np.testing.assert_allclose(measured.mean_counts, expected.mean_counts, rtol=0.005)
    assert parsed.notes == ()


def test_counts_outside_the_field_are_told_and_a_plane_that_has_all_of_them_there_is_refused() -> None:
    far = _wide(_marked_volume(), (60, 0), 4)
    image = nibabel.Nifti1Image.from_bytes(far)
    for shift, words in ((120.0, r"cropped: \d\d\.\d% of its counts lay outside"), (300.0, "outside the field of 256")):
        affine = image.affine.copy()
        affine[0, 3] += shift
        image.set_sform(affine, code=4)
        image.set_qform(affine, code=4)
        if shift < 200:
            assert any(re.match(words, note) for note in nifti.read_slices(image.to_bytes()).notes)
        else:
            with pytest.raises(FormatError, match=words):
                nifti.read_slices(image.to_bytes())


def test_a_plane_inside_the_volume_that_is_empty_is_not_said_to_lie_outside() -> None:
    image = _marked_volume()
    voxels = np.array(image.dataobj)
    voxels[:, :, 18] = 0

    with pytest.raises(FormatError, match="has its counts at z = -36 mm nowhere"):
        nifti.read_slices(nibabel.Nifti1Image(voxels, image.affine).to_bytes())


def test_coarse_voxels_are_told_to_be_resampled() -> None:
    coarse = nibabel.Nifti1Image(np.ones((46, 55, 46), dtype=np.float32), np.diag([4.0, 4, 4, 1]))
    coarse.affine[:3, 3] = (-90, -126, -72)

    assert "resampled from voxels of 4 x 4 x 4 mm to pixels of 2 mm" in nifti.read_slices(coarse.to_bytes()).notes


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_forms_that_contradict_each_other_are_refused(axis) -> None:
    image = _marked_volume()
    turned = image.affine.copy()
    turned[axis] *= -1
    image.set_sform(image.affine, code=1)
    image.set_qform(turned, code=1)

    with pytest.raises(FormatError, match="qform contradicts its sform, so which side is left is unknown"):
        nifti.read_slices(image.to_bytes())


def test_two_forms_of_a_scanner_and_of_a_template_that_differ_as_a_registration_does_are_read() -> None:
    image = _marked_volume()
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image.set_qform(turn @ image.affine, code=1)
    image.set_sform(1.1 * image.affine, code=4)

    assert len(nifti.read_slices(image.to_bytes())) == 3


def test_written_slices_come_back_equal_and_say_they_are_synthetic() -> None:
    counts = np.random.default_rng(3).random((4, 16, 16), dtype=np.float32)
    for n in (4, 1):
        encoded = write_whole(nifti.write, _batch(counts[:n]))
        image = nibabel.Nifti1Image.from_bytes(encoded)
        assert image.shape == (16, 16, 1, n)
        assert bytes(image.header["descrip"].item()).startswith(b"SYNTHETIC, research use only")

        again = parse_slices(encoded)

        np.testing.assert_array_equal(again.counts, counts[:n])
        assert again.pixel_spacing_mm == pytest.approx(4.0)
        assert again.synthetic
        assert encoded == write_whole(nifti.write, _batch(counts[:n]))


def test_written_slices_lie_in_space_as_the_patient_does() -> None:
    counts = np.zeros((1, 16, 16), dtype=np.float32)
    counts[0, 0, 15] = 1  # front, image right: the patient's left

    image = nibabel.Nifti1Image.from_bytes(write_whole(nifti.write, _batch(counts)))

    voxel = np.argwhere(np.asarray(image.dataobj)[:, :, 0, 0])[0]
    x, y = (image.affine @ [*voxel, 0, 1])[:2]
    assert (x, y) == (-30, 30)  # RAS: negative x is left, positive y is front


def test_gzip_is_read_and_bounded() -> None:
    encoded = _marked_volume().to_bytes()

    assert len(nifti.read_slices(gzip.compress(encoded, 1))) == 3
    with pytest.raises(FormatError, match="would inflate to more than"):
        nifti.read_slices(gzip.compress(bytes(2**22)), max_bytes=2**20)
    with pytest.raises(FormatError, match="cut short"):
        nifti.read_slices(gzip.compress(encoded, 1)[:-100])


def test_a_text_file_named_nii_ends_in_one_line(tmp_path) -> None:
    path = tmp_path / "scan.nii"
    path.write_text("patient,date\nM,1999\n" * 40)

    for read in (parse_slices, nifti.read_slices):
        with pytest.raises(FormatError, match=r"^scan\.nii is not a") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [4, 200, 347, 352, 5000])
def test_a_truncated_volume_is_refused(keep) -> None:
    with pytest.raises(FormatError):
        nifti.read_slices(_marked_volume().to_bytes()[:keep])


def test_a_volume_whose_sides_are_unknown_is_refused() -> None:
    image = _marked_volume()
    image.header.set_sform(None, code=0)
    image.header.set_qform(None, code=0)
    image = nibabel.Nifti1Image(image.dataobj, None, image.header)

    with pytest.raises(FormatError, match="which side is left"):
        nifti.read_slices(image.to_bytes())


def test_a_series_of_volumes_asks_to_be_split() -> None:
    series = nibabel.Nifti1Image(np.ones((8, 8, 8, 3), dtype=np.float32), np.diag([4.0, 4, 4, 1]))

    with pytest.raises(FormatError, match="split the series"):
        nifti.read_slices(series.to_bytes())


def test_nan_outside_the_mask_becomes_zero_and_is_told() -> None:
    image = _marked_volume()
    voxels = np.array(image.dataobj)
    voxels[voxels == 0] = np.nan

    parsed = nifti.read_slices(nibabel.Nifti1Image(voxels, image.affine).to_bytes())

    assert np.isfinite(parsed.counts).all()
    assert "NaN" in parsed.notes[0]


@pytest.mark.parametrize(("value", "words"), [(np.inf, "finite"), (-1e9, "not negative"), (None, "not all zero")])
def test_voxels_that_are_no_counts_are_refused(value, words) -> None:
    image = _marked_volume()
    voxels = np.zeros(image.shape, dtype=np.float32) if value is None else np.array(image.dataobj)
    if value is not None:
        voxels[40, 40, 40] = value

    with pytest.raises(FormatError, match=words):
        nifti.read_slices(nibabel.Nifti1Image(voxels, image.affine).to_bytes())


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_end_in_one_line_or_in_slices_and_never_otherwise(seed, capfd) -> None:
    rng, told = np.random.default_rng(seed), []
    small = np.ones((16, 16, 16), dtype=np.int16)
    whole = nibabel.Nifti1Image(small, np.diag([10.0, 10, 10, 1]) - np.outer([80, 80, 80, 0], [0, 0, 0, 1])).to_bytes()
    npz_file, npy_file = io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz_file, counts=small, level=np.array(["COR"] * 16))
    np.save(npy_file, small)

    for content in (whole, npz_file.getvalue(), npy_file.getvalue()):
        for _ in range(40):
            damaged = bytearray(content)
            for place in rng.integers(min(352, len(damaged)), size=3):
                damaged[place] = rng.integers(256)
            try:
                parse_slices(bytes(damaged), max_bytes=2**24)
            except FormatError as error:
                told.append(str(error))

    assert told
    assert not any("\n" in message for message in told)
    assert capfd.readouterr().err == ""


def test_a_volume_outside_template_space_is_cut_with_a_note_and_planes_of_the_user_silence_it() -> None:
    image = _marked_volume()
    for axes in ("RAS", "LAS"):
        reorder = nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt(tuple("RAS")), nibabel.orientations.axcodes2ornt(tuple(axes))
        )
        stored = image.as_reoriented(reorder)
        stored.set_sform(stored.affine, code=1)
        assert "its own millimetres" in nifti.read_slices(stored.to_bytes()).notes[0]
        assert nifti.read_slices(stored.to_bytes(), planes={Level.CORTEX: 40.0}).notes == ()
        stored.set_sform(stored.affine, code=4)
        assert nifti.read_slices(stored.to_bytes()).notes == ()


def test_a_gzip_of_several_streams_is_read_whole() -> None:
    encoded = _marked_volume().to_bytes()
    expected = nifti.read_slices(encoded).counts

    chained = gzip.compress(encoded[:400_000], 1) + gzip.compress(encoded[400_000:], 1) + bytes(512)

    np.testing.assert_array_equal(nifti.read_slices(chained).counts, expected)
    with pytest.raises(FormatError, match="not a whole gzip"):
        nifti.read_slices(chained + b"noise")


def test_a_chain_of_small_bombs_counts_together() -> None:
    with pytest.raises(FormatError, match="would inflate to more than 1048576"):
        nifti.read_slices(gzip.compress(bytes(2**19)) * 3, max_bytes=2**20)


def test_an_extension_of_an_odd_size_is_passed_over_in_silence() -> None:
    content = bytearray(_marked_volume().to_bytes())
    extension = (24 + 7).to_bytes(4, "little") + (6).to_bytes(4, "little") + bytes(24)
    content[348] = 1
    content[108:112] = np.float32(352 + len(extension)).tobytes()
    expected = nifti.read_slices(_marked_volume().to_bytes()).counts

    parsed = nifti.read_slices(bytes(content[:352]) + extension + bytes(content[352:]))

    np.testing.assert_array_equal(parsed.counts, expected)


def test_planes_are_parsed_and_each_mistake_is_named() -> None:
    assert parse_planes("CER=-30, COR=45") == {Level.CEREBELLUM: -30.0, Level.CORTEX: 45.0}
    for text in ("CER", "CER=high", "CER=1,CER=2", "COR=nan", ""):
        with pytest.raises((RequestError, FormatError), match="--planes"):
            parse_planes(text)


def _batch(counts: np.ndarray) -> SyntheticBatch:
    n = len(counts)
    return SyntheticBatch(
        counts=counts,
        level=np.array(["COR"] * n),
        pattern=np.array(["normal"] * n),
        seed=np.full(n, 7),
        index=np.arange(n),
        pixel_spacing_mm=4.0,
        model_version="3",
        model_sha256="ab" * 32,
    )
