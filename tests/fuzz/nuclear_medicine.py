"""Damaged DICOM: absurd attributes, lengths that lie, other syntaxes, missing and nested elements, broken series."""

import io
import struct
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.fuzz.case import Case, Rng
from tests.fuzz.raw_bytes import MUTATORS as BYTE_MUTATORS
from tests.fuzz.raw_bytes import words
from tests.support import nuclear_medicine as phantom

DatasetMutator = Callable[[Dataset, Rng], None]
_STACK = phantom.Stack(rows=14, columns=14, frames=9, pixel_mm=14.0, step_mm=14.0)
_LABELS = b"file,pattern,cer_mm,bg_mm,cor_mm\n%s,normal,-28,0,28\n"
_META_BYTES = 132  # preamble and magic

_VALUES: dict[str, Sequence[object]] = {
    "NumberOfFrames": ("0", "-1", "1", "8", "10", "2147483647", "999999999999", "9.5", "nine", "9\\9", ""),
    "Rows": (0, 1, 13, 15, 65535),
    "Columns": (0, 1, 13, 15, 65535),
    "BitsAllocated": (0, 1, 7, 8, 12, 24, 32, 64, 65535),
    "BitsStored": (0, 1, 8, 17, 65535),
    "HighBit": (0, 7, 16, 65535),
    "PixelRepresentation": (1, 2, 65535),
    "SamplesPerPixel": (0, 3, 4, 65535),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL_422", "", "X" * 16),
    "RescaleSlope": ("0", "-1", "nan", "inf", "1e308", "1e-308", "x", "", "1\\2"),
    "RescaleIntercept": ("nan", "-inf", "-1e30", "1e38", "-50", "x"),
    "PixelSpacing": ("0\\0", "-14\\14", "nan\\14", "14", "1e30\\1e30", "14\\7", "14\\14\\14", "x\\y", ""),
    "SpacingBetweenSlices": ("0", "-14", "nan", "inf", "1e30", "x", ""),
    "SliceThickness": ("0", "-1", "nan", "1e30", ""),
    "SliceVector": ([], [1], [0] * 9, [1] * 9, list(range(9)), list(range(9, 0, -1)), [65535] * 9, [1, 2] * 5000),
    "ImageType": ("", "ORIGINAL", "ORIGINAL\\PRIMARY\\TOMO\\EMISSION", "DERIVED\\SECONDARY", "\\\\\\\\", "A\\" * 3000),
    "SOPClassUID": ("", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "x" * 64),
    "Modality": ("", "CT", "PT", "X" * 16),
    "PatientID": ("", "x" * 60000, "Doe\x1b[31m", "SYNTHETIC-1"),
    "PatientOrientation": ("L\\P", "R\\A", "X\\Y", ""),
    "SpecificCharacterSet": ("ISO_IR 192", "ISO 2022 IR 87", "nonsense", "\\ISO 2022 IR 149", "ISO_IR 100\\" * 50),
    "Units": ("BQML", "x" * 16, ""),
    "SeriesInstanceUID": ("", "1", "x" * 64),
    "FrameIncrementPointer": (0, 0x00540010, 0xFFFFFFFF),
}
_PLACES = {
    "ImageOrientationPatient": (
        "0\\0\\0\\0\\0\\0",
        "1\\0\\0\\1\\0\\0",
        "nan\\0\\0\\0\\1\\0",
        "1\\0\\0",
        "1e30\\0\\0\\0\\1\\0",
        "",
        "-1\\0\\0\\0\\1\\0",
        "1\\0\\0\\0\\0\\-1",
        "x\\y\\z\\a\\b\\c",
    ),
    "ImagePositionPatient": ("nan\\0\\0", "1e30\\0\\0", "0\\0", "", "-inf\\0\\0", "x\\y\\z"),
}


@cache
def sound_file() -> bytes:
    return phantom.to_bytes(_with_fixed_identifiers(phantom.recon_tomo(stack=_STACK), 0))


