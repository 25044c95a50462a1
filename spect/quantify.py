"""Measure a slice's mean counts and left/right ratio: one definition for acquired, simulated and synthetic slices."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from spect.edge import pixel_positions_mm
from spect.errors import ConfigurationError, QuantificationError
from spect.midline import Midline, locate_midline
from spect.outline import Mask, Outline, Slice, Vector, trace_outline
from spect.slices import check_counts

Masks = NDArray[np.bool_]

DEFAULT_THRESHOLD = 0.4  # share of the slice's 99.5th percentile, SCIENCE.md section 3
MIDLINE_HALF_WIDTH_MM = 2.0  # left out on either side: its pixels belong to both hemispheres


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one slice; the fields are those of `Quantities`."""

    mean_counts: float
    left_right_ratio: float
    mask_fraction: float
    mean_counts_in_mask: float
    outline_area_mm2: float
    midline_angle_deg: float
    midline_shift_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantities:
    """What was measured of n slices; each field is float64 (n,)."""

    mean_counts: Vector  # in the filled outline
    left_right_ratio: Vector  # patient's left over right, in the mirror union
    mask_fraction: Vector  # area of the mirror union over area of the outline
    mean_counts_in_mask: Vector  # in the mirror union
    outline_area_mm2: Vector
    midline_angle_deg: Vector
    midline_shift_mm: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class UnionMasks:
    """Where n slices are measured: MC is the mean in `outline`, LR the mean in `left` over the mean in `right`.

    Where no outline is `found`, the masks are the whole field and its halves, so that a mean over them exists.
    """

    outline: Masks  # (n, rows, columns), filled
    union: Masks  # the threshold mask and its mirror image
    left: Masks  # patient's left part of the union, the midline left out
    right: Masks
    found: Masks  # (n,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Where one slice is measured: masks (rows, columns) and the midline between them."""

    outline: Outline
    midline: Midline
    union: Mask
    left: Mask
    right: Mask


def quantify(counts: object, *, pixel_spacing_mm: float, threshold: float = DEFAULT_THRESHOLD) -> Quantities:
    """Measure slices; each by itself, so that a slice measures the same in any batch.

    Parameters
    ----------
    counts
        (n, rows, columns), linear counts, row 0 anterior, patient's left on image right.
    pixel_spacing_mm
        Side of a pixel in mm.
    threshold
        Share of the slice's 99.5th percentile above which a pixel enters the left/right mask.

    Raises
    ------
    QuantificationError
        Naming the first slice in which no outline can be found.
    """
    stack = check_measurable(counts, pixel_spacing_mm=pixel_spacing_mm, threshold=threshold)
    rows = [measure(require_regions(index, one, pixel_spacing_mm, threshold), one) for index, one in enumerate(stack)]
    return Quantities(
        **{field.name: np.array([getattr(row, field.name) for row in rows]) for field in fields(Quantities)}
    )


def union_masks(counts: object, *, pixel_spacing_mm: float, threshold: float = DEFAULT_THRESHOLD) -> UnionMasks:
    """Find where slices (n, rows, columns) are measured, as `quantify` does, without measuring them."""
    stack = check_measurable(counts, pixel_spacing_mm=pixel_spacing_mm, threshold=threshold)
    regions = [find_regions(one, pixel_spacing_mm, threshold) for one in stack]
    whole = np.ones(stack.shape[1:], dtype=np.bool_)
    left = np.broadcast_to(pixel_positions_mm(stack.shape, pixel_spacing_mm)[0] > 0, whole.shape)
    return UnionMasks(
        outline=np.stack([found.outline.mask if found else whole for found in regions]),
        union=np.stack([found.union if found else whole for found in regions]),
        left=np.stack([found.left if found else left for found in regions]),
        right=np.stack([found.right if found else ~left for found in regions]),
        found=np.array([found is not None for found in regions]),
    )


