"""Damaged PNG and TIFF, 8 and 16 bits: sizes and chunks that lie, wrong checksums, bombs, loops and strange tags."""

import struct
import zlib
from collections.abc import Callable

import numpy as np

from tests.fuzz.case import Case, Rng
from tests.fuzz.phantoms import head_slices
from tests.fuzz.raw_bytes import MUTATORS as BYTE_MUTATORS
from tests.fuzz.raw_bytes import words

PictureMutator = Callable[[np.ndarray, Rng], bytes]
_LABELS = b"file,level,pattern,patient,pixel_spacing_mm,left\nscan.%s,COR,normal,A-1,8,image-right\n"
_SIZES = (0, 1, 31, 33, 64, 4096, 5000, 65535, 100_000, 2**31 - 1, 2**31, 2**32 - 1)


def _picture(rng: Rng) -> np.ndarray:
    counts = head_slices(rng, slices=1)[0]
    return counts.astype(np.uint16) * 100 if rng.integers(2) else np.minimum(counts, 255).astype(np.uint8)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    picture: np.ndarray,
    *,
    header: dict[str, int] | None = None,
    extra: tuple[bytes, ...] = (),
    body: bytes | None = None,
) -> bytes:
    """A PNG, its header as told, with chunks between header and pixels."""
    rows, columns = picture.shape
    facts = {"columns": columns, "rows": rows, "depth": 8 * picture.itemsize, "colour": 0, "packing": 0, "filter": 0}
    facts |= {"interlace": 0} | (header or {})
    lines = picture.astype(picture.dtype.newbyteorder(">"))
    raw = b"".join(b"\0" + line.tobytes() for line in lines) if body is None else body
    start = struct.pack(">IIBBBBB", *facts.values())
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", start),
            *extra,
            _chunk(b"IDAT", zlib.compress(raw, 1)),
            _chunk(b"IEND", b""),
        )
    )


def png_of_absurd_size(picture: np.ndarray, rng: Rng) -> bytes:
    sides = {side: int(rng.choice(_SIZES)) for side in ("rows", "columns") if rng.integers(3)}
    return png(picture, header=sides)


def png_of_another_kind(picture: np.ndarray, rng: Rng) -> bytes:
    field = str(rng.choice(["depth", "colour", "packing", "filter", "interlace"]))
    return png(picture, header={field: int(rng.choice([0, 1, 2, 3, 4, 6, 7, 16, 32, 255]))})


def png_with_strange_chunks(picture: np.ndarray, rng: Rng) -> bytes:
    chunks = (
        _chunk(b"tEXt", b"Comment\0" + b"x" * 100),
        _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(24 << 20), 1)),
        _chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(24 << 20), 1)),
        _chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(24 << 20), 1)),
        _chunk(b"eXIf", b"MM\0*" + b"\xff" * 40),
        _chunk(b"tRNS", b"\0\0"),
        _chunk(b"PLTE", bytes(768)),
        _chunk(b"acTL", struct.pack(">II", 2**31, 0)),
        _chunk(b"fcTL", bytes(26)),
        _chunk(b"pHYs", b"\xff" * 9),
        _chunk(b"gAMA", bytes(4)),
        _chunk(b"IHDR", bytes(13)),
        _chunk(b"IEND", b""),
        _chunk(b"????", bytes(10)),
        struct.pack(">I", 2**31 - 1) + b"tEXt",
        _chunk(b"tEXt", b"Comment\0synthetic"),
    )
    return png(picture, extra=tuple(chunks[int(rng.integers(len(chunks)))] for _ in range(int(rng.integers(1, 4)))))


def png_bomb(picture: np.ndarray, rng: Rng) -> bytes:
    if rng.integers(2):
        return png(picture, body=bytes(24 << 20))
    return png(picture, header={"rows": 4096, "columns": 4096, "depth": 8}, body=bytes(4096 * 4097))


def png_with_wrong_checksum(picture: np.ndarray, rng: Rng) -> bytes:
    content = bytearray(png(picture))
    place = (29, len(content) - 14, len(content) - 2)[int(rng.integers(3))]
    content[place] ^= 0xFF
    return bytes(content)


