"""Turn a batch into the bytes of an answer, in the format that was asked for."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from registry.bundle.served_model import ServedModel
from serving.problems import NotAcceptableError
from serving.schemas import Order, Portion
from spect.errors import RequestError
from spect.finishing import MEASURED
from spect.formats import nifti, npy, npz, png
from spect.formats.heading import LABELS, Heading, Writer, join_parts
from spect.slices import SyntheticBatch

DEFAULT_FORMAT = "npz"
NOTICE = "synthetic, research use only"
# A slice of 128 x 128 takes some 330 kB of JSON and 9 ms to write: JSON is for looking, not for batches.
_MAX_JSON_SLICES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one format is written and named; a batch is written as its parts come, in memory bounded by one part."""

    media_type: str
    suffix: str
    encode: Writer
    max_slices: int | None = None  # None: as many as a request may ask for
    also_accepted: tuple[str, ...] = ()


def _write_json(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    batch = join_parts(heading, parts)
    fields: dict[str, Any] = {
        "notice": NOTICE,
        "pixel_spacing_mm": batch.pixel_spacing_mm,
        "intensity_unit": batch.intensity_unit,
        "model_version": batch.model_version,
        "model_sha256": batch.model_sha256,
        "orientation": "row 0 anterior, patient's left on image right",
    }
    fields |= {name: getattr(batch, name).tolist() for name in LABELS}
    fields |= {name: values.tolist() for name, values in batch.measured.items()}
    yield json.dumps(fields | {"counts": batch.counts.tolist()}, separators=(",", ":")).encode()


FORMATS: Mapping[str, Format] = {
    "npz": Format(
        media_type="application/x-npz",
        suffix=".npz",
        encode=npz.write,
        also_accepted=("application/zip", "application/octet-stream"),
    ),
    "npy": Format(media_type="application/x-npy", suffix=".npy", encode=npy.write),
    "nifti": Format(media_type="application/x-nifti", suffix=".nii", encode=nifti.write),
    "png": Format(media_type="image/png", suffix=".png", encode=png.write_sheet, max_slices=png.MAX_SLICES),
    "json": Format(media_type="application/json", suffix=".json", encode=_write_json, max_slices=_MAX_JSON_SLICES),
}


def describe_generated(order: Order, model: ServedModel) -> Heading:
    """Say what is known of an order's slices, as generated, before any of them is made."""
    portions, manifest = order.portions, model.bundle.manifest
    sizes = [portion.count for portion in portions]
    return Heading(
        level=np.repeat([portion.condition.level.value for portion in portions], sizes),
        pattern=np.repeat([portion.condition.pattern.value for portion in portions], sizes),
        seed=np.full(order.count, order.seed, dtype=np.int64),
        index=np.concatenate([_indices(portion) for portion in portions]),
        shape=(manifest.matrix, manifest.matrix),
        pixel_spacing_mm=manifest.pixel_spacing_mm,
        model_version=model.version,
        model_sha256=model.bundle.sha256,
        intensity_unit=manifest.training_cohort.intensity_unit,
    )


def describe_answer(order: Order, model: ServedModel) -> Heading:
    """Say the same of its slices as they are answered: finished by `spect.finishing.finish_batch`."""
    generated = describe_generated(order, model)
    native = generated.shape[0]
    matrix = order.matrix or native
    return replace(
        generated,
        shape=(matrix, matrix),
        pixel_spacing_mm=generated.pixel_spacing_mm * native / matrix,
        measured=MEASURED if order.has_targets else (),
    )


def _indices(portion: Portion) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(portion.start, portion.start + portion.count, dtype=np.int64)


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