def find_regions(counts: Slice, pixel_spacing_mm: float, threshold: float) -> Regions | None:
    """Find outline, midline and mirror union of counts (rows, columns); None where there is no outline."""
    outline = trace_outline(counts, pixel_spacing_mm)
    return None if outline is None else mask_regions(counts, outline, locate_midline(outline), threshold)


def mask_regions(counts: Slice, outline: Outline, midline: Midline, threshold: float) -> Regions | None:
    """Find the mirror union of counts (rows, columns) whose outline and midline are known, at a threshold."""
    distance = midline.distance_mm(*pixel_positions_mm(counts.shape, outline.pixel_spacing_mm))
    bright = outline.mask & (outline.blurred > threshold * outline.reference_counts)
    union = bright | _mirror_image(bright, midline, distance / outline.pixel_spacing_mm)
    left, right = union & (distance > MIDLINE_HALF_WIDTH_MM), union & (distance < -MIDLINE_HALF_WIDTH_MM)
    if not (counts[left].any() and counts[right].any()):  # a hemisphere without a count has no ratio
        return None
    return Regions(outline=outline, midline=midline, union=union, left=left, right=right)


def require_regions(index: int, counts: Slice, pixel_spacing_mm: float, threshold: float) -> Regions:
    """Find the regions of slice `index`; raise `QuantificationError` naming it where there is no outline."""
    regions = find_regions(counts, pixel_spacing_mm, threshold)
    if regions is None:
        raise QuantificationError(
            f"slice {index}: no brain outline; it is empty, noise or bright up to its border: leave it out, or check "
            f"its scale and the pixel spacing of {pixel_spacing_mm:g} mm"
        )
    return regions


def _mirror_image(mask: Mask, midline: Midline, distance: Vector) -> Mask:
    """Mirror a mask about a midline, given each pixel's distance from it in pixels; to the nearest pixel.

    A mask of pixels has no finer edge to interpolate, and this is a quarter of the time of interpolating it.
    """
    rows, columns = mask.shape
    across_x, across_y = midline.normal
    mirrored_row = np.rint(np.arange(rows)[:, None] - (2 * across_y) * distance).astype(np.intp)
    mirrored_column = np.rint(np.arange(columns)[None, :] - (2 * across_x) * distance).astype(np.intp)
    # One dark pixel around the mask stands for all that lies outside the field.
    framed = np.zeros((rows + 2, columns + 2), dtype=np.bool_)
    framed[1:-1, 1:-1] = mask
    np.minimum(np.maximum(mirrored_row, -1, out=mirrored_row), rows, out=mirrored_row)
    np.minimum(np.maximum(mirrored_column, -1, out=mirrored_column), columns, out=mirrored_column)
    image: Mask = framed.ravel()[(mirrored_row + 1) * (columns + 2) + mirrored_column + 1]
    return image


def measure(regions: Regions, counts: Slice) -> Measured:
    """Measure counts (rows, columns) inside its regions."""
    wide = counts.astype(np.float64)
    outline, union = regions.outline, regions.union
    return Measured(
        mean_counts=float(wide[outline.mask].mean()),
        left_right_ratio=float(wide[regions.left].mean() / wide[regions.right].mean()),
        mask_fraction=np.count_nonzero(union) / np.count_nonzero(outline.mask),
        mean_counts_in_mask=float(wide[union].mean()),
        outline_area_mm2=outline.area_mm2,
        midline_angle_deg=regions.midline.angle_deg,
        midline_shift_mm=regions.midline.shift_mm,
    )


def check_measurable(
    counts: object, *, pixel_spacing_mm: float, threshold: float = DEFAULT_THRESHOLD
) -> NDArray[np.float32]:
    """Return counts as a checked stack; raise `SlicesError` or `ConfigurationError` saying what is wrong."""
    if not 0 < pixel_spacing_mm < np.inf:
        raise ConfigurationError(f"pixel_spacing_mm must be positive and finite, got {pixel_spacing_mm}")
    if not 0 < threshold < 1:
        raise ConfigurationError(f"threshold must be a share between 0 and 1, got {threshold}")
    return check_counts(counts)
