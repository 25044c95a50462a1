"""Files of scans as people have them: a volume, an npz of slices, pictures with their labels; and the command."""

from pathlib import Path

import nibabel
import numpy as np
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from synspect.commands.cohort_import import import_scans

_app = typer.Typer()
_app.command()(import_scans)


def write_volume(path: Path, *, scale: float = 1.0) -> None:
    """A head-sized ellipsoid in 4 mm voxels, brighter on the patient's left."""
    x, y, z = np.meshgrid(
        *(np.arange(n) * 4.0 - offset for n, offset in ((46, 90), (55, 126), (46, 72))), indexing="ij"
    )
    inside = (x / 65) ** 2 + ((y + 18) / 85) ** 2 + (z / 75) ** 2 < 1
    voxels = (inside * np.where(x < 0, 110, 100) * scale).astype(np.float32)
    affine = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def write_slices(path: Path, n: int = 6, **labels: np.ndarray) -> np.ndarray:
    """An npz of random slices and their labels."""
    counts = np.random.default_rng(n).random((n, 64, 64), dtype=np.float32) + 1
    np.savez(path, counts=counts, **labels)
    return counts


def write_pictures(folder: Path, *, patients: int) -> list[str]:
    """One gray picture a patient, and the rows of their labels."""
    folder.mkdir(exist_ok=True)
    rows = ["file,pattern,level,patient,pixel_spacing_mm,left"]
    for patient in range(patients):
        gray = np.random.default_rng(patient).integers(1, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(gray).save(folder / f"{patient:04d}.png")
        rows.append(f"{patient:04d}.png,normal,COR,{patient},4,image-right")
    return rows


def run_import(*arguments: str | Path) -> Result:
    """Run `synspect cohort import`."""
    return CliRunner().invoke(_app, [str(argument) for argument in arguments])
