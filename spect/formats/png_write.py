"""Write synthetic slices as PNG: a contact sheet for the eye, or a zip of one picture a slice for programs."""

import io
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spect.formats.heading import Heading, check_parts, join_parts
from spect.formats.marks import MARKS
from spect.formats.zip_stream import Member, stream_zip
from spect.slices import SyntheticBatch


def write_sheet(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    """Yield a contact sheet of a batch: whole, because one intensity scale holds for every slice."""
    from spect.formats.png import contact_sheet_png  # noqa: PLC0415 — matplotlib is large, and few ask for a sheet

    batch = join_parts(heading, parts)
    labels = zip(batch.level, batch.pattern, batch.index, strict=True)
    yield contact_sheet_png(
        batch.counts,
        captions=[f"{level} {pattern} {index}" for level, pattern, index in labels],
        title=f"seed {batch.seed[0]}, model {batch.model_version} ({batch.model_sha256[:8]})",
        pixel_spacing_mm=batch.pixel_spacing_mm,
        unit=batch.intensity_unit,
    )


def write_single(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    """Yield a zip of one PNG a slice, pixel for pixel, in 16-bit gray; a text chunk says what 65535 stands for.

    For programs that read pictures. Each slice has its own scale, as the chunk says: its pixels alone are no counts.
    """
    return stream_zip(_single_members(heading, parts))


def _single_members(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[Member]:
    number = 0
    for part in check_parts(heading, parts):
        for row, counts in enumerate(part.counts):
            words = f"{part.level[row]}-{part.pattern[row]}-{part.seed[row]}-{part.index[row]}"
            yield Member.of(f"synthetic-{number:05d}-{words}.png", _single_png(counts, words, part))
            number += 1


def _single_png(counts: NDArray[np.float32], words: str, batch: SyntheticBatch) -> bytes:
    highest = float(counts.max()) or 1.0
    chunks = PngInfo()
    texts = {
        "Description": MARKS["synthetic"],
        "Software": "synspect",
        "Source": "synthetic",
        "Slice": f"{words}, model {batch.model_version} {batch.model_sha256}",
        "Scale": f"0 to 65535 is 0 to {highest:.9g} {batch.intensity_unit}; pixels of {batch.pixel_spacing_mm:g} mm",
        "Orientation": "row 0 anterior, patient's left on image right",
    }
    for name, text in texts.items():
        chunks.add_text(name, text)
    gray = np.rint(counts * (65535 / highest)).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, format="png", pnginfo=chunks)
    return buffer.getvalue()
