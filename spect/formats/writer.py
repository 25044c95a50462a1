"""One table of every format that slices are written in: the service and the command line write the same bytes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spect.errors import RequestError
from spect.formats import json_text, npy, npz, png_write
from spect.formats.heading import Heading, Writer
from spect.slices import SyntheticBatch

PNG_SINGLE = "png-single"  # png in another layout, not a name of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one format is written and named; a batch is written as its parts come, in memory bounded by one part."""

    media_type: str
    suffix: str
    encode: Writer
    max_slices: int | None = None  # None: as many as are asked for
    needs_all: bool = False  # every slice before its first byte: never sent while it is made
    also_accepted: tuple[str, ...] = ()

    def check_count(self, count: int) -> None:
        """Raise `RequestError` for more slices than this format holds."""
        if self.max_slices is not None and count > self.max_slices:
            raise RequestError(
                f"count must be at most {self.max_slices} as {self.suffix.removeprefix('.')}, got {count}; "
                "ask for npz, or for fewer"
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
            max_slices=png_write.MAX_SLICES,
            needs_all=True,
        ),
        PNG_SINGLE: Format(media_type="application/zip", suffix=".png.zip", encode=png_write.write_single),
        "json": Format(
            media_type="application/json",
            suffix=".json",
            encode=json_text.write,
            max_slices=json_text.MAX_SLICES,
            needs_all=True,
        ),
    }
)
NAMES: tuple[str, ...] = tuple(name for name in FORMATS if name != PNG_SINGLE)  # what a request may say
