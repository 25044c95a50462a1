"""Damaged NIfTI-1 and NIfTI-2 files, plain and gzipped: absurd dimensions, scales, affines, offsets and bombs."""

import gzip
import struct
import zlib
from collections.abc import Callable

import nibabel
import numpy as np

from tests.fuzz.case import Case, Rng
from tests.fuzz.phantoms import AFFINE, head_slices, head_volume
from tests.fuzz.raw_bytes import MUTATORS as BYTE_MUTATORS
from tests.fuzz.raw_bytes import words

Image = nibabel.Nifti1Image
ImageMutator = Callable[[bytes, Rng], bytes]

# Where a field lies, and how it is packed: NIfTI-1, NIfTI-2 (nifti1.h, nifti2.h).
_FIELDS = {
    "sizeof_hdr": ((0, "i"), (0, "i")),
    "dim": ((40, "8h"), (16, "8q")),
    "datatype": ((70, "h"), (12, "h")),
    "bitpix": ((72, "h"), (14, "h")),
    "pixdim": ((76, "8f"), (104, "8d")),
    "vox_offset": ((108, "f"), (168, "q")),
    "scl_slope": ((112, "f"), (176, "d")),
    "scl_inter": ((116, "f"), (184, "d")),
    "xyzt_units": ((123, "B"), (500, "i")),
    "qform_code": ((252, "h"), (344, "i")),
    "sform_code": ((254, "h"), (348, "i")),
    "quatern": ((256, "6f"), (352, "6d")),
    "srow": ((280, "12f"), (400, "12d")),
    "magic": ((344, "4s"), (4, "8s")),
}
_DIMENSIONS = (
    (0,) * 8,
    (3, 0, 21, 18, 1, 1, 1, 1),
    (3, 32767, 32767, 32767, 1, 1, 1, 1),
    (3, -17, 21, 18, 1, 1, 1, 1),
    (7, 17, 21, 18, 1, 1, 1, 1),
    (4, 17, 21, 9, 2, 1, 1, 1),
    (4, 17, 21, 1, 18, 1, 1, 1),
    (5, 17, 21, 18, 1, 1, 1, 1),
    (5, 17, 21, 1, 1, 18, 1, 1),
    (2, 17, 378, 1, 1, 1, 1, 1),
    (1, 6426, 1, 1, 1, 1, 1, 1),
    (8, 17, 21, 18, 1, 1, 1, 1),
    (-1, 17, 21, 18, 1, 1, 1, 1),
    (3, 1, 6426, 1, 1, 1, 1, 1),
    (4, 1, 1, 1, 6426, 1, 1, 1),
    (3, 1, 1, 6426, 1, 1, 1, 1),
    (4, 32767, 32767, 1, 32767, 1, 1, 1),
    (3, 17, 21, 17, 1, 1, 1, 1),
)
_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, -1, 9999)
_NUMBERS = (0.0, -1.0, 1e-30, 1e30, 3e38, -3e38, np.nan, np.inf, -np.inf, 1e-45, 352.0, 1e9, 0.5, 353.5)


def write_field(content: bytes, name: str, *values: float | bytes) -> bytes:
    """Overwrite a field of a NIfTI header of either version, in the width that version gives it."""
    second = content[:4] == (540).to_bytes(4, "little")
    place, packing = _FIELDS[name][second]
    if packing[-1] in "hiqB":
        values = tuple(_as_integer(value, struct.calcsize(f"<{packing[-1]}"), packing[-1]) for value in values)
    elif packing[-1] == "f":
        with np.errstate(over="ignore"):
            values = tuple(float(np.float32(value)) for value in values)  # type: ignore[arg-type]
    packed = struct.pack(f"<{packing}", *values)
    return content[:place] + packed + content[place + len(packed) :]


def _as_integer(value: float | bytes, width: int, kind: str) -> int:
    if isinstance(value, bytes) or not np.isfinite(value):
        return -1 % 256 if kind == "B" else -1
    low, high = (0, 255) if kind == "B" else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    return int(min(max(value, low), high))


def absurd_dimensions(content: bytes, rng: Rng) -> bytes:
    return write_field(content, "dim", *_DIMENSIONS[int(rng.integers(len(_DIMENSIONS)))])


def another_voxel_type(content: bytes, rng: Rng) -> bytes:
    return write_field(content, "datatype", int(rng.choice(_TYPES)))


