"""What an answer is written in, chosen from what was asked for, and what is known of it before a slice is made."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from registry.bundle.served_model import ServedModel
from serving.problems import NotAcceptableError
from serving.schemas import Order, Portion
from serving.settings import WHOLE_SLICES
from spect.errors import RequestError
from spect.finishing import MEASURED
from spect.formats.heading import Heading
from spect.formats.writer import FORMATS, NAMES, PNG_SINGLE

# By media type, the default first.
_NAMED = {media_type: name for name in NAMES for media_type in (FORMATS[name].media_type, *FORMATS[name].also_accepted)}
LAYOUTS = ("sheet", "single")  # of a PNG answer: one contact sheet, or a zip of one picture a slice


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


def is_streamed(order: Order, name: str) -> bool:
    """Whether an order is answered while it is made; else it is made whole, and sent with its digest."""
    return order.count > WHOLE_SLICES and not FORMATS[name].needs_all


def choose_format(order: Order, accept: str | None, layout: str | None = None) -> str:
    """Return the name of the format: what the body says, else what the Accept header prefers, else npz.

    `layout` is the query's: a sheet, or single pictures; it chooses PNG where nothing else does.

    Raises
    ------
    NotAcceptableError
        If the header accepts none of them.
    RequestError
        If the format cannot hold that many slices, or a layout does not go with it.
    """
    if layout is not None:
        return _choose_layout(order, layout)
    name = order.format or _NAMED[choose_media_type(accept, tuple(_NAMED))]
    FORMATS[name].check_count(order.count, order.matrix)
    return name


def _choose_layout(order: Order, layout: str) -> str:
    if layout not in LAYOUTS:
        raise RequestError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout[:40]!r}")
    if order.format not in {None, "png"}:
        raise RequestError(f"layout is of pictures, but the format is {order.format}; ask for png, or leave layout out")
    name = PNG_SINGLE if layout == "single" else "png"
    FORMATS[name].check_count(order.count, order.matrix)
    return name


def choose_media_type(accept: str | None, offered: Sequence[str]) -> str:
    """Return what the Accept header prefers of what is offered, the first where there is none.

    Raises `NotAcceptableError` if the header accepts none of them.
    """
    for media_range in _by_preference(accept or "*/*"):
        for media_type in offered:
            if _covers(media_range, media_type):
                return media_type
    raise NotAcceptableError(f"Accept is {accept!r:.100}; this can be sent as {', '.join(offered)}")


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
