"""Read and write labelled slices (.npz): the same bytes for the same slices, and nothing trusted on reading."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spect.atomic import replacing
from spect.errors import FormatError, SlicesError
from spect.formats import npy
from spect.formats.heading import LABELS, Heading, check_parts
from spect.formats.npy import MAX_BYTES, read_array
from spect.formats.parsed import ParsedSlices, Words
from spect.formats.zip_stream import Member, stream_zip
from spect.slices import SyntheticBatch, check_counts

NOTICE = "synthetic, research use only"
MAX_UNIT = 60  # characters of an intensity unit
MAX_MEMBERS = 64  # a batch has ten
MAX_WORD = 200  # characters of a label

# RuntimeError is what a zip of a newer kind gives; OSError, struct.error and the rest come of directories that lie.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, LookupError)
_MEASURED = ("mean_counts", "left_right_ratio")
_FACTS = ("pixel_spacing_mm", "intensity_unit", "model_version", "model_sha256")
# The only names of arrays that an error repeats: any other, like any text of a file, may be a patient's.
_KNOWN = ("counts", *LABELS, *_FACTS, "patient", "split", "notice", *_MEASURED)


def write(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    """Yield a batch as an npz file: counts first, then the labels, what was measured, and the notice."""
    return stream_zip(_members(heading, parts))


def _members(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[Member]:
    measured: dict[str, list[ArrayLike]] = {name: [] for name in heading.measured}

    def values() -> Iterator[bytes]:
        yield header
        for part in check_parts(heading, parts):
            for name, columns in measured.items():
                columns.append(part.measured[name])
            yield npy.to_values(part.counts)

    header = npy.write_header((len(heading), *heading.shape))
    size = len(header) + len(heading) * math.prod(heading.shape) * 4
    yield Member(name="counts.npy", size=size, chunks=values())
    facts = {field: getattr(heading, field) for field in (*LABELS, *_FACTS)}
    for name, array in (facts | {"notice": NOTICE}).items():
        yield _member(name, array)
    for name, columns in measured.items():  # known only now that every part has come
        yield _member(name, np.concatenate(columns))


def save_batch(batch: SyntheticBatch, path: Path) -> None:
    """Write a batch to a file, whole or not at all; the caller sees to it that the path may be written."""
    with replacing(path) as partial, partial.open("wb") as stream:
        stream.writelines(write(Heading.of(batch), [batch]))


def load_batch(source: Path | bytes, *, name: str | None = None) -> SyntheticBatch:
    """Read what `write` or `save_batch` wrote; raise `FormatError` where a field is missing or misshapen."""
    name = name or _name(source)
    arrays = read_arrays(source, name=name)
    missing = [field for field in ("counts", *LABELS, *_FACTS) if field not in arrays]
    if missing:
        raise FormatError(f"{name} lacks {', '.join(missing)}; it is not a batch written by synspect")
    try:
        return SyntheticBatch(
            counts=check_counts(arrays["counts"]),
            level=_words(arrays, "level"),
            pattern=_words(arrays, "pattern"),
            seed=arrays["seed"].astype(np.int64),
            index=arrays["index"].astype(np.int64),
            pixel_spacing_mm=float(arrays["pixel_spacing_mm"]),
            model_version=str(arrays["model_version"]),
            model_sha256=str(arrays["model_sha256"]),
            intensity_unit=str(arrays["intensity_unit"]),
            measured={field: arrays[field].astype(np.float64) for field in _MEASURED if field in arrays},
        )
    except SlicesError as error:
        raise FormatError(f"{name} is not a batch written by synspect: {error}") from None
    except (TypeError, ValueError):  # whose words quote the value
        raise FormatError(f"{name} is not a batch written by synspect: a field is of another kind") from None


def read_slices(source: Path | bytes, *, name: str | None = None, max_bytes: int = MAX_BYTES) -> ParsedSlices:
    """Read `counts` and whichever of level, pattern, patient, pixel_spacing_mm and intensity_unit stand beside it."""
    name = name or _name(source)
    arrays = read_arrays(source, name=name, max_bytes=max_bytes)
    if "counts" not in arrays:
        raise FormatError(
            f"{name} holds {_held(arrays)}; slices are expected under the name counts, (n, rows, columns)"
        )
    try:
        counts = check_counts(arrays["counts"])
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None
    spacing, notice = arrays.get("pixel_spacing_mm"), _word(arrays, "notice", name)
    return ParsedSlices(
        counts=counts,
        level=_label(arrays, "level", len(counts), name),
        pattern=_label(arrays, "pattern", len(counts), name),
        patient=_label(arrays, "patient", len(counts), name),
        pixel_spacing_mm=None if spacing is None else _spacing(spacing, name),
        intensity_unit=_word(arrays, "intensity_unit", name)[:MAX_UNIT] or None,
        synthetic="synthetic" in notice,
        # Cohorts written before they bore a notice are known by what no scan has: a split, or the simulator's truth.
        of_cohort="cohort" in notice or "split" in arrays or any(field.startswith("truth_") for field in arrays),
    )


def write_arrays(stream: BinaryIO, arrays: Mapping[str, ArrayLike]) -> None:
    """Write named arrays as an npz without a clock in it: the same arrays give the same bytes."""
    stream.writelines(stream_zip(_member(name, array) for name, array in arrays.items()))


def read_arrays(
    source: Path | bytes,
    *,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
    wanted: Callable[[str], bool] = lambda _name: True,
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz whose names are wanted; all of it may have `max_bytes` once inflated.

    The sizes are checked before anything is inflated, and inflation stops at the size declared: a zip bomb costs
    nothing. Raises `FormatError`; never unpickles.
    """
    name = name or _name(source)
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            _check_members(archive, name, max_bytes)
            named = {_array_name(member): member for member in archive.infolist()}
            return {array: _read(archive, member, name, max_bytes) for array, member in named.items() if wanted(array)}
    except BROKEN_ZIP:  # whose words quote the names of members
        raise FormatError(f"{name} is not a whole npz file; copy or download it again") from None