def another_voxel_size(content: bytes, rng: Rng) -> bytes:
    values = [float(rng.choice(_NUMBERS)) if rng.integers(2) else 4.0 for _ in range(8)]
    return write_field(content, "pixdim", *values)


def absurd_offset_of_the_voxels(content: bytes, rng: Rng) -> bytes:
    return write_field(content, "vox_offset", float(rng.choice(_NUMBERS)))


def absurd_scaling(content: bytes, rng: Rng) -> bytes:
    scaled = write_field(content, "scl_slope", float(rng.choice(_NUMBERS)))
    return write_field(scaled, "scl_inter", float(rng.choice(_NUMBERS)) if rng.integers(2) else 0.0)


def absurd_affine(content: bytes, rng: Rng) -> bytes:
    rows = AFFINE[:3].copy().ravel()
    rows[rng.integers(12, size=int(rng.integers(1, 5)))] = rng.choice(_NUMBERS)
    return write_field(content, "srow", *rows)


def rotated_affine(content: bytes, rng: Rng) -> bytes:
    return write_field(content, "srow", *(AFFINE[:3] + rng.normal(0, 8, (3, 4))).ravel())


def absurd_quaternion(content: bytes, rng: Rng) -> bytes:
    turned = write_field(content, "quatern", *(float(rng.choice(_NUMBERS)) for _ in range(6)))
    return write_field(write_field(turned, "sform_code", 0), "qform_code", 1)


def another_space(content: bytes, rng: Rng) -> bytes:
    coded = write_field(content, "sform_code", int(rng.choice([0, 1, 2, 3, 4, 5, -1, 32767])))
    return write_field(coded, "qform_code", int(rng.choice([0, 1, 2, 4, 5, 99, -1])))


def another_magic(content: bytes, rng: Rng) -> bytes:
    magics = (b"ni1\x00", b"n+1\x00", b"n+2\x00\r\n\x1a\n", b"\x00" * 8, b"ni2\x00")
    return write_field(content, "magic", magics[int(rng.integers(len(magics)))])


def absurd_extension(content: bytes, rng: Rng) -> bytes:
    """Promise an extension of a size that is not there, is not a multiple of 16, is negative or is everything."""
    size = int(rng.choice([0, 7, 8, 16, 17, 1024, 2**31 - 1, -16, -1]))
    header = 540 if content[:4] == (540).to_bytes(4, "little") else 348
    extension = b"\x01\x00\x00\x00" + struct.pack("<ii", size, int(rng.choice([0, 2, 6, -1, 99]))) + rng.bytes(8)
    longer = content[:header] + extension + content[header + 4 :]
    return write_field(longer, "vox_offset", header + len(extension) if rng.integers(2) else header + 4)


def unsound_voxels(content: bytes, rng: Rng) -> bytes:
    """Voxels of floating point with NaN, infinities or negative counts among them, or nothing but one value."""
    voxels = head_volume(rng).astype(np.float64 if rng.integers(2) else np.float32)
    value = float(rng.choice([np.nan, np.inf, -np.inf, -1e6, -1.0, 1e300, 0.0]))
    with np.errstate(over="ignore"):
        voxels.flat[rng.integers(voxels.size, size=int(rng.choice([1, 50, 100_000])))] = value
    return Image(voxels, AFFINE).to_bytes()


def bytes_swapped(content: bytes, rng: Rng) -> bytes:
    image = nibabel.Nifti1Image(head_volume(rng), AFFINE)
    swapped = image.header.as_byteswapped(">")
    body = np.asarray(image.dataobj).astype(">i2").tobytes("F") if rng.integers(2) else content[352:]
    return swapped.binaryblock + bytes(4) + body


def a_stack_of_slices(content: bytes, rng: Rng) -> bytes:
    """Slices (x, y, 1, n) that lie about their pixels' shape, or that are far too many."""
    slices = head_slices(rng) if rng.integers(2) else np.ones((int(rng.choice([3_000, 200_000])), 2, 2), dtype=np.uint8)
    affine = np.diag([8.0, float(rng.choice([8.0, 8.0, 4.0])), 8.0, 1.0])
    return nibabel.Nifti2Image(slices.transpose(2, 1, 0)[:, :, None, :], affine).to_bytes()


