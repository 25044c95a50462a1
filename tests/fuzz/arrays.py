"""Damaged npy and npz files: headers that lie about shapes and types, zips that lie about sizes, bombs."""

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzz.case import Case, Rng
from tests.fuzz.phantoms import head_slices
from tests.fuzz.raw_bytes import MUTATORS as BYTE_MUTATORS
from tests.fuzz.raw_bytes import words

Arrays = dict[str, np.ndarray]
ArrayMutator = Callable[[np.ndarray, Rng], np.ndarray | bytes]
_LABELS = b"file,level,pattern,patient,left\nscan.npy,COR,normal,A-1,image-right\n"

_SHAPES = (
    "(0, 32, 32)",
    "(1000000, 128, 128)",
    "(1000000000000, 128, 128)",
    "(9223372036854775807, 2, 1)",
    "(-1, 32, 32)",
    "(-3, -32, 32)",
    "(3, 32)",
    "(3072,)",
    "()",
    "(3, 32, 32, 1, 1, 1, 1)",
    "(" + "1, " * 70 + ")",
    "(3.0, 32, 32)",
    "(True, 32, 32)",
    "(3, 32, 32, )",
    "'3'",
    "(3, 32, None)",
    "(0, 1000000000000000000000, 1)",
    "(0, -1)",
    "[3, 32, 32]",
)
_DTYPES = (
    "'|O'",
    "'>f4'",
    "'<f8'",
    "'<f2'",
    "'<c8'",
    "'<i8'",
    "'|b1'",
    "'|V4'",
    "'<M8[ns]'",
    "'|S4'",
    "'<U1'",
    "'<U0'",
    "'|V0'",
    "'<f16'",
    "'<U536870912'",
    "'<f3'",
    "[('a', '<f4')]",
    "[('a', '|O')]",
    "'f4,f4'",
    "('<f4', (3, 32))",
    "None",
    "{}",
    "__import__('os')",
    "3",
)
_HEADERS = (
    "",
    "{",
    "{" * 3000,
    "(" * 3000,
    "-" * 3000 + "1",
    "{'descr': '<f4'}",
    "{'descr': '<f4', 'fortran_order': 1, 'shape': (3, 32, 32)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 32, 32), 'x': 1}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 32L, 32L)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}",
    "[1, 2]",
    "'" + "x" * 9000 + "'",
    "{[]: 1, 'descr': '<f4', 'shape': (3, 32, 32)}",
    "\\x00\\x01",
    "\x00" * 90,
    "# nothing",
    "'\\ud800'",
)


