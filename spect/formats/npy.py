"""Read and write one bare array (.npy), reading as if the file were hostile: no pickle, sizes checked first."""

import io
import math
import threading
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from spect.errors import FormatError, SlicesError
from spect.formats.heading import Heading, check_parts
from spect.formats.parsed import ParsedSlices
from spect.slices import Counts, SyntheticBatch, check_counts

MAX_BYTES = 4 * 2**30  # of counts in one file: 65,536 slices of 128 x 128, far above any cohort in one piece
MAGIC = b"\x93NUMPY"
_BYTES_OF_A_COUNT = 4  # float32, whatever the file holds
_MAX_DIMENSIONS = 8
# Which warnings are shown belongs to the whole process: two threads at once would restore each other's choice.
_SILENCE = threading.RLock()

_HEADER_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


def read_array(stream: BinaryIO, *, name: str, available: int, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Read one array from a stream that holds `available` bytes.

    Memory is asked for only after the shape in the header is known to fit what is there, and numbers to fit into
    `max_bytes` as float32. Raises `FormatError` for anything else than a whole array of numbers or words.
    """
    shape, fortran_order, dtype = _read_header(stream, name)
    if dtype.hasobject or dtype.kind not in "buifU":  # not quoted: a record's fields have names of anyone's choice
        kind = "object" if dtype.hasobject else "other"
        raise FormatError(f"{name} holds {kind} values; numbers or words are needed (no pickled objects)")
    _check_shape(shape, name)
    expected = math.prod(shape) * dtype.itemsize
    if expected > available:
        raise FormatError(f"{name} is cut short: its header promises {expected:.3g} bytes, {available} are there")
    if math.prod(shape) * _BYTES_OF_A_COUNT > max_bytes:
        raise FormatError(f"{name} holds {math.prod(shape)} values; at most {max_bytes // 4} are read: split it")
    payload = _read_exactly(stream, expected, name=name)
    array = np.frombuffer(payload, dtype=dtype) if expected else np.empty(math.prod(shape), dtype=dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _read_header(stream: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy_format.read_magic(stream)
        with _SILENCE, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that Python 2 wrote: nobody can act on it
            return _HEADER_READERS[version](stream)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
        raise FormatError(f"{name} is not a NumPy array; save it again with numpy.save") from None


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse what NumPy itself could not hold, empty or not."""
    if len(shape) > _MAX_DIMENSIONS or not all(_is_size(size) for size in shape):
        raise FormatError(f"{name} claims the shape {str(shape)[:80]}, which no array of slices has; save it again")


def _is_size(size: object) -> bool:
    # A header may say True, which Python calls an integer and NumPy does not.
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_BYTES


def _read_exactly(stream: BinaryIO, size: int, *, name: str) -> bytearray:
    payload = bytearray(size)
    view, filled = memoryview(payload), 0
    while filled < size:
        chunk = stream.read(min(size - filled, 2**20))
        if not chunk:
            raise FormatError(f"{name} is cut short after {filled} of {size} bytes; copy or download it again")
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return payload


def read_counts(source: Path | bytes, *, name: str | None = None, max_bytes: int = MAX_BYTES) -> ParsedSlices:
    """Read counts (n, rows, columns) or one slice (rows, columns) from an .npy file or its bytes."""
    name = name or (source.name if isinstance(source, Path) else "the npy file")
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > max_bytes:
        raise FormatError(f"{name} has {size} bytes; at most {max_bytes} can be read: split it")
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        array = read_array(stream, name=name, available=size, max_bytes=max_bytes)
    try:
        return ParsedSlices(counts=check_counts(array), left_known=False)
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None


def write_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """Return what stands before the values of an array of this shape."""
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def write(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    """Yield counts (n, rows, columns) as an .npy file; it has no room to say "synthetic": its name must."""
    yield write_header((len(heading), *heading.shape))
    for part in check_parts(heading, parts):
        yield to_values(part.counts)


def to_values(counts: Counts) -> bytes:
    """Return the values of counts as they stand in a file, without a header."""
    return np.ascontiguousarray(counts, dtype="<f4").tobytes()