def tiff(picture: np.ndarray, *, tags: dict[int, tuple[int, int, int]] | None = None, next_page: int = 0) -> bytes:
    """A TIFF of one strip; `tags` are (type, count, value) over the sound ones."""
    rows, columns = picture.shape
    sound = {
        256: (4, 1, columns),
        257: (4, 1, rows),
        258: (3, 1, 8 * picture.itemsize),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (4, 1, rows),
        279: (4, 1, picture.nbytes),
    }
    entries = sorted((sound | (tags or {})).items())
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHI", tag, kind, count) + struct.pack("<I", value & 0xFFFFFFFF)
        for tag, (kind, count, value) in entries
    )
    body = picture.astype(picture.dtype.newbyteorder("<")).tobytes()
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + struct.pack("<I", next_page)


def tiff_of_absurd_size(picture: np.ndarray, rng: Rng) -> bytes:
    sides = {tag: (4, 1, int(rng.choice(_SIZES))) for tag in (256, 257, 278) if rng.integers(2)}
    return tiff(picture, tags=sides)


def tiff_with_absurd_strips(picture: np.ndarray, rng: Rng) -> bytes:
    tag = int(rng.choice([273, 279]))
    return tiff(picture, tags={tag: (4, int(rng.choice([0, 1, 2, 2**31, 2**32 - 1])), int(rng.choice(_SIZES)))})


def tiff_of_another_kind(picture: np.ndarray, rng: Rng) -> bytes:
    tag = int(rng.choice([258, 259, 262, 266, 274, 277, 284, 317, 338, 339]))
    value = int(rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 32, 64, 32773, 32946, 50000, 65535]))
    return tiff(picture, tags={tag: (3, int(rng.choice([1, 1, 2, 0])), value)})


def tiff_with_strange_tags(picture: np.ndarray, rng: Rng) -> bytes:
    tag, kind = int(rng.choice([270, 282, 305, 320, 330, 34665, 34853, 50838, 65000, 0])), int(rng.integers(0, 19))
    return tiff(picture, tags={tag: (kind, int(rng.choice([0, 1, 9, 2**20, 2**32 - 1])), int(rng.choice(_SIZES)))})


def tiff_of_endless_pages(picture: np.ndarray, rng: Rng) -> bytes:
    """The next page is this one, or lies in the pixels, at the start or far beyond the end."""
    own = 8 + picture.nbytes
    return tiff(picture, next_page=int(rng.choice([own, own, 1, 8, 2**31, 2**32 - 1, own + 2])))


def tiff_of_many_pages(picture: np.ndarray, rng: Rng) -> bytes:
    """Directory after directory, all of the same pixels."""
    first = tiff(picture)
    start = 8 + picture.nbytes
    directory, content = first[start:-4], first[:start]
    for _ in range(int(rng.choice([3, 1500, 20_000]))):
        content += directory + struct.pack("<I", len(content) + len(directory) + 4)
    return content + directory + bytes(4)


PNG_MUTATORS: tuple[PictureMutator, ...] = (
    png_of_absurd_size,
    png_of_another_kind,
    png_with_strange_chunks,
    png_bomb,
    png_with_wrong_checksum,
)
TIFF_MUTATORS: tuple[PictureMutator, ...] = (
    tiff_of_absurd_size,
    tiff_with_absurd_strips,
    tiff_of_another_kind,
    tiff_with_strange_tags,
    tiff_of_endless_pages,
    tiff_of_many_pages,
)


def _case(rng: Rng, suffix: str, mutators: tuple[PictureMutator, ...], encode: Callable[[np.ndarray], bytes]) -> Case:
    choices = (*mutators, *mutators, *BYTE_MUTATORS)
    mutator = choices[int(rng.integers(len(choices)))]
    picture = _picture(rng)
    damaged = mutator(picture, rng) if mutator in mutators else mutator(encode(picture), rng)  # type: ignore[arg-type]
    return Case(scans={f"scan.{suffix}": damaged}, labels=_LABELS % suffix.encode(), how=words(mutator))


def png_case(rng: Rng) -> Case:
    """A gray PNG of 8 or 16 bits with one damage."""
    return _case(rng, "png", PNG_MUTATORS, png)


def tiff_case(rng: Rng) -> Case:
    """A gray TIFF of 8 or 16 bits with one damage."""
    return _case(rng, "tif", TIFF_MUTATORS, tiff)
