"""Where a region is read on an imaged slice: core pixels of the person's own anatomy, as a reader lays regions."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from cohort.simulator.anatomy import BRAIN_CENTER_MM, CORTICAL, REGIONS, Array, Template, sample_volume
from spect.conditions import Level
from spect.outline import SIGMA_PER_FWHM
from spect.slices import FIELD_MM

# Tissue fractions are blurred as the camera blurs before a core is taken: a gyrus alone fills no pixel.
CORE_FWHM_MM = 8.0
VERMIS_MM = 10.0  # from the midline: what lies between belongs to neither cerebellar hemisphere


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRegion:
    """A region, where it is read, and how much of a pixel it must fill."""

    name: str
    parts: tuple[str, ...]  # of `REGIONS`
    levels: tuple[Level, ...]
    least_fraction: float
    fwhm_mm: float = CORE_FWHM_MM
    side: int = 0  # sign of MNI x where one half alone is read; -1 is the patient's left


_CEREBRUM = (Level.BASAL_GANGLIA, Level.CORTEX)
CORTEX = CoreRegion(name="cortex", parts=tuple(REGIONS[CORTICAL]), levels=_CEREBRUM, least_fraction=0.5)
# Nuclei are a few pixels wide: their own shape, unblurred, is their core.
CORE_REGIONS = (
    CORTEX,
    CoreRegion(name="cerebellum", parts=("cerebellum",), levels=(Level.CEREBELLUM,), least_fraction=0.6),
    *(
        CoreRegion(name=name, parts=(name,), levels=(Level.BASAL_GANGLIA,), least_fraction=0.5, fwhm_mm=0.0)
        for name in ("putamen", "caudate", "thalamus")
    ),
    *(
        CoreRegion(
            name=f"{name}_cerebellum", parts=("cerebellum",), levels=(Level.CEREBELLUM,), least_fraction=0.6, side=side
        )
        for name, side in (("left", -1), ("right", 1))
    ),
    CoreRegion(name="white_matter", parts=("white_matter",), levels=_CEREBRUM, least_fraction=0.8),
)


def pixel_axes_mm(matrix: int) -> tuple[Array, Array]:
    """Person's mm of columns (x falls from image left) and rows (y falls from the top), from the field's middle."""
    centers = ((matrix - 1) / 2 - np.arange(matrix, dtype=np.float32)) * np.float32(FIELD_MM / matrix)
    return centers, centers


def locate_template_plane(matrix: int, plane_mm: float) -> Array:
    """MNI coordinates (3, rows, columns) of a plane of the template itself, in the middle of the field."""
    x, y = np.meshgrid(*pixel_axes_mm(matrix), indexing="xy")
    height = np.full_like(x, plane_mm)
    return np.stack([x + BRAIN_CENTER_MM[0], y + BRAIN_CENTER_MM[1], height])


def read_regions(counts: Array, template: Template, mni_mm: Array, level: Level) -> dict[str, float]:
    """Mean counts in every core region of a slice (rows, columns) whose pixels lie at MNI coordinates (3, ...).

    A region without a core pixel in this slice is left out.
    """
    spacing_mm = FIELD_MM / counts.shape[-1]
    found = {}
    for region in CORE_REGIONS:
        if level not in region.levels:
            continue
        core = _find_core(region, template, mni_mm, spacing_mm)
        if core.any():
            found[region.name] = float(counts[core].mean(dtype=np.float64))
    return found


def _find_core(
    region: CoreRegion, template: Template, mni_mm: Array, spacing_mm: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    maps = [template.fractions[REGIONS.index(part)] for part in region.parts]
    fraction = np.sum([sample_volume(part, template.origin_mm, mni_mm) for part in maps], axis=0)
    blurred = scipy.ndimage.gaussian_filter(fraction, region.fwhm_mm * SIGMA_PER_FWHM / spacing_mm)
    core: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = blurred > region.least_fraction
    return core & (region.side * mni_mm[0] > VERMIS_MM) if region.side else core