def npy_with_header(header: str, payload: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    """An npy file whose header says whatever it is told to say."""
    text = (header + "\n").encode("utf-8" if version == (3, 0) else "latin-1", "replace")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + payload


def _header(descr: str = "'<f4'", shape: str = "(3, 32, 32)", fortran_order: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}"


def absurd_shape(counts: np.ndarray, rng: Rng) -> bytes:
    return npy_with_header(_header(shape=_SHAPES[int(rng.integers(len(_SHAPES)))]), counts.tobytes())


def absurd_type(counts: np.ndarray, rng: Rng) -> bytes:
    return npy_with_header(_header(descr=_DTYPES[int(rng.integers(len(_DTYPES)))]), counts.tobytes())


def absurd_type_and_shape(counts: np.ndarray, rng: Rng) -> bytes:
    descr, shape = _DTYPES[int(rng.integers(len(_DTYPES)))], _SHAPES[int(rng.integers(len(_SHAPES)))]
    return npy_with_header(_header(descr, shape, fortran_order=bool(rng.integers(2))), counts.tobytes())


def header_of_nonsense(counts: np.ndarray, rng: Rng) -> bytes:
    version = ((1, 0), (2, 0), (3, 0), (9, 9), (0, 0))[int(rng.integers(5))]
    return npy_with_header(_HEADERS[int(rng.integers(len(_HEADERS)))], counts.tobytes(), version)


def memory_order_swapped(counts: np.ndarray, rng: Rng) -> bytes:
    return npy_with_header(_header(fortran_order=True), counts.tobytes())


def pickled_objects(counts: np.ndarray, rng: Rng) -> np.ndarray:
    return np.array([{"counts": 1}, print], dtype=object)


def unsound_values(counts: np.ndarray, rng: Rng) -> np.ndarray:
    """Put NaN, infinities, negative or enormous counts into some pixels, in some type."""
    damaged = counts.astype(np.float64)
    value = (np.nan, np.inf, -np.inf, -1.0, -0.0, 1e300, 1e39, 1e-320, 3e38)[int(rng.integers(9))]
    damaged.flat[rng.integers(damaged.size, size=int(rng.integers(1, 50)))] = value
    return damaged


def another_type(counts: np.ndarray, rng: Rng) -> np.ndarray:
    types = ("u1", "i1", "i2", "u2", ">i4", "u8", "f2", ">f8", "g", "c8", "?", "U4", "S4", "M8[s]")
    return counts.astype(types[int(rng.integers(len(types)))])


def another_shape(counts: np.ndarray, rng: Rng) -> np.ndarray:
    shapes = ((3072,), (3, 32, 32, 1), (32, 96), (3072, 1, 1), (1, 1, 3072), (1, 3072, 1), (3, 1024, 1), (96, 32), ())
    shape = shapes[int(rng.integers(len(shapes)))]
    return counts.reshape(shape) if shape else counts[0, 0, 0]


def very_many_slices(counts: np.ndarray, rng: Rng) -> np.ndarray:
    """A million tiny slices, or as many as make a cohort of gigabytes of a file of kilobytes."""
    slices, side = ((1_000_000, 1), (250_000, 2), (100_001, 1), (20_000, 4), (1_000, 12), (20_000, 16))[
        int(rng.integers(6))
    ]
    return np.ones((slices, side, side), dtype=np.uint8)


def very_wide_slices(counts: np.ndarray, rng: Rng) -> np.ndarray:
    shapes = ((1, 1, 2_000_000), (1, 2_000_000, 1), (1, 2_000, 1_500), (2, 1_280, 1_280), (1, 1_500, 1_500))
    return np.ones(shapes[int(rng.integers(len(shapes)))], dtype=np.uint8)


def no_counts(counts: np.ndarray, rng: Rng) -> np.ndarray:
    return np.zeros_like(counts) if rng.integers(2) else counts[:0]


ARRAY_MUTATORS: tuple[ArrayMutator, ...] = (
    absurd_shape,
    absurd_type,
    absurd_type_and_shape,
    header_of_nonsense,
    memory_order_swapped,
    pickled_objects,
    unsound_values,
    another_type,
    another_shape,
    very_many_slices,
    very_wide_slices,
    no_counts,
)


def _npy(array: np.ndarray | bytes) -> bytes:
    if isinstance(array, bytes):
        return array
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _sound_arrays(rng: Rng) -> Arrays:
    return {
        "counts": head_slices(rng),
        "level": np.array(["CER", "BG", "COR"]),
        "pattern": np.array("normal"),
        "patient": np.array(["a", "a", "b"]),
        "pixel_spacing_mm": np.array(8.0),
        "intensity_unit": np.array("counts per pixel"),
    }


def _zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _members(arrays: Arrays) -> dict[str, bytes]:
    return {f"{name}.npy": _npy(array) for name, array in arrays.items()}


def zip_of(arrays: Arrays, rng: Rng) -> bytes:
    return _zipped(_members(arrays), zipfile.ZIP_DEFLATED if rng.integers(2) else zipfile.ZIP_STORED)


def one_array_damaged(arrays: Arrays, rng: Rng) -> bytes:
    mutator = ARRAY_MUTATORS[int(rng.integers(len(ARRAY_MUTATORS)))]
    return _zipped(_members(arrays) | {"counts.npy": _npy(mutator(arrays["counts"], rng))})


def a_label_damaged(arrays: Arrays, rng: Rng) -> bytes:
    """Replace a label by words nobody knows, by none, by too many, by enormous ones, or by numbers."""
    name = str(rng.choice(["level", "pattern", "patient", "pixel_spacing_mm", "intensity_unit"]))
    values: tuple[Any, ...] = (
        np.array(["TOP"] * 3),
        np.array([], dtype=str),
        np.array(["CER"] * 4),
        np.array("x" * 3_000_000),
        np.array("bad\nword\x00\x1b[31m"),
        np.array([1, 2, 3]),
        np.array(np.nan),
        np.array([-1.0]),
        np.array(1e-300),
        np.array(1e300),
        np.array(np.inf),
        np.array("CER\ud800"),
        np.array([["CER"] * 3]),
        np.array(""),
        np.array([b"CER"] * 3),
    )
    return zip_of(arrays | {name: values[int(rng.integers(len(values)))]}, rng)


def an_array_missing_or_strange(arrays: Arrays, rng: Rng) -> bytes:
    name = str(rng.choice(list(arrays)))
    kept = {key: value for key, value in arrays.items() if key != name}
    return zip_of(kept | ({"x" * 5000: np.ones(1)} if rng.integers(2) else {}), rng)


def bombs(arrays: Arrays, rng: Rng) -> bytes:
    """Deflate what fills memory: honest in its header, or hidden behind a smaller size."""
    kind, members = int(rng.integers(4)), _members(arrays)
    if kind == 0:
        return _zipped(
            members | {"counts.npy": npy_with_header(_header("'|u1'", "(2000, 128, 128)"), bytes(2000 << 14))}
        )
    if kind == 1:
        return _zipped(members | {"more.npy": bytes(48 << 20)})
    if kind == 2:
        return _zipped(members | {"level.npy": npy_with_header(_header("'<U4000000'", "(3,)"), bytes(48_000_000))})
    content = bytearray(_zipped(members | {"counts.npy": npy_with_header(_header("'|u1'"), bytes(32 << 20))}))
    return bytes(_with_central_sizes(content, 1024))


def _with_central_sizes(content: bytearray, size: int) -> bytearray:
    """Overwrite the inflated size of every member in the central directory."""
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 24 : place + 28] = struct.pack("<I", size)
        place = content.find(b"PK\x01\x02", place + 4)
    return content


