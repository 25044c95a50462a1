"""Batches survive the npz format, the same slices give the same bytes, and hostile files are refused in one line."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from spect.errors import FormatError
from spect.formats import npy, npz
from spect.formats.heading import write_whole
from spect.formats.reader import parse_slices
from spect.slices import SyntheticBatch

PATIENT_WORDS = "SMITH^JOHN_19370213"


def npz_bytes(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture
def batch() -> SyntheticBatch:
    counts = np.random.default_rng(0).random((3, 16, 16), dtype=np.float32)
    return SyntheticBatch(
        counts=counts,
        level=np.array(["COR", "COR", "BG"]),
        pattern=np.array(["unilateral", "unilateral", "normal"]),
        seed=np.array([7, 7, 7]),
        index=np.array([0, 1, 0]),
        pixel_spacing_mm=4.0,
        model_version="3",
        model_sha256="ab" * 32,
        intensity_unit="mL/100g/min",
    )


def test_a_batch_survives_writing_and_reading(batch, tmp_path) -> None:
    npz.save_batch(batch, tmp_path / "batch.npz")

    again = npz.load_batch(tmp_path / "batch.npz")

    assert again.counts.dtype == np.float32
    for field in ("counts", "level", "pattern", "seed", "index"):
        np.testing.assert_array_equal(getattr(again, field), getattr(batch, field))
    assert (again.pixel_spacing_mm, again.model_version, again.model_sha256) == (4.0, "3", "ab" * 32)
    assert again.intensity_unit == "mL/100g/min"
    assert npz.read_slices(tmp_path / "batch.npz").intensity_unit == "mL/100g/min"


def test_numpy_alone_reads_the_file_and_finds_the_notice(batch) -> None:
    with np.load(io.BytesIO(write_whole(npz.write, batch)), allow_pickle=False) as arrays:
        assert str(arrays["notice"]) == "synthetic, research use only"
        assert arrays["level"].tolist() == ["COR", "COR", "BG"]


def test_the_same_slices_give_the_same_bytes_whatever_the_clock_says(batch, tmp_path) -> None:
    first = write_whole(npz.write, batch)
    npz.save_batch(batch, tmp_path / "b.npz")

    assert (tmp_path / "b.npz").read_bytes() == first
    assert {member.date_time[0] for member in zipfile.ZipFile(io.BytesIO(first)).infolist()} == {1980}


def test_a_batch_that_cannot_be_written_leaves_the_file_as_it_was(batch, tmp_path) -> None:
    npz.save_batch(batch, tmp_path / "b.npz")
    before = (tmp_path / "b.npz").read_bytes()

    with pytest.raises(ValueError, match="pickle"):
        npz.save_batch(replace(batch, model_version={"no": "array"}), tmp_path / "b.npz")

    assert (tmp_path / "b.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["b.npz"]


def test_measured_quantities_travel_beside_the_counts(batch) -> None:
    encoded = write_whole(npz.write, replace(batch, measured={"mean_counts": np.array([1.0, 2.0, 3.0])}))

    assert npz.read_arrays(encoded)["mean_counts"].tolist() == [1.0, 2.0, 3.0]


def test_a_synthetic_file_is_known_as_one(batch) -> None:
    assert npz.read_slices(write_whole(npz.write, batch)).synthetic
    assert not npz.read_slices(npz_bytes(counts=batch.counts)).synthetic


def test_one_word_labels_every_slice(batch) -> None:
    parsed = npz.read_slices(npz_bytes(counts=batch.counts, pattern=np.array("normal")))

    assert parsed.pattern is not None
    assert parsed.pattern.tolist() == ["normal"] * 3
    assert parsed.level is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(batch, share) -> None:
    encoded = write_whole(npz.write, batch)

    with pytest.raises(FormatError, match=r"^cut\.npz is not a whole npz file") as caught:
        npz.read_slices(encoded[: int(len(encoded) * share)], name="cut.npz")
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_noticed(batch) -> None:
    encoded = bytearray(write_whole(npz.write, batch))
    encoded[400] ^= 0xFF

    with pytest.raises(FormatError):
        npz.read_slices(bytes(encoded))


def test_pickled_objects_are_never_loaded() -> None:
    evil = npz_bytes(counts=np.array([{"a": 1}], dtype=object))

    with pytest.raises(FormatError, match="object"):
        npz.read_slices(evil)


def test_a_zip_bomb_is_refused_before_it_is_inflated() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("counts.npy", bytes(8 * 2**20))

    with pytest.raises(FormatError, match="would inflate to 8388608 bytes; at most 1048576"):
        npz.read_arrays(buffer.getvalue(), max_bytes=2**20)


def test_a_header_that_promises_more_than_the_file_holds_asks_for_no_memory() -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 128, 128)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("counts.npy", buffer.getvalue())

    with pytest.raises(FormatError, match="cut short"):
        npz.read_slices(archive.getvalue())
    with pytest.raises(FormatError, match="cut short"):
        npy.read_counts(buffer.getvalue())


def test_methods_of_packing_that_cannot_be_bounded_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("counts.npy", b"x" * 100)

    with pytest.raises(FormatError, match="NumPy never writes"):
        npz.read_slices(buffer.getvalue())


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.ones((2, 4, 4))}, "holds 1 array of other names; slices are expected under the name counts"),
        ({"counts": np.full((2, 4, 4), np.nan)}, "finite"),
        ({"counts": -np.ones((2, 4, 4))}, "negative"),
        ({"counts": np.ones((0, 4, 4))}, "shape"),
        ({"counts": np.ones((2, 4, 4)), "level": np.array([1, 2])}, "level"),
        (
            {"counts": np.ones((2, 4, 4)), "level": np.array(["COR"] * 3)},
            r"one word, or one a slice \(2\), got shape \(3,\)",
        ),
        ({"counts": np.ones((2, 4, 4)), "pixel_spacing_mm": np.array(-1.0)}, "pixel_spacing_mm"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_said(arrays, words) -> None:
    with pytest.raises(FormatError, match=words):
        npz.read_slices(npz_bytes(**arrays))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"level": np.array("x" * 100_000)}, "at most 200 characters"),
        ({"patient": np.array("Doe\n\x1b[31m")}, "printable"),
        ({"patient": np.array("\ud800")}, "printable"),
        ({"pattern": np.frombuffer(b"\xff" * 8, dtype="<U2")}, "printable"),
        ({"intensity_unit": np.frombuffer(b"\xff" * 8, dtype="<U2")}, "printable"),
        ({"intensity_unit": np.array(["a", "b"])}, "one word, got 2"),
    ],
)
def test_labels_that_are_no_words_for_people_are_refused_in_one_line(arrays, words) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        npz.read_slices(npz_bytes(counts=np.ones((2, 4, 4)), **arrays))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_small_types_are_bounded_by_the_memory_they_take_as_counts() -> None:
    with pytest.raises(FormatError, match="holds 2097152 values; at most 1048576 are read"):
        npz.read_slices(npz_bytes(counts=np.ones((2, 1024, 1024), dtype=np.uint8)), max_bytes=2**22)


@pytest.mark.parametrize(
    "shape", ["(-1, 4, 4)", "(0, 10000000000000000000000, 1)", "(" + "1, " * 70 + ")", "(0, -1)", "(True, 4, 4)"]
)
def test_a_shape_no_array_can_have_is_refused_in_one_line(shape) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()

    with pytest.raises(FormatError, match="claims the shape"):
        npy.read_counts(npy.MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))


def test_a_member_beyond_the_end_of_the_file_is_told_without_an_error_number(batch) -> None:
    content = write_whole(npz.write, batch)

    with pytest.raises(FormatError, match="not a whole npz file") as caught:
        npz.read_slices(content[:40] + content[900:])
    assert "Errno" not in str(caught.value)


def test_a_file_that_is_no_batch_names_what_it_lacks(batch) -> None:
    with pytest.raises(FormatError, match="lacks level, pattern, seed, index"):
        npz.load_batch(npz_bytes(counts=batch.counts))


def _zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _object_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _record_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(2, dtype=[(PATIENT_WORDS, "f4")]))
    return buffer.getvalue()


def _huge_array() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99, 99, 99)}\n"
    return npy.MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header


NAMING: dict[str, bytes] = {
    "another name": _zipped({f"{PATIENT_WORDS}.npy": _npy(np.ones((1, 4, 4), dtype=np.float32))}),
    "no array": _zipped({f"{PATIENT_WORDS}_report.txt": b"text"}),
    "packed": _zipped({f"{PATIENT_WORDS}.npy": b"x" * 100}, zipfile.ZIP_LZMA),
    "objects": _zipped({f"{PATIENT_WORDS}.npy": _object_array()}),
    "records": _zipped({"counts.npy": _record_array()}),
    "no numpy": _zipped({f"{PATIENT_WORDS}.npy": b"text" * 20}),
    "cut short": _zipped({f"{PATIENT_WORDS}.npy": _huge_array()}),
    "names differ": _zipped({f"{PATIENT_WORDS}.npy": b"x" * 100}).replace(
        PATIENT_WORDS.encode(), PATIENT_WORDS[::-1].encode(), 1
    ),
    "checksum": _zipped({f"{PATIENT_WORDS}.npy": _npy(np.ones((1, 4, 4), dtype=np.float32))}).replace(
        np.float32(1).tobytes() * 4, np.float32(2).tobytes() * 4
    ),
    "a spacing of words": npz_bytes(counts=np.ones((1, 4, 4)), pixel_spacing_mm=np.array(PATIENT_WORDS)),
}


@pytest.mark.parametrize("content", NAMING.values(), ids=NAMING.keys())
@pytest.mark.parametrize("read", [parse_slices, npz.load_batch])
def test_no_text_of_an_npz_reaches_an_error(read, content) -> None:
    with pytest.raises(FormatError, match=r"^the file\b") as caught:
        read(content, name="the file")
    assert PATIENT_WORDS not in str(caught.value)
    assert PATIENT_WORDS[::-1] not in str(caught.value)


def test_a_batch_whose_spacing_is_a_word_is_refused_without_quoting_it(batch) -> None:
    arrays = {**npz.read_arrays(write_whole(npz.write, batch)), "pixel_spacing_mm": np.array(PATIENT_WORDS)}

    with pytest.raises(FormatError, match="a field is of another kind") as caught:
        npz.load_batch(npz_bytes(**arrays))
    assert PATIENT_WORDS not in str(caught.value)


def test_an_npy_of_records_is_refused_without_their_names() -> None:
    with pytest.raises(FormatError, match="holds other values") as caught:
        npy.read_counts(_record_array())
    assert PATIENT_WORDS not in str(caught.value)


def test_an_npy_file_reads_in_either_memory_order(batch) -> None:
    np.testing.assert_array_equal(npy.read_counts(_npy(batch.counts)).counts, batch.counts)
    fortran = io.BytesIO()
    np.save(fortran, np.asfortranarray(batch.counts))
    np.testing.assert_array_equal(npy.read_counts(fortran.getvalue()).counts, batch.counts)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_other_files_are_refused_by_their_first_bytes(content) -> None:
    with pytest.raises(FormatError, match=r"^strange "):
        parse_slices(content, name="strange")


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(FormatError, match=r"gone\.npz does not exist"):
        parse_slices(tmp_path / "gone.npz")
