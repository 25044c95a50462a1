"""Contact sheets show every slice, say what they are, and are the same bytes every time."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from spect.errors import SlicesError
from spect.formats.heading import write_whole
from spect.formats.png import contact_sheet_png, labelled_rows_png
from spect.formats.png_write import write_single
from spect.slices import SyntheticBatch


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).random((6, 32, 32), dtype=np.float32) * 50


@pytest.mark.parametrize("source", ["synthetic", "simulated", "acquired"])
def test_a_sheet_carries_its_source_in_a_text_chunk(counts, source) -> None:
    image = Image.open(io.BytesIO(contact_sheet_png(counts, source=source, title="six", pixel_spacing_mm=8.0)))

    assert image.info["Source"] == source
    assert source in image.info["Description"].lower()
    assert "research use only" in image.info["Description"]


def test_the_mark_is_drawn_and_not_only_stored(counts) -> None:
    image = np.asarray(Image.open(io.BytesIO(contact_sheet_png(counts))).convert("RGB")).astype(int)

    mark_red = (np.abs(image - [0xB0, 0x00, 0x20]).sum(axis=-1) < 30).sum()
    assert mark_red > 200


def test_the_same_slices_give_the_same_picture(counts) -> None:
    assert contact_sheet_png(counts, captions=list("abcdef")) == contact_sheet_png(counts, captions=list("abcdef"))


def test_all_slices_share_one_intensity_scale(counts) -> None:
    faint = np.concatenate([counts[:1], counts[:1] * 0.01])

    image = np.asarray(Image.open(io.BytesIO(contact_sheet_png(faint, columns=2))).convert("L"))

    middle = image[image.shape[0] // 2]
    assert middle[40:140].mean() > 3 * middle[180:270].mean()


def test_rows_may_be_ragged_or_empty(counts) -> None:
    sheet = labelled_rows_png({"COR/normal": counts[:4], "COR/unilateral": counts[4:], "COR/bilateral": counts[:0]})

    assert Image.open(io.BytesIO(sheet)).size[0] > 4 * 128


def test_no_slice_and_too_many_are_refused(counts) -> None:
    with pytest.raises(SlicesError, match="1 to 256 slices, got 0"):
        contact_sheet_png(counts[:0])
    with pytest.raises(SlicesError, match="1 to 256 slices, got 257"):
        contact_sheet_png(np.zeros((257, 2, 2), dtype=np.float32))
    with pytest.raises(SlicesError, match="1 to 64 slices, got 65"):
        contact_sheet_png(np.zeros((65, 256, 256), dtype=np.float32))
    with pytest.raises(SlicesError, match="got 0"):
        labelled_rows_png({"COR/normal": counts[:0]})


def test_slices_without_any_count_still_draw() -> None:
    assert contact_sheet_png(np.zeros((1, 32, 32), dtype=np.float32)).startswith(b"\x89PNG")


def test_single_pictures_say_what_they_are_and_what_their_grays_mean(counts) -> None:
    batch = SyntheticBatch(
        counts=counts,
        level=np.array(["COR"] * 6),
        pattern=np.array(["unilateral"] * 6),
        seed=np.full(6, 7),
        index=np.arange(6),
        pixel_spacing_mm=8.0,
        model_version="3",
        model_sha256="ab" * 32,
        intensity_unit="mL/100g/min",
    )

    with zipfile.ZipFile(io.BytesIO(write_whole(write_single, batch))) as archive:
        names = archive.namelist()
        pictures = [Image.open(io.BytesIO(archive.read(name))) for name in names]

    assert names[5] == "synthetic-00005-COR-unilateral-7-5.png"
    for row, picture in enumerate(pictures):
        assert picture.info["Source"] == "synthetic"
        assert "never for diagnosis" in picture.info["Description"]
        assert picture.info["Slice"] == f"COR-unilateral-7-{row}, model 3 {'ab' * 32}"
        assert picture.info["Scale"].endswith("mL/100g/min; pixels of 8 mm")
        highest = float(re.search(r"is 0 to (\S+)", picture.info["Scale"])[1])
        np.testing.assert_allclose(np.asarray(picture) * (highest / 65535), counts[row], atol=highest / 65535)


def test_a_single_picture_of_nothing_is_black(counts) -> None:
    dark = np.zeros_like(counts[:1])
    batch = SyntheticBatch(
        counts=dark,
        level=np.array(["COR"]),
        pattern=np.array(["normal"]),
        seed=np.array([7]),
        index=np.array([0]),
        pixel_spacing_mm=8.0,
        model_version="3",
        model_sha256="ab" * 32,
    )
    with zipfile.ZipFile(io.BytesIO(write_whole(write_single, batch))) as archive:
        assert not np.asarray(Image.open(io.BytesIO(archive.read(archive.namelist()[0])))).any()
