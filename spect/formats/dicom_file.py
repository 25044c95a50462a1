"""Open DICOM files of anyone's making: bounded reads, no warning, no log line, and no identifier in an error."""

import io
import logging
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from spect.errors import FormatError

PREAMBLE = 128
MAGIC = b"DICM"
HEAD_BYTES = PREAMBLE + len(MAGIC)

# pydicom inflates and decodes without a limit, so a file of a few kilobytes could ask for all memory.
_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_TRANSFER_SYNTAX = 0x00020010
_META_GROUP = 2
_MOST_READS = 100_000  # a real header takes some thousand; a file of empty elements would take minutes
_LONGEST_VALUE = 2**16  # bytes of one attribute used here, its whole sequence included

_PYDICOM_LOG = logging.getLogger("pydicom")
_PYDICOM_ERRORS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # sequences nested too deep, what pydicom has not implemented
    TypeError,
    ValueError,
    struct.error,
)
# What silences pydicom belongs to the whole process: two threads at once would restore each other's silence.
_SILENCE = threading.RLock()


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this says it is DICOM; 132 bytes are enough."""
    return head[PREAMBLE:HEAD_BYTES] == MAGIC


def load_dataset(
    source: Path | bytes, *, name: str, max_bytes: int, only: Sequence[str] | None = None, pixels: bool = True
) -> Dataset:
    """Parse a file, or those attributes named in `only`; raise `FormatError` where it is not a readable one."""
    with _open(source, name, max_bytes) as stream, readable(name):
        _check_transfer_syntax(stream, name)
        stream.seek(0)
        tags = None if only is None else [Tag(keyword) for keyword in only]
        return pydicom.dcmread(stream, force=False, stop_before_pixels=not pixels, specific_tags=tags)


def stored_values(dataset: Dataset, *, shape: tuple[int, int, int], name: str) -> NDArray[np.float32]:
    """Return the stored values as (frames, rows, columns); the shape is known to be affordable."""
    if "PixelData" not in dataset:
        raise FormatError(f"{name} is cut short or holds no pixels; copy or export it again")
    with readable(name, "pixels that do not fit its header"):
        return np.asarray(pixel_array(dataset, raw=True), dtype=np.float32).reshape(shape)


@contextmanager
def readable(name: str, what: str = "a broken header") -> Iterator[None]:
    """Turn whatever pydicom finds wrong into one `FormatError`; its own words may quote a patient's."""
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _PYDICOM_LOG.addFilter(_drop)
        try:
            yield
        except _PYDICOM_ERRORS:
            raise FormatError(f"{name} is not a readable DICOM file: it has {what}; copy or export it again") from None
        finally:
            _PYDICOM_LOG.removeFilter(_drop)


