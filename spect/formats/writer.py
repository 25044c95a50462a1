"""One table of every format that slices are written in: the service and the command line write the same bytes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spect.errors import RequestError
from spect.formats import json_text, npy, npz, png_write
from spect.formats.heading import Heading, Writer
from spect.formats.whole import FULL_MATRIX, count_most
from spect.slices import SyntheticBatch

PNG_SINGLE = "png-single"  # png in another layout, not a name of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one format is written and named; a batch is written as its parts come, in memory bounded by one part."""

    media_type: str
    suffix: str
    encode: Writer
    needs_all: bool = False  # every slice before its first byte: never sent while it is made, and bounded
    instead: str = "npz"  # what to ask for where this format cannot hold as many
    also_accepted: tuple[str, ...] = ()

    def check_count(self, count: int, matrix: int | None) -> None:
        """Raise `RequestError` for more slices of a matrix (None: as generated) than this format holds."""
        most = count_most(matrix or FULL_MATRIX)
        if self.needs_all and count > most:
            where = f" at matrix {matrix}" if matrix else ""
            raise RequestError(
                f"count must be at most {most} as {self.suffix.removeprefix('.')}{where}, got {count}; "
                f"ask for {self.instead}, or for fewer"
            )


# Each library below is large and slow to import: whoever writes npz alone goes without.
def _write_nifti(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    from spect.formats import nifti  # noqa: PLC0415 — nibabel

    return nifti.write(heading, parts)


def _write_dicom(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    from spect.formats import dicom_write  # noqa: PLC0415 — pydicom

    return dicom_write.write(heading, parts)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "npz": Format(
            media_type="application/x-npz",
            suffix=".npz",
            encode=npz.write,
            also_accepted=("application/zip", "application/octet-stream"),
        ),
        "npy": Format(media_type="application/x-npy", suffix=".npy", encode=npy.write),
        "nifti": Format(media_type="application/x-nifti", suffix=".nii", encode=_write_nifti),
        # A zip, in the words of RFC 6839; application/zip alone would name npz as well.
        "dicom": Format(
            media_type="application/dicom+zip",
            suffix=".dicom.zip",
            encode=_write_dicom,
            also_accepted=("application/dicom",),
        ),
        "png": Format(
            media_type="image/png",
            suffix=".png",
            encode=png_write.write_sheet,
            needs_all=True,
            instead="layout single",
        ),
        PNG_SINGLE: Format(media_type="application/zip", suffix=".png.zip", encode=png_write.write_single),
        "json": Format(
            media_type="application/json",
            suffix=".json",
            encode=json_text.write,
            needs_all=True,
        ),
    }
)
NAMES: tuple[str, ...] = tuple(name for name in FORMATS if name != PNG_SINGLE)  # what a request may say
