"""Chang's attenuation correction as a clinic does it: one effective mu inside an ellipse found from the image."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from cohort.simulator.anatomy import Array, Values
from spect.outline import upper_percentile

CONTOUR_SHARE = 0.30  # of the image's 99.5th percentile: where the emission image is taken to end
ANGLES = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipse:
    """The contour inside which a workstation takes the head to attenuate."""

    row_mm: float  # from the middle of the field
    column_mm: float
    half_axes_mm: tuple[float, float]
    turned: float  # radians from the columns' direction to the first half axis

    def chords_mm(self, row_mm: Values, column_mm: Values, angles: Values) -> Values:
        """Way (points, angles) inside the ellipse from points to the outside, along directions."""
        first, second = self.half_axes_mm
        cosine, sine = np.cos(self.turned), np.sin(self.turned)
        x, y = column_mm - self.column_mm, row_mm - self.row_mm
        # In the ellipse's own frame, with its half axes as units: a ray against the unit circle.
        px, py = (cosine * x + sine * y) / first, (cosine * y - sine * x) / second
        dx, dy = np.cos(angles - self.turned) / first, np.sin(angles - self.turned) / second
        a = (dx**2 + dy**2).astype(np.float32)
        b = px[:, None] * dx + py[:, None] * dy
        c = px**2 + py**2 - 1
        root = np.sqrt(np.maximum(b * b - a * c[:, None], 0))
        chords: Values = (np.maximum(root - b, 0) - np.maximum(-root - b, 0)) / a
        return chords


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangCorrection:
    """What an operator set: first-order Chang (IEEE Trans Nucl Sci 1978;25:638), not iterated."""

    # Broad beam: less than narrow-beam water's 0.148, for scatter is not subtracted. PMC6038970: 0.05 to 0.11 for 123I.
    mu_per_cm: float = 0.10
    margin_mm: float = 8.0  # from the emission's contour outwards to the skin

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "ChangCorrection":
        """Draw what a patient's operator set: mu off by some 4 %, the contour by some 2 mm."""
        mu = float(np.clip(rng.normal(cls().mu_per_cm, 0.004), 0.05, 0.11))
        return cls(mu_per_cm=mu, margin_mm=cls().margin_mm + float(rng.normal(0, 2.0)))

    def factors(self, ellipse: Ellipse, positions_mm: Values) -> Array:
        """Compute what an image (rows, columns) is multiplied by: 1 over the mean transmission over a full turn."""
        angles = (np.arange(ANGLES) * 2 * np.pi / ANGLES).astype(np.float32)
        axis = positions_mm.astype(np.float32)
        reach = max(ellipse.half_axes_mm) + 20  # beyond it the image is empty
        row, column = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
        near = np.hypot(row - np.float32(ellipse.row_mm), column - np.float32(ellipse.column_mm)) < reach
        chords = ellipse.chords_mm(row[near], column[near], angles)
        factors = np.ones(row.shape, dtype=np.float32)
        factors[near] = 1 / np.exp(chords.astype(np.float32) * np.float32(-self.mu_per_cm / 10)).mean(axis=1)
        return factors.reshape(len(axis), len(axis))


def find_contour(image: Array, positions_mm: Values, margin_mm: float) -> Ellipse | None:
    """Fit an ellipse to the emission image's outline, and push it out; None where the image is empty."""
    reference = upper_percentile(image, 99.5)
    if not reference > 0:
        return None
    outline = scipy.ndimage.binary_fill_holes(image > CONTOUR_SHARE * reference)
    row, column = (positions_mm[index] for index in np.nonzero(outline))
    center_row, center_column = float(row.mean()), float(column.mean())
    row, column = row - center_row, column - center_column
    rows, columns, both = (float((a * b).mean()) for a, b in ((row, row), (column, column), (row, column)))
    # A filled ellipse has the variance (half axis)^2 / 4 along its axes.
    spread = np.hypot((columns - rows) / 2, both)
    half_axes = [2 * np.sqrt(max((rows + columns) / 2 + sign * spread, 1.0)) + margin_mm for sign in (1, -1)]
    return Ellipse(
        row_mm=center_row,
        column_mm=center_column,
        half_axes_mm=(float(half_axes[0]), float(half_axes[1])),
        turned=float(0.5 * np.arctan2(2 * both, columns - rows)),
    )