class Attributes:
    """The attributes of one dataset, each checked as it is asked for and named by keyword and tag where it is wrong."""

    def __init__(self, dataset: Dataset, name: str) -> None:
        self._dataset = dataset
        self.name = name

    def get(self, keyword: str) -> Any:  # noqa: ANN401  # pydicom's values have as many types as DICOM
        """Return the value, None where it is absent or empty."""
        tag = Tag(keyword)
        with readable(self.name, f"an unreadable {tag_words(keyword)}"):
            raw: Any = self._dataset.get_item(tag)
            if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) > _LONGEST_VALUE:
                raise FormatError(f"{self.name} has {len(raw.value)} bytes of {tag_words(keyword)}; export it again")
            value = None if raw is None else self._dataset[tag].value
        return None if value is None or value in ("", []) else value

    def words(self, keyword: str) -> tuple[str, ...]:
        """Return the values as text, none where it is absent."""
        value = self.get(keyword)
        if value is None:
            return ()
        return tuple(map(str, value)) if isinstance(value, (list, pydicom.multival.MultiValue)) else (str(value),)

    def word(self, keyword: str) -> str:
        """Return the value as text, "" where it is absent."""
        return "\\".join(self.words(keyword)).strip()

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
        """Return the finite numbers, None where it is absent."""
        words = self.words(keyword)
        if not words:
            return None
        try:
            numbers = tuple(map(float, words))
        except ValueError:
            numbers = ()
        if not numbers or len(numbers) != (count or len(numbers)) or not np.isfinite(numbers).all():
            wanted = "finite numbers" if count is None else f"{count} finite number{'s' * (count > 1)}"
            raise FormatError(f"{self.name}: {tag_words(keyword)} must hold {wanted}; export it again")
        return numbers

    def number(self, keyword: str) -> float | None:
        """Return the one finite number, None where it is absent."""
        numbers = self.numbers(keyword, 1)
        return None if numbers is None else numbers[0]

    def whole(self, keyword: str, default: int | None = None) -> int:
        """Return a whole number of at least one."""
        number = self.number(keyword)
        if number is None and default is not None:
            return default
        if number is None or number < 1 or number != int(number):
            raise FormatError(f"{self.name}: {tag_words(keyword)} must be a whole number from 1; export it again")
        return int(number)

    def items(self, keyword: str) -> "list[Attributes]":
        """Return the items of a sequence, none where it is absent."""
        items = self.get(keyword)
        if items is None:
            return []
        if not isinstance(items, pydicom.Sequence):
            raise FormatError(f"{self.name}: {tag_words(keyword)} must be a sequence; export it again")
        return [Attributes(item, self.name) for item in items]


def tag_words(keyword: str) -> str:
    """Return an attribute as a physicist finds it in a header: Rows (0028,0010)."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def known_uid_words(uid: str) -> str | None:
    """Return the standard's words for a UID of its own, None for any other: that one may point to a patient."""
    words = UID(uid, validation_mode=pydicom.config.IGNORE).name
    return None if words == uid else words


class _CountedReader(io.BufferedReader):
    """A file whose reads are as long as the file at most, and limited in number."""

    def __init__(self, raw: io.RawIOBase, size: int, name: str) -> None:
        super().__init__(raw)
        self._size = size
        self._called = name
        self._reads = 0

    @property
    def name(self) -> str:
        """No name: pydicom keeps it, and a hospital's may be a patient's."""
        return ""

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > _MOST_READS:
            raise FormatError(f"{self._called} has a header of too many parts; export it again")
        left = max(self._size - self.tell(), 0)  # a length in a header may promise 4 GB, allocated before it is read
        return super().read(left if size is None or size < 0 else min(size, left))


@contextmanager
def _open(source: Path | bytes, name: str, max_bytes: int) -> Iterator[_CountedReader]:
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > max_bytes:
            raise FormatError(f"{name} has {size} bytes; at most {max_bytes} are read: split it")
        raw: Any = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb", buffering=0)
    except OSError as error:
        raise FormatError(f"{name} cannot be read ({error.strerror}); check the path and its rights") from None
    with _CountedReader(raw, size, name) as stream:
        yield stream


def _check_transfer_syntax(stream: _CountedReader, name: str) -> None:
    """Refuse a compressed file before pydicom inflates it."""
    if not is_dicom(stream.read(HEAD_BYTES)):
        raise FormatError(f"{name} is not a DICOM file: DICM does not follow its preamble; check what it is")
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != _META_GROUP,
        specific_tags=[Tag(_TRANSFER_SYNTAX)],
    )
    syntax = Attributes(meta, name).word("TransferSyntaxUID")
    if not syntax:
        raise FormatError(f"{name} does not hold {tag_words('TransferSyntaxUID')}; export it again")
    if syntax not in _UNCOMPRESSED:
        words = known_uid_words(syntax) or "an unknown transfer syntax"
        raise FormatError(f"{name} is compressed ({words}), which is not read; export it uncompressed")


def _drop(_record: logging.LogRecord) -> bool:
    return False
