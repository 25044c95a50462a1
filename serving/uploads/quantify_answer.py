"""What the service says of uploaded slices: what was measured of each, and at which pixel spacing."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from spect.quantify import Quantities


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SliceQuantities(_Answer):
    """What was measured of one slice."""

    mean_counts: float
    left_right_ratio: float
    mask_fraction: float
    mean_counts_in_mask: float
    outline_area_mm2: float
    midline_angle_deg: float
    midline_shift_mm: float


class QuantifyAnswer(_Answer):
    """Answer of POST /v1/quantify."""

    slices: tuple[SliceQuantities, ...]
    pixel_spacing_mm: float
    pixel_spacing_source: Literal["file", "field", "assumed"]  # "field": the form's; "assumed": a field of 256 mm
    notes: tuple[str, ...] = ()


def list_quantities(quantities: Quantities) -> tuple[SliceQuantities, ...]:
    """Turn columns of measurements (n,) into one record a slice."""
    columns = {name: getattr(quantities, name).tolist() for name in SliceQuantities.model_fields}
    rows = zip(*columns.values(), strict=True)
    return tuple(SliceQuantities.model_validate(dict(zip(columns, row, strict=True))) for row in rows)
