"""Turn a batch into the bytes of an answer, in the format that was asked for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.problems import NotAcceptableError
from serving.schemas import Order
from spect.errors import RequestError
from spect.formats import nifti, npy, npz, png
from spect.quantify import quantify
from spect.slices import SyntheticBatch, resample_to_matrix

Measured = Mapping[str, NDArray[np.float64]]

DEFAULT_FORMAT = "npz"
NOTICE = "synthetic, research use only"
# A slice of 128 x 128 takes some 330 kB of JSON and 9 ms to write: JSON is for looking, not for batches.
_MAX_JSON_SLICES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one format is written and named."""

    media_type: str
    suffix: str
    encode: Callable[[SyntheticBatch, Measured], bytes]
    max_slices: int | None = None  # None: as many as a request may ask for
    also_accepted: tuple[str, ...] = ()


def _to_json(batch: SyntheticBatch, measured: Measured) -> bytes:
    fields: dict[str, Any] = {
        "notice": NOTICE,
        "pixel_spacing_mm": batch.pixel_spacing_mm,
        "intensity_unit": batch.intensity_unit,
        "model_version": batch.model_version,
        "model_sha256": batch.model_sha256,
        "orientation": "row 0 anterior, patient's left on image right",
    }
    fields |= {name: getattr(batch, name).tolist() for name in ("level", "pattern", "seed", "index")}
    fields |= {name: values.tolist() for name, values in measured.items()}
    return json.dumps(fields | {"counts": batch.counts.tolist()}, separators=(",", ":")).encode()


def _to_png(batch: SyntheticBatch, _measured: Measured) -> bytes:
    labels = zip(batch.level, batch.pattern, batch.index, strict=True)
    captions = [f"{level} {pattern} {index}" for level, pattern, index in labels]
    return png.contact_sheet_png(
        batch.counts,
        captions=captions,
        title=f"seed {batch.seed[0]}, model {batch.model_version} ({batch.model_sha256[:8]})",
        pixel_spacing_mm=batch.pixel_spacing_mm,
        unit=batch.intensity_unit,
    )


FORMATS: Mapping[str, Format] = {
    "npz": Format(
        media_type="application/x-npz",
        suffix=".npz",
        encode=lambda batch, measured: npz.to_bytes(batch, measured=measured),
        also_accepted=("application/zip", "application/octet-stream"),
    ),
    "npy": Format(media_type="application/x-npy", suffix=".npy", encode=lambda batch, _: npy.to_bytes(batch.counts)),
    "nifti": Format(media_type="application/x-nifti", suffix=".nii", encode=lambda batch, _: nifti.to_bytes(batch)),
    "png": Format(media_type="image/png", suffix=".png", encode=_to_png, max_slices=png.MAX_SLICES),
    "json": Format(media_type="application/json", suffix=".json", encode=_to_json, max_slices=_MAX_JSON_SLICES),
}


def choose_format(order: Order, accept: str | None) -> str:
    """Return the name of the format: what the body says, else what the Accept header prefers, else npz.

    Raises
    ------
    NotAcceptableError
        If the header accepts none of them.
    RequestError
        If the format cannot hold that many slices.
    """
    name = order.format or _negotiate(accept)
    most = FORMATS[name].max_slices
    if most is not None and order.count > most:
        raise RequestError(f"count must be at most {most} as {name}, got {order.count}; ask for npz, or for fewer")
    return name


def _negotiate(accept: str | None) -> str:
    if not accept:
        return DEFAULT_FORMAT
    for media_range in _by_preference(accept):
        for name, known in FORMATS.items():
            if any(_covers(media_range, media_type) for media_type in (known.media_type, *known.also_accepted)):
                return name
    offered = ", ".join(known.media_type for known in FORMATS.values())
    raise NotAcceptableError(f"Accept is {accept[:100]!r}; slices can be sent as {offered}")


def _by_preference(accept: str) -> list[str]:
    """Media ranges of an Accept header, the most wanted first; those with q=0 left out."""
    ranges = []
    for part in accept.split(",")[:50]:
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece.removeprefix("q=") for piece in parameters if piece.startswith("q=")), "1")
        ranges.append((_to_quality(quality), media_range))
    wanted = [entry for entry in ranges if entry[0] > 0]
    return [media_range for _, media_range in sorted(wanted, key=lambda entry: -entry[0])]


def _to_quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _covers(media_range: str, media_type: str) -> bool:
    family = media_type.partition("/")[0]
    return media_range in {media_type, "*/*", f"{family}/*"}


def finish_batch(batch: SyntheticBatch, order: Order) -> tuple[SyntheticBatch, Measured]:
    """Measure a batch where a quantity was asked for, and resample it where another matrix was.

    The measured quantities are those of the slices as generated.
    """
    measured: dict[str, NDArray[np.float64]] = {}
    if order.has_targets:
        quantities = quantify(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm)
        measured = {"mean_counts": quantities.mean_counts, "left_right_ratio": quantities.left_right_ratio}
    native = batch.counts.shape[-1]
    if order.matrix in {None, native}:
        return batch, measured
    resampled = replace(
        batch,
        counts=resample_to_matrix(batch.counts, order.matrix),
        pixel_spacing_mm=batch.pixel_spacing_mm * native / order.matrix,
    )
    return resampled, measured
