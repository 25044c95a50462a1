"""Smooth shapes in millimetres: soft steps, ellipsoids, rotations and the random fields that bend and shade a brain."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = NDArray[np.floating[Any]]
Axes = tuple[Array, Array, Array]  # x (p,), y (q,), z (r,) of a regular grid, mm
Triple = tuple[float, float, float]


def soft_step(values: Values) -> Values:
    """0 far below zero, 1 far above: the logistic function."""
    soft: Values = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return soft


def soft_ellipsoid(places: tuple[Array, Array, Array], center: Triple, half_axes: Triple, turned_deg: float) -> Values:
    """1 inside, 0 outside, with an edge of some 2 mm; turned about z, positive moves the anterior end to greater x."""
    dx, dy, dz = (place - middle for place, middle in zip(places, center, strict=True))
    cosine, sine = np.cos(np.deg2rad(turned_deg)), np.sin(np.deg2rad(turned_deg))
    across, along = cosine * dx - sine * dy, sine * dx + cosine * dy
    radius = np.sqrt((across / half_axes[0]) ** 2 + (along / half_axes[1]) ** 2 + (dz / half_axes[2]) ** 2)
    soft: Values = np.clip((1 - radius) * min(half_axes) / 2 + 0.5, 0, 1)
    return soft


def build_rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about x (nod), then y (tilt), then z (turn)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: NDArray[np.float64] = about_z @ about_y @ about_x
    return rotation


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothField:
    """Cubic B-spline field over a box that holds every head; cheap on regular grids, since it is separable."""

    coefficients: Array  # (channels, 8, 9, 8)

    LOW_MM = (-140.0, -160.0, -130.0)
    KNOT_MM = (40.0, 40.0, 40.0)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, sd: float, asymmetry: float, mirror_signs: tuple[int, ...] = (1,)
    ) -> "SmoothField":
        """Draw a field of standard deviation `sd`, one channel a mirror sign.

        A channel of sign 1 keeps its value under the mirror x -> -x, one of sign -1 changes sign (the x component of a
        symmetric warp); to that is added what breaks the symmetry, `asymmetry` times as large.
        """
        raw = rng.standard_normal((len(mirror_signs), 8, 9, 8))
        mirrored = raw[:, ::-1] * np.array(mirror_signs).reshape(-1, 1, 1, 1)
        even, odd = (raw + mirrored) / 2, (raw - mirrored) / 2
        # A cubic B-spline keeps 0.48 of the variance of its coefficients along each axis.
        norm = 0.48**1.5 * np.sqrt((1 + asymmetry**2) / 2)
        return cls(coefficients=((even + asymmetry * odd) * sd / norm).astype(np.float32))

    def evaluate(self, axes: Axes) -> Array:
        """Values (channels, p, q, r) on the grid of `axes`."""
        bases = [
            _spline_basis((axis - low) / knot, size)
            for axis, low, knot, size in zip(axes, self.LOW_MM, self.KNOT_MM, self.coefficients.shape[1:], strict=True)
        ]
        # einsum in this order keeps every step small, and calls no threaded library: the same bits on any machine load.
        values = np.einsum("cijk,rk->cijr", self.coefficients, bases[2])
        values = np.einsum("cijr,qj->ciqr", values, bases[1])
        field: Array = np.einsum("ciqr,pi->cpqr", values, bases[0])
        return field


def _spline_basis(position: Array, size: int) -> Array:
    """Cubic B-spline weights (len(position), size) at positions counted in knots."""
    distance = np.abs(position[:, None] - np.arange(size, dtype=np.float32))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)
