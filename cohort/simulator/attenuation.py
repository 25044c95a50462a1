"""How strongly a head attenuates 159 keV photons: brain, skull and soft tissue of one person's section.

Simplified: all soft tissue and fluid is water; bone is one shell of even thickness, without the petrous bones, the
air cells and the sinuses; below the brain, face and neck are soft tissue of the head's own width.
"""

import numpy as np
import scipy.ndimage

from cohort.simulator.anatomy import BRAIN_CENTER_MM, Array, Template, sample_volume

# NIST XCOM, narrow beam, between 150 and 200 keV log-log to 159: water 0.1477 cm2/g; cortical bone (ICRU-44)
# 0.1443 cm2/g, at 1.85 g/cm3: the skull's two tables with the spongy layer between.
WATER_PER_CM = 0.148
BONE_PER_CM = 0.267
FLUID_MM = 3.0  # between cortex and skull
SKULL_MM = 6.5  # adult vaults measure 6 to 7 mm
SCALP_MM = 6.0
CLOSING_MM = 24.0  # fissures and the gap between cerebellum and temporal lobes belong to the head
TISSUE_SHARE = 0.25  # grey and white matter that make a voxel brain
# Face and skull base beside and before the brain of low sections: an ellipse about the head's axis, MNI mm.
FACE_HALF_AXES_MM = (70.0, 96.0)
FACE_BEGINS_Z_MM = -15.0


def map_attenuation(template: Template, mni_mm: Array, pixel_spacing_mm: float) -> Array:
    """Attenuation (1/cm) of a plane whose pixels lie at MNI coordinates (3, rows, columns)."""
    brain = _fill(_find_tissue(template, mni_mm), CLOSING_MM / pixel_spacing_mm)
    if not brain.any():
        return np.zeros(brain.shape, dtype=np.float32)
    outside_mm = scipy.ndimage.distance_transform_edt(~brain) * pixel_spacing_mm
    face = _find_face(mni_mm)
    skull = _share_below(outside_mm, FLUID_MM + SKULL_MM, pixel_spacing_mm)
    inside_skull = _share_below(outside_mm, FLUID_MM, pixel_spacing_mm)
    head = np.maximum(_share_below(outside_mm, FLUID_MM + SKULL_MM + SCALP_MM, pixel_spacing_mm), face)
    attenuation: Array = WATER_PER_CM * head + (BONE_PER_CM - WATER_PER_CM) * (skull - inside_skull)
    return attenuation.astype(np.float32)


def _find_tissue(template: Template, mni_mm: Array) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    tissue: Array = template.fractions.sum(axis=0, dtype=np.float32)
    mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = (
        sample_volume(tissue, template.origin_mm, mni_mm) > TISSUE_SHARE
    )
    return mask


def _fill(
    tissue: np.ndarray[tuple[int, int], np.dtype[np.bool_]], radius: float
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Close gaps narrower than twice the radius (pixels), and fill what is enclosed."""
    margin = int(np.ceil(radius)) + 1
    padded = np.pad(tissue, margin)
    grown = scipy.ndimage.distance_transform_edt(~padded) <= radius
    closed = scipy.ndimage.distance_transform_edt(grown) > radius
    filled: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = scipy.ndimage.binary_fill_holes(closed | padded)[
        margin:-margin, margin:-margin
    ]
    return filled


def _find_face(mni_mm: Array) -> Array:
    """1 in the head's ellipse where the section lies below the brain's widest, 0 elsewhere."""
    across = (mni_mm[0] - BRAIN_CENTER_MM[0]) / FACE_HALF_AXES_MM[0]
    along = (mni_mm[1] - BRAIN_CENTER_MM[1]) / FACE_HALF_AXES_MM[1]
    low = np.clip((FACE_BEGINS_Z_MM - mni_mm[2]) / 6, 0, 1)
    edge = np.clip((1 - np.hypot(across, along)) * FACE_HALF_AXES_MM[0] / 4 + 0.5, 0, 1)
    face: Array = (low * edge).astype(np.float32)
    return face


def _share_below(distance_mm: Array, limit_mm: float, pixel_spacing_mm: float) -> Array:
    """Share of a pixel that lies nearer than a limit: shells thinner than a pixel keep their weight."""
    share: Array = np.clip((limit_mm - distance_mm) / pixel_spacing_mm + 0.5, 0, 1)
    return share