@cache
def _sound_series(positron: bool) -> tuple[bytes, ...]:
    make = phantom.positron_series if positron else phantom.nuclear_medicine_series
    datasets = enumerate(make(stack=_STACK))
    return tuple(phantom.to_bytes(_with_fixed_identifiers(dataset, number)) for number, dataset in datasets)


def _with_fixed_identifiers(dataset: Dataset, number: int) -> Dataset:
    """Give UIDs that are the same in every process: a case must be the same bytes wherever it is built."""
    for place, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")):
        setattr(dataset, keyword, f"{phantom.UID_ROOT}{place + 1}")
    dataset.SOPInstanceUID = f"{phantom.UID_ROOT}4.{number + 1}"
    return dataset


def _set_raw(dataset: Dataset, keyword: str, value: object) -> None:
    """Set an attribute to what pydicom itself would refuse to write."""
    element = pydicom.dataelem.DataElement(
        pydicom.tag.Tag(keyword), pydicom.datadict.dictionary_VR(keyword), None, validation_mode=0
    )
    kind = element.VR
    if isinstance(value, str):
        raw = value.encode("latin-1")
    elif kind == "AT":
        raw = struct.pack("<HH", int(value) >> 16, int(value) & 0xFFFF)  # type: ignore[call-overload]
    else:
        numbers = value if isinstance(value, list) else [value]
        raw = b"".join(struct.pack("<H", int(number)) for number in numbers)
    raw += b" " * (len(raw) % 2)
    dataset[keyword] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(keyword), kind, len(raw), raw, 0, False, True)


def an_absurd_attribute(dataset: Dataset, rng: Rng) -> None:
    keyword = str(rng.choice(list(_VALUES)))
    values = _VALUES[keyword]
    _set_raw(dataset, keyword, values[int(rng.integers(len(values)))])


def several_absurd_attributes(dataset: Dataset, rng: Rng) -> None:
    for _ in range(int(rng.integers(2, 5))):
        an_absurd_attribute(dataset, rng)


def an_absurd_place(dataset: Dataset, rng: Rng) -> None:
    keyword = str(rng.choice(list(_PLACES)))
    detectors = dataset.get("DetectorInformationSequence")
    target = detectors[0] if detectors and rng.integers(4) else dataset
    _set_raw(target, keyword, _PLACES[keyword][int(rng.integers(len(_PLACES[keyword])))])


def an_attribute_missing(dataset: Dataset, rng: Rng) -> None:
    tags = list(dataset.keys())
    for _ in range(int(rng.integers(1, 4))):
        dataset.pop(tags[int(rng.integers(len(tags)))], None)


def pixels_of_another_size(dataset: Dataset, rng: Rng) -> None:
    pixels = dataset.PixelData
    sizes = (0, 1, 2, len(pixels) // 2, len(pixels) - 2, len(pixels) + 2, 2 * len(pixels))
    dataset.PixelData = (pixels * 2)[: sizes[int(rng.integers(len(sizes)))]]


def deep_sequences(dataset: Dataset, rng: Rng) -> None:
    """Sequences in sequences, some fifty or some hundred deep, or thousands side by side."""
    if rng.integers(3) == 0:
        dataset.RotationInformationSequence = Items([Dataset() for _ in range(5000)])
        return
    inner = Dataset()
    for _ in range(int(rng.choice([50, 200]))):
        outer = Dataset()
        outer.DetectorInformationSequence = Items([inner])
        inner = outer
    dataset.DetectorInformationSequence = Items([inner])


DATASET_MUTATORS: tuple[DatasetMutator, ...] = (
    an_absurd_attribute,
    several_absurd_attributes,
    an_absurd_place,
    an_attribute_missing,
    pixels_of_another_size,
    deep_sequences,
)


def _rewritten(content: bytes, mutator: DatasetMutator, rng: Rng) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(content))
        mutator(dataset, rng)
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def an_absurd_length(content: bytes, rng: Rng) -> bytes:
    """Write an absurd length behind a two-letter value representation anywhere in the file."""
    kinds = (b"UI", b"LO", b"US", b"DS", b"IS", b"CS", b"SQ", b"OW", b"PN", b"SH", b"UL")
    places = [i for i in range(_META_BYTES, len(content) - 12) if content[i : i + 2] in kinds]
    place = places[int(rng.integers(len(places)))]
    if content[place : place + 2] in (b"SQ", b"OW"):
        length = struct.pack("<I", int(rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 10**6])))
        return content[: place + 4] + length + content[place + 8 :]
    return content[: place + 2] + struct.pack("<H", int(rng.choice([0, 1, 0xFFFF, 0x7FFF, 999]))) + content[place + 4 :]


