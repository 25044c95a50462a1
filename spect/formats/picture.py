"""Read gray pictures (PNG, TIFF) as slices: their pixel values are the counts; colours are refused, never guessed back.

A picture knows neither its pixel spacing (resolution tags speak of paper) nor which side is the patient's left: both
are left open here, and the labels of an import must state them.
"""

import io
import logging
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from spect.errors import FormatError, SlicesError
from spect.formats.npy import MAX_BYTES
from spect.formats.parsed import ParsedSlices
from spect.formats.units import GRAY_UNITS
from spect.slices import check_counts

SUFFIXES = (".png", ".tif", ".tiff")
MAX_SIDE = 4096  # pixels; sixteen times the finest camera matrix
MAX_PAGES = 1024

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# PNG specification, IHDR: the byte of the bit depth, then of the colour type.
_PNG_DEPTH, _PNG_COLOUR = 24, 25
_PNG_COLOURS = {2: "RGB colours", 3: "a palette of colours", 4: "gray with transparency", 6: "RGB colours"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
# TIFF 6.0: none, LZW, deflate (either number), PackBits. What is made for documents or photographs holds no counts.
_COMPRESSIONS = (1, 5, 8, 32946, 32773)
_TIFF_COLOURS = {2: "RGB colours", 3: "a palette of colours", 5: "CMYK colours", 6: "YCbCr colours", 8: "Lab colours"}
_ORIENTATION = 0x0112
_UPRIGHT = 1
# What synspect writes into its own pictures (spect.formats.png), or anybody into theirs.
_MARK = re.compile(r"\b(synthetic|simulated)\b", re.IGNORECASE)
_PILLOW_LOG = logging.getLogger("PIL.TiffImagePlugin")
_STANDARD_ERROR = 2
# What is silenced belongs to the whole process: two threads at once would restore each other's silence.
_SILENCE = threading.RLock()
_BROKEN = (
    OSError,
    SyntaxError,  # how Pillow says "broken PNG"
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these (at least 8) bytes is a PNG or a TIFF."""
    return head.startswith((_PNG, *_TIFF))


def read_slices(source: Path | bytes, *, name: str | None = None, max_bytes: int = MAX_BYTES) -> ParsedSlices:
    """Read a gray PNG, or the pages of a gray TIFF, of 8 or 16 bits: values as they are, row 0 on top.

    Sizes are checked before a pixel is decoded. Raises `FormatError` for colours, transparency, other depths, pages
    of different sizes, pictures marked synthetic, and whatever is broken.
    """
    name = name or (source.name if isinstance(source, Path) else "the picture")
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > max_bytes:
        raise FormatError(f"{name} has {size} bytes; at most {max_bytes} are read: split it")
    content = source if isinstance(source, bytes) else source.read_bytes()
    if not is_picture(content[:8]):
        raise FormatError(f"{name} is no picture; PNG and TIFF are read")
    if content.startswith(_PNG):
        _check_png_header(content, name)
    with _readable(name), Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as image:
        pages = list(_pages(image, name, max_bytes))
        _check_marks(image, name)
    if len({page.shape for page in pages}) > 1:
        raise FormatError(f"{name} has pages of different sizes; save those of one size as a file of their own")
    if len({page.dtype for page in pages}) > 1:
        raise FormatError(f"{name} has pages of 8 and of 16 bits; save those of one depth as a file of their own")
    try:
        counts = check_counts(np.stack(pages))
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None
    return ParsedSlices(counts=counts, intensity_unit=GRAY_UNITS[8 * pages[0].dtype.itemsize], left_known=False)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever Pillow finds wrong into one `FormatError`; its own words may quote the file's tags."""
    try:
        with _SILENCE, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tags nobody needs here may be odd
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _PILLOW_LOG.addFilter(_drop)
            yield
    except _BROKEN:
        raise FormatError(f"{name} is a broken or cut-off picture; copy or export it again") from None
    finally:
        _PILLOW_LOG.removeFilter(_drop)


def _pages(image: Image.Image, name: str, max_bytes: int) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield each page as it is stored, checked before it is decoded."""
    pixels = 0
    for number in range(MAX_PAGES + 1):
        try:
            image.seek(number)
        except EOFError:
            return
        if number == MAX_PAGES:
            raise FormatError(f"{name} has more than {MAX_PAGES} pages; split it")
        pixels += image.width * image.height
        if max(image.size) > MAX_SIDE or 4 * pixels > max_bytes:
            raise FormatError(f"{name} is a picture of {image.width} x {image.height} pixels, too large for a slice")
        _check_gray(image, name)
        yield _decode(image)


def _decode(image: Image.Image) -> NDArray[np.unsignedinteger]:
    with _quiet_decoder() if isinstance(image, TiffImagePlugin.TiffImageFile) else nullcontext():
        image.load()
    values: NDArray[np.unsignedinteger] = np.asarray(image)
    return values


@contextmanager
def _quiet_decoder() -> Iterator[None]:
    """Keep libtiff from writing to the process's standard error, past Python: what is wrong comes as an error too."""
    with _SILENCE:
        kept = os.dup(_STANDARD_ERROR)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STANDARD_ERROR)
            yield
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
            os.close(nowhere)


def _drop(_record: logging.LogRecord) -> bool:
    return False


def _check_png_header(content: bytes, name: str) -> None:
    header = content[: _PNG_COLOUR + 1]
    if len(header) <= _PNG_COLOUR:
        raise FormatError(f"{name} is a broken or cut-off picture; copy or export it again")
    if header[_PNG_COLOUR] != 0:
        _refuse_colour(name, _PNG_COLOURS.get(header[_PNG_COLOUR], "an unknown kind of colour"))
    _check_depth(name, header[_PNG_DEPTH])


def _check_gray(image: Image.Image, name: str) -> None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff_page(image, name)
    elif getattr(image, "n_frames", 1) != 1:
        raise FormatError(f"{name} is an animation; save each slice as a picture of its own")
    elif "transparency" in image.info:
        _refuse_colour(name, "gray with transparency")
    if image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        raise FormatError(f"{name} asks to be turned when shown; save it upright, the patient's front on top")


def _check_tiff_page(image: TiffImagePlugin.TiffImageFile, name: str) -> None:
    tags = image.tag_v2
    if tags.get(TiffImagePlugin.COMPRESSION, 1) not in _COMPRESSIONS:
        raise FormatError(f"{name} is compressed as documents or photographs are; save it uncompressed")
    photometric = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, -1)  # a picture that does not say is refused
    if photometric == _WHITE_IS_ZERO:
        raise FormatError(f"{name} shows zero as white; save it with black as zero, so that values grow with counts")
    if photometric != _BLACK_IS_ZERO:
        _refuse_colour(name, _TIFF_COLOURS.get(photometric, "an unknown kind of colour"))
    if tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) != 1:
        _refuse_colour(name, "gray with transparency")
    if set(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) != {1}:
        raise FormatError(f"{name} holds signed or floating values; 8 or 16 bit without a sign are read")
    _check_depth(name, *tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))


def _refuse_colour(name: str, kind: str) -> None:
    raise FormatError(f"{name} holds {kind}: colours cannot be turned back into counts; export it in plain gray")


def _check_depth(name: str, *bits: int) -> None:
    if bits not in {(8,), (16,)}:
        told = ", ".join(map(str, bits[:4]))
        raise FormatError(f"{name} has {told} bits a pixel; 8 or 16 are read: export it again")


def _check_marks(image: Image.Image, name: str) -> None:
    """Refuse what says it is not a patient's; PNG text may follow the pixels, so this comes after them."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        words = [str(text) for text in image.text.values()]
    else:
        words = [str(image.getexif().get(tag, "")) for tag in (0x010E, 0x0131)]  # ImageDescription, Software
    if any(_MARK.search(word) for word in words):
        raise FormatError(f"{name} is marked as synthetic or simulated; a cohort holds scans of patients")
