"""What an answer is written in, chosen from what was asked for, and what is known of it before a slice is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from registry.bundle.served_model import ServedModel
from serving.problems import NotAcceptableError
from serving.schemas import Order, Portion
from serving.settings import WHOLE_SLICES
from spect.errors import RequestError
from spect.finishing import MEASURED
from spect.formats.heading import Heading
from spect.formats.writer import FORMATS, NAMES, PNG_SINGLE

# By media type, the default first; and what names a format too, where a header says just that.
_NAMED = {FORMATS[name].media_type: name for name in NAMES}
_ALSO_NAMED = {media_type: name for name in NAMES for media_type in FORMATS[name].also_accepted}
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
    name = order.format or (_NAMED | _ALSO_NAMED)[choose_media_type(accept, tuple(_NAMED), also=tuple(_ALSO_NAMED))]
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


def choose_media_type(accept: str | None, offered: Sequence[str], *, also: Sequence[str] = ()) -> str:
    """Return what the Accept header prefers of what is offered, the first where there is none.

    What is offered `also` is meant only where the header names it, not by `*/*`.

    Of the ranges that cover a media type the most exact one counts (RFC 9110, 12.5.1): `image/png;q=0, */*` is anything
    but PNG. Raises `NotAcceptableError` if the header accepts none of them.
    """
    ranges = _parse_accept(accept or "*/*")
    found = {media_type: _find_most_exact(ranges, _covering(media_type)) for media_type in offered}
    found |= {media_type: _find_most_exact(ranges, (media_type,)) for media_type in also}
    wanted = {media_type: one for media_type, one in found.items() if one is not None and one.quality > 0}
    if not wanted:
        raise NotAcceptableError(f"Accept is {accept!r:.100}; this can be sent as {', '.join(offered)}")
    return min(wanted, key=lambda media_type: (-wanted[media_type].quality, wanted[media_type].place))


@dataclass(frozen=True, slots=True, kw_only=True)
class _MediaRange:
    """One entry of an Accept header."""

    words: str  # such as image/*
    quality: float
    place: int  # of two that are wanted alike, the first named is taken


def _parse_accept(accept: str) -> list[_MediaRange]:
    ranges = []
    for place, part in enumerate(accept.split(",")[:50]):
        words, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece.removeprefix("q=") for piece in parameters if piece.startswith("q=")), "1")
        ranges.append(_MediaRange(words=words, quality=_to_quality(quality), place=place))
    return ranges


def _to_quality(text: str) -> float:
    """Return a weight from 0 to 1 (RFC 9110, 12.4.2); what is none is not wanted."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def _covering(media_type: str) -> tuple[str, ...]:
    return (media_type, f"{media_type.partition('/')[0]}/*", "*/*")


def _find_most_exact(ranges: Sequence[_MediaRange], covering_words: Sequence[str]) -> _MediaRange | None:
    for words in covering_words:
        covering = [one for one in ranges if one.words == words]
        if covering:
            return max(covering, key=lambda one: one.quality)
    return None