def another_value_representation(content: bytes, rng: Rng) -> bytes:
    kinds = (b"UI", b"LO", b"US", b"DS", b"IS", b"CS", b"SQ", b"OW", b"UN", b"AT", b"FD", b"FL", b"OB", b"??", b"UT")
    places = [i for i in range(_META_BYTES, len(content) - 12) if content[i : i + 2] in kinds]
    place = places[int(rng.integers(len(places)))]
    return content[:place] + kinds[int(rng.integers(len(kinds)))] + content[place + 2 :]


def another_transfer_syntax(content: bytes, rng: Rng) -> bytes:
    """Claim a syntax the file is not in; the claim is padded to the width of the one it replaces."""
    sound = b"1.2.840.10008.1.2.1\x00"
    others = (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ImplicitVRLittleEndian,
        JPEG2000,
        RLELossless,
        "1.2.3",
        "",
    )
    claim = str(others[int(rng.integers(len(others)))]).encode()
    length = len(claim) + len(claim) % 2
    return content.replace(
        struct.pack("<H", len(sound)) + sound, struct.pack("<H", length) + claim.ljust(length, b"\0"), 1
    )


def an_empty_element_many_times(content: bytes, rng: Rng) -> bytes:
    return content + struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", 0) * 200_000


def no_preamble(content: bytes, rng: Rng) -> bytes:
    return content[128:] if rng.integers(2) else content[_META_BYTES:]


FILE_MUTATORS = (
    an_absurd_length,
    an_absurd_length,
    another_value_representation,
    another_transfer_syntax,
    an_empty_element_many_times,
    no_preamble,
)


def _damaged(content: bytes, rng: Rng) -> tuple[bytes, str]:
    mutators = (*DATASET_MUTATORS, *DATASET_MUTATORS, *FILE_MUTATORS, *BYTE_MUTATORS)
    mutator = mutators[int(rng.integers(len(mutators)))]
    if mutator in DATASET_MUTATORS:
        return _rewritten(content, mutator, rng), words(mutator)  # type: ignore[arg-type]
    return mutator(content, rng), words(mutator)  # type: ignore[call-arg,arg-type]


def multi_frame_case(rng: Rng) -> Case:
    """One NM file of reconstructed slices with one damage."""
    damaged, how = _damaged(sound_file(), rng)
    return Case(scans={"scan.dcm": damaged}, labels=_LABELS % b"scan.dcm", how=how)


def series_case(rng: Rng) -> Case:
    """A series of single frames, NM or PT, of which some files are damaged, missing, or there twice."""
    sound = _sound_series(positron=bool(rng.integers(2)))
    files = dict(enumerate(sound))
    how = []
    for place in rng.permutation(len(sound))[: int(rng.integers(1, 3))].tolist():
        kind = int(rng.integers(6))
        if kind == 0:
            del files[place]
            how.append("a slice missing")
        elif kind == 1:
            files[len(sound) + place] = sound[place]
            how.append("a slice twice")
        else:
            files[place], told = _damaged(sound[place], rng)
            how.append(told)
    scans = {f"series/IM{number:04d}": content for number, content in files.items()}
    return Case(scans=scans, labels=_LABELS % b"series", how=" and ".join(how), whole_directory=True)