def a_series_of_volumes(content: bytes, rng: Rng) -> bytes:
    frames = int(rng.choice([1, 2, 5]))
    series = np.stack([head_volume(rng) for _ in range(frames)], axis=-1)
    return Image(series if rng.integers(2) else series[..., None], AFFINE).to_bytes()


def a_large_volume(content: bytes, rng: Rng) -> bytes:
    """A volume of 8 to 64 million voxels of which a gzipped file needs kilobytes; turned, so that it is copied too."""
    shape = ((256, 256, 256), (512, 512, 100), (400, 400, 400), (1000, 1000, 20))[int(rng.integers(4))]
    turned = np.array([[0, 2.0, 0, -128], [2.0, 0, 0, -128], [0, 0, 2.0, -72], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((1, 1, 1), dtype=np.uint8), turned)
    image.header.set_data_shape(shape)
    image.header["vox_offset"] = 352
    image.header["magic"] = b"n+1"
    image.header.set_sform(turned, code=1)
    return image.header.binaryblock + bytes(4) + b"\x01" * int(np.prod(shape))


IMAGE_MUTATORS: tuple[ImageMutator, ...] = (
    absurd_dimensions,
    another_voxel_type,
    another_voxel_size,
    absurd_offset_of_the_voxels,
    absurd_scaling,
    absurd_affine,
    rotated_affine,
    absurd_quaternion,
    another_space,
    another_magic,
    absurd_extension,
    unsound_voxels,
    bytes_swapped,
    a_stack_of_slices,
    a_series_of_volumes,
)


def sound_image(rng: Rng) -> bytes:
    kind = nibabel.Nifti1Image if rng.integers(2) else nibabel.Nifti2Image
    encoded: bytes = kind(head_volume(rng), AFFINE).to_bytes()
    return encoded


def two_streams(content: bytes, rng: Rng) -> bytes:
    place = int(rng.integers(len(content)))
    return gzip.compress(content[:place], 1, mtime=0) + gzip.compress(content[place:], 1, mtime=0)


def a_stream_and_noise(content: bytes, rng: Rng) -> bytes:
    return gzip.compress(content, 1, mtime=0) + rng.bytes(40)


def a_bomb(content: bytes, rng: Rng) -> bytes:
    """Zeros behind a sound header, of which the header knows nothing; in one stream or in a chain of streams."""
    if rng.integers(2):
        return gzip.compress(content + bytes(48 << 20), 1, mtime=0)
    return gzip.compress(content, 1, mtime=0) + gzip.compress(bytes(16 << 20), 1, mtime=0) * 40


def a_gzip_in_a_gzip(content: bytes, rng: Rng) -> bytes:
    return gzip.compress(gzip.compress(content, 1, mtime=0), 1, mtime=0)


def a_gzipped_large_volume(content: bytes, rng: Rng) -> bytes:
    compressor = zlib.compressobj(1, wbits=31)
    large = a_large_volume(content, rng)
    return compressor.compress(large) + compressor.flush()


_GZIP_MUTATORS: tuple[ImageMutator, ...] = (
    two_streams,
    a_stream_and_noise,
    a_bomb,
    a_gzip_in_a_gzip,
    a_gzipped_large_volume,
)


def nifti_case(rng: Rng) -> Case:
    """A .nii file with one damage to its header, its voxels or its bytes."""
    mutators = (*IMAGE_MUTATORS, *IMAGE_MUTATORS, *BYTE_MUTATORS)
    mutator = mutators[int(rng.integers(len(mutators)))]
    return Case(scans={"scan.nii": mutator(sound_image(rng), rng)}, pattern="normal", how=words(mutator))


def gzipped_nifti_case(rng: Rng) -> Case:
    """A .nii.gz file: damage inside the stream, to the stream itself, or to its bytes."""
    mutators = (*IMAGE_MUTATORS, *_GZIP_MUTATORS, *BYTE_MUTATORS)
    mutator = mutators[int(rng.integers(len(mutators)))]
    sound = sound_image(rng)
    if mutator in IMAGE_MUTATORS:
        damaged = gzip.compress(mutator(sound, rng), 1, mtime=0)
    elif mutator in _GZIP_MUTATORS:
        damaged = mutator(sound, rng)
    else:
        damaged = mutator(gzip.compress(sound, 1, mtime=0), rng)
    return Case(scans={"scan.nii.gz": damaged}, pattern="normal", how=words(mutator))
