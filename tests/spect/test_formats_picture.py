"""Reading pictures: gray values as they are, everything that is not plain gray refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from spect.errors import FormatError
from spect.formats import picture
from spect.formats.png import contact_sheet_png
from spect.formats.reader import parse_slices

GRAY8 = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)
GRAY16 = (np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) * 16).astype(np.uint16)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _text(**chunks: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, words in chunks.items():
        info.add_text(key, words)
    return info


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("gray", [GRAY8, GRAY16], ids=["8 bit", "16 bit"])
def test_gray_values_are_the_counts(kind, gray) -> None:
    parsed = picture.read_slices(_encoded(Image.fromarray(gray), kind))

    np.testing.assert_array_equal(parsed.counts, gray[None].astype(np.float32))
    assert not parsed.left_known
    assert parsed.pixel_spacing_mm is None


def test_the_resolution_written_for_paper_is_no_pixel_spacing() -> None:
    assert picture.read_slices(_encoded(Image.fromarray(GRAY8), "PNG", dpi=(72, 72))).pixel_spacing_mm is None


def test_the_pages_of_a_tiff_are_slices_in_their_order() -> None:
    pages = [Image.fromarray((GRAY16 // k).astype(np.uint16)) for k in (1, 2, 3)]

    parsed = picture.read_slices(_encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))

    np.testing.assert_array_equal(parsed.counts, np.stack([GRAY16 // k for k in (1, 2, 3)]).astype(np.float32))


def _png_of(depth: int, colour: int, side: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def _white_is_zero() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    return _encoded(Image.fromarray(GRAY8), "TIFF", tiffinfo=tags)


def _turned() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 6
    return _encoded(Image.fromarray(GRAY8), "TIFF", tiffinfo=tags)


def _two_sizes() -> bytes:
    small = Image.fromarray(GRAY8[:32])
    return _encoded(Image.fromarray(GRAY8), "TIFF", save_all=True, append_images=[small])


def _two_depths() -> bytes:
    deep = Image.fromarray(GRAY16[: GRAY8.shape[0], : GRAY8.shape[1]])
    assert deep.size == (GRAY8.shape[1], GRAY8.shape[0])
    return _encoded(Image.fromarray(GRAY8), "TIFF", save_all=True, append_images=[deep])


def _many_pages() -> bytes:
    page = Image.fromarray(GRAY8[:2, :2])
    return _encoded(page, "TIFF", save_all=True, append_images=[page] * picture.MAX_PAGES)


_COLOURED = Image.merge("RGB", [Image.fromarray(GRAY8)] * 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_encoded(_COLOURED, "PNG"), "RGB colours: colours cannot be turned back into counts"),
        (_encoded(_COLOURED, "TIFF"), "RGB colours: colours"),
        (_encoded(_COLOURED.convert("P"), "PNG"), "palette of colours"),
        (_encoded(_COLOURED.convert("P"), "TIFF"), "palette of colours"),
        (_encoded(_COLOURED.convert("RGBA"), "PNG"), "RGB colours"),
        (_encoded(Image.fromarray(GRAY8).convert("LA"), "PNG"), "transparency"),
        (_encoded(Image.fromarray(GRAY8).convert("LA"), "TIFF"), "transparency"),
        (_encoded(Image.fromarray(GRAY8), "PNG", transparency=0), "transparency"),
        (_encoded(Image.fromarray(GRAY8).convert("1"), "PNG"), "1 bits a pixel"),
        (_encoded(Image.fromarray(GRAY8).convert("1"), "TIFF"), "1 bits a pixel"),
        (_png_of(4, 0), "4 bits a pixel"),
        (_encoded(Image.fromarray(GRAY16.astype(np.int32)), "TIFF"), "signed or floating"),
        (_encoded(Image.fromarray(GRAY16.astype(np.float32)), "TIFF"), "signed or floating"),
        (_white_is_zero(), "zero as white"),
        (_turned(), "asks to be turned"),
        (_two_sizes(), "different sizes"),
        (_two_depths(), "pages of 8 and of 16 bits"),
        (_many_pages(), "more than 1024 pages"),
        (_png_of(16, 0, side=2**20), "broken|too large"),
        (_png_of(8, 0, side=8192), "too large for a slice"),
        (_encoded(Image.fromarray(GRAY16), "PNG")[:-60], "cut-off"),
        (_encoded(Image.fromarray(GRAY16), "TIFF")[:-900], "cut-off"),
        (b"\x89PNG\r\n\x1a\n", "cut-off"),
        (b"GIF89a" + bytes(100), "is no picture"),
        (_encoded(Image.fromarray(GRAY8), "PNG", pnginfo=_text(Description="SYNTHETIC - x")), "marked as synthetic"),
        (_encoded(Image.fromarray(GRAY8), "TIFF", description="synthetic slices"), "marked as synthetic"),
    ],
)
def test_what_is_not_plain_gray_and_whole_is_refused_in_one_sentence(content, words) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        picture.read_slices(content, name="the file")

    assert str(caught.value).startswith("the file ")
    assert str(caught.value).isprintable()


def test_our_own_contact_sheet_is_no_scan() -> None:
    with pytest.raises(FormatError, match="colours"):
        picture.read_slices(contact_sheet_png(np.ones((1, 64, 64), dtype=np.float32)))


def test_a_file_larger_than_allowed_is_not_read(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_encoded(Image.fromarray(GRAY8), "PNG"))

    with pytest.raises(FormatError, match=r"a\.png has \d+ bytes; at most 100"):
        picture.read_slices(path, max_bytes=100)


def test_a_picture_is_not_read_where_no_labels_can_tell_its_left() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(buffer, format="PNG")
    with pytest.raises(FormatError, match=r"upload is a picture, .* which side is left; .* cohort import"):
        parse_slices(buffer.getvalue(), name="upload")