def _check_members(archive: zipfile.ZipFile, name: str, max_bytes: int) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or len({member.filename for member in members}) != len(members):
        raise FormatError(f"{name} holds {len(members)} members, some perhaps twice; at most {MAX_MEMBERS} are read")
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise FormatError(f"{name} would inflate to {total} bytes; at most {max_bytes} are read: split it")
    for member in members:
        # Python's zipfile bounds the inflation of deflate alone, not of bzip2 or lzma.
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise FormatError(f"{name}: {_called(member)} is packed by a method NumPy never writes; save it again")
        if not member.filename.endswith(".npy"):
            raise FormatError(f"{name} holds a member that is no array; save it with numpy.savez")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, max_bytes: int) -> NDArray[Any]:
    with archive.open(member) as stream:
        array = read_array(
            stream,  # type: ignore[arg-type]
            name=f"{name}: {_called(member)}",
            available=member.file_size,
            max_bytes=max_bytes,
        )
        stream.read(1)  # reaching the end compares the checksum
        return array


def _member(name: str, array: ArrayLike) -> Member:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return Member.of(f"{name}.npy", buffer.getvalue())


def _words(arrays: Mapping[str, NDArray[Any]], field: str) -> Words:
    """Return an array of words, each short and printable: they are repeated for every slice, and told in errors."""
    words = arrays[field]
    if words.dtype.kind != "U":
        raise SlicesError(f"{field} must hold words, got {words.dtype}")
    if words.dtype.itemsize > 4 * MAX_WORD:
        raise SlicesError(f"{field} must hold words of at most {MAX_WORD} characters, got {words.dtype.itemsize // 4}")
    try:
        printable = all(word.isprintable() for word in words.ravel().tolist())
    except ValueError:  # a number that is no character
        printable = False
    if not printable:
        raise SlicesError(f"{field} must hold printable words, got control or impossible characters")
    return words


def _word(arrays: Mapping[str, NDArray[Any]], field: str, name: str) -> str:
    """Return the one word of an array, "" where there is no such array."""
    if field not in arrays:
        return ""
    try:
        words = _words(arrays, field)
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None
    if words.size != 1:
        raise FormatError(f"{name}: {field} must be one word, got {words.size}; save one for the whole file")
    return str(words.item())


def _array_name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _called(member: zipfile.ZipInfo) -> str:
    name = _array_name(member)
    return f"the array {name}" if name in _KNOWN else "an array of another name"


def _held(arrays: Mapping[str, object]) -> str:
    """Name the arrays whose names are known, and count the others."""
    known = [name for name in _KNOWN if name in arrays]
    others = len(arrays) - len(known)
    if others:
        known.append(f"{others} array{'s' * (others > 1)} of other names")
    return ", ".join(known) or "no array"


def _label(arrays: Mapping[str, NDArray[Any]], field: str, slices: int, name: str) -> Words | None:
    if field not in arrays:
        return None
    try:
        words = _words(arrays, field)
    except SlicesError as error:
        raise FormatError(f"{name}: {error}") from None
    if words.size != 1 and words.shape != (slices,):
        raise FormatError(f"{name}: {field} needs one word, or one a slice ({slices}), got shape {words.shape}")
    return np.broadcast_to(words.reshape(-1), (slices,))


def _spacing(spacing: NDArray[Any], name: str) -> float:
    if spacing.dtype.kind not in "uif" or spacing.size != 1 or not 0 < float(spacing.item()) < np.inf:
        raise FormatError(f"{name}: pixel_spacing_mm must be one positive length, got {spacing.dtype} {spacing.shape}")
    return float(spacing.item())


def _name(source: Path | bytes) -> str:
    return source.name if isinstance(source, Path) else "the npz file"