def sizes_that_lie(arrays: Arrays, rng: Rng) -> bytes:
    """Write absurd sizes, offsets, flags or methods into the central directory, or into the record of its end."""
    content = bytearray(zip_of(arrays, rng))
    marker, fields = (
        (b"PK\x01\x02", ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (34, 2), (42, 4)))
        if rng.integers(3)
        else (b"PK\x05\x06", ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)))
    )
    offset, width = fields[int(rng.integers(len(fields)))]
    place = content.find(marker) + offset
    number = (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), int(rng.integers(2 ** (8 * width - 1))))
    content[place : place + width] = number[int(rng.integers(5))].to_bytes(width, "little")
    return bytes(content)


def strange_members(arrays: Arrays, rng: Rng) -> bytes:  # noqa: PLR0911  # one return a kind
    """Nest a zip, name members twice, climb out of the folder, add thousands, pack them in other ways."""
    members, kind = _members(arrays), int(rng.integers(7))
    if kind == 0:
        return _zipped({"counts.npy": _zipped(members)})
    if kind == 1:
        return _zipped(members | {"inner.npz": _zipped(members)})
    if kind == 2:
        return _zipped(members | {"counts": members["counts.npy"]})
    if kind == 3:
        return _zipped(members | {"../../escaped.npy": members["level.npy"], "/etc/x.npy": members["level.npy"]})
    if kind == 4:
        return _zipped(members | {f"{i}.npy": b"" for i in range(3000)})
    if kind == 5:
        return _zipped(members, int(rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])))
    return _named_twice(members)


def _named_twice(members: dict[str, bytes]) -> bytes:
    renamed = members | {"lfvel.npy": members["level.npy"]}
    return _zipped(renamed).replace(b"lfvel.npy", b"level.npy")


ZIP_MUTATORS = (
    one_array_damaged,
    a_label_damaged,
    an_array_missing_or_strange,
    bombs,
    sizes_that_lie,
    strange_members,
)


def npy_case(rng: Rng) -> Case:
    """An npy file with one damage; where that is to its bytes, of one of the sound ones."""
    mutators = (*ARRAY_MUTATORS, *BYTE_MUTATORS)
    mutator = mutators[int(rng.integers(len(mutators)))]
    counts = head_slices(rng)
    damaged = mutator(counts, rng) if mutator in ARRAY_MUTATORS else mutator(_npy(counts), rng)  # type: ignore[arg-type]
    return Case(scans={"scan.npy": _npy(damaged)}, labels=_LABELS, how=words(mutator))


def npz_case(rng: Rng) -> Case:
    """An npz file with one damage to its arrays, its zip or its bytes."""
    mutators = (*ZIP_MUTATORS, *ZIP_MUTATORS, *BYTE_MUTATORS)
    mutator = mutators[int(rng.integers(len(mutators)))]
    arrays = _sound_arrays(rng)
    damaged = mutator(arrays, rng) if mutator in ZIP_MUTATORS else mutator(zip_of(arrays, rng), rng)  # type: ignore[arg-type]
    return Case(scans={"scan.npz": damaged}, how=words(mutator))
