"""A batch that comes in parts is the same bytes as a whole one, and a stream that was cut off is noticed."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from spect.errors import FormatError, SlicesError
from spect.formats import nifti, npy, npz
from spect.formats.heading import Heading, Writer, write_whole
from spect.formats.writer import FORMATS
from spect.slices import SyntheticBatch

WRITERS: dict[str, Writer] = {name: known.encode for name, known in FORMATS.items()}
CUTS = [(7,), (1, 1, 1, 1, 1, 1, 1), (3, 4), (6, 1)]


@pytest.fixture
def batch() -> SyntheticBatch:
    return SyntheticBatch(
        counts=np.random.default_rng(0).random((7, 16, 16), dtype=np.float32) * 90,
        level=np.array(["COR"] * 5 + ["BG"] * 2),
        pattern=np.array(["unilateral"] * 5 + ["normal"] * 2),
        seed=np.full(7, 7),
        index=np.array([3, 4, 5, 6, 7, 0, 1]),
        pixel_spacing_mm=4.0,
        model_version="3",
        model_sha256="ab" * 32,
        measured={"mean_counts": np.arange(7.0), "left_right_ratio": np.ones(7)},
    )


def cut(batch: SyntheticBatch, sizes: tuple[int, ...]) -> Iterator[SyntheticBatch]:
    first = 0
    for size in sizes:
        rows = slice(first, first + size)
        first += size
        fields = {name: getattr(batch, name)[rows] for name in ("counts", "level", "pattern", "seed", "index")}
        yield replace(batch, **fields, measured={name: values[rows] for name, values in batch.measured.items()})


@pytest.mark.parametrize("sizes", CUTS)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_streamed_bytes_equal_whole_ones(batch, write: Writer, sizes) -> None:
    streamed = b"".join(write(Heading.of(batch), cut(batch, sizes)))

    assert streamed == write_whole(write, batch)


@pytest.mark.parametrize("write", [npz.write, npy.write, nifti.write], ids=["npz", "npy", "nifti"])
def test_a_part_is_sent_before_the_next_is_made(batch, write: Writer) -> None:
    sent_before: list[int] = []
    sent = 0

    def parts() -> Iterator[SyntheticBatch]:
        for part in cut(batch, (1,) * 7):
            sent_before.append(sent)
            yield part

    for chunk in write(Heading.of(batch), parts()):
        sent += len(chunk)

    bytes_a_slice = batch.counts[0].nbytes
    assert all(sent_before[made] >= made * bytes_a_slice for made in range(7))


def test_numpy_and_zipfile_open_what_was_streamed(batch, tmp_path) -> None:
    path = tmp_path / "streamed.npz"
    path.write_bytes(b"".join(npz.write(Heading.of(batch), cut(batch, (3, 4)))))

    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["counts"], batch.counts)
        assert arrays["mean_counts"].tolist() == list(range(7))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {member.external_attr >> 16 for member in archive.infolist()} == {0o644}
    again = npz.load_batch(path)
    assert again.measured["mean_counts"].tolist() == list(range(7))
    np.testing.assert_array_equal(again.index, batch.index)


def test_nibabel_itself_would_write_the_same_stack(batch) -> None:
    written = write_whole(nifti.write, batch)
    image = nibabel.Nifti1Image.from_bytes(written)

    assert image.shape == (16, 16, 1, 7)
    assert image.to_bytes() == written
    np.testing.assert_array_equal(nifti.read_slices(written).counts, batch.counts)


def test_numpy_itself_would_write_the_same_array(batch) -> None:
    buffer = io.BytesIO()
    np.save(buffer, batch.counts)

    assert write_whole(npy.write, batch) == buffer.getvalue()


def test_a_stream_cut_off_anywhere_never_loads(batch) -> None:
    chunks = list(npz.write(Heading.of(batch), cut(batch, (3, 4))))
    whole = b"".join(chunks)

    for end in {*np.cumsum([len(chunk) for chunk in chunks])[:-1].tolist(), *range(1, len(whole), 37), len(whole) - 1}:
        for read in (npz.load_batch, npz.read_slices):
            with pytest.raises(FormatError, match=r"^cut is not a whole npz file; copy or download it again$"):
                read(whole[:end], name="cut")


def test_a_failure_on_the_way_leaves_no_file_that_opens(batch) -> None:
    def failing() -> Iterator[SyntheticBatch]:
        yield from cut(batch, (3,))
        raise RuntimeError("the generator broke")

    sent = io.BytesIO()
    with pytest.raises(RuntimeError, match="broke"):
        sent.writelines(npz.write(Heading.of(batch), failing()))
    assert batch.counts[:3].tobytes() in sent.getvalue()
    with pytest.raises(FormatError, match="not a whole npz file"):
        npz.load_batch(sent.getvalue())


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_parts_that_are_not_the_heading_s_are_refused(batch, write: Writer) -> None:
    heading = Heading.of(batch)
    wrong = {
        "3 slices came of 7": cut(batch, (3,)),
        "not those of the heading": [*cut(batch, (3, 4))][::-1],
        "make them again": [replace(batch, counts=batch.counts[:, :8, :8])],
        "slices up to 7 of 7": [replace(batch, model_sha256="cd" * 32)],
    }
    for words, parts in wrong.items():
        with pytest.raises(SlicesError, match=words):
            list(write(heading, parts))


def test_an_abandoned_stream_is_let_go_quietly(batch) -> None:
    chunks = npz.write(Heading.of(batch), cut(batch, (3, 4)))
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
