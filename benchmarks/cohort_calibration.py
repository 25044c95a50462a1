"""Lay the simulated cohort beside its targets: the table and the pictures of docs/cohort.md.

    python benchmarks/cohort_calibration.py                   # some minutes; writes docs/cohort.md and docs/images
    python benchmarks/cohort_calibration.py --print-only --normals 60 --unilateral 60
    python benchmarks/cohort_calibration.py --beside SPECT.png --template ../shared/data/SPECT.nii

SPM's SPECT.nii is no part of this product: where it is, its regions are read with the same masks, and the picture that
holds its slices is drawn to the path given by --beside (default .synspect/, which git ignores), never to docs.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from cohort.calibration.calibrate import Calibration, Sizes, calibrate_cohort, outside
from cohort.calibration.regions import locate_template_plane
from cohort.calibration.sample import ReadPatient, plan_ill, plan_normals, read_patients
from cohort.calibration.template import PLANES_MM, TemplateReading, read_template
from cohort.calibration.text import replace_section, write_section
from cohort.simulator.anatomy import BRAIN_CENTER_MM, load_template
from cohort.simulator.anatomy_figure import draw_nuclei, draw_territories
from cohort.simulator.imaging import Camera
from cohort.simulator.perfusion import Tracer
from cohort.simulator.simulate import INTENSITY_UNIT, SIMULATOR_VERSION
from spect.atomic import write_atomically
from spect.conditions import Condition, Level, Pattern
from spect.formats.png import labelled_rows_png
from spect.slices import FIELD_MM

DOCUMENT = Path("docs/cohort.md")
IMAGES = Path("docs/images")
TEMPLATE = Path("../shared/data/SPECT.nii")
COLUMNS = 6


def main() -> None:
    options = parse_options()
    sizes = Sizes(
        normals=options.normals,
        other_tracer=min(options.normals, options.unilateral, options.other_tracer),
        unilateral=options.unilateral,
        repeated=min(options.normals, 40),
    )
    calibration = calibrate_cohort(sizes, matrix=options.matrix, seed=options.seed, workers=options.workers)
    template = read_template(options.template) if options.template.is_file() else None
    for row in outside(calibration.rows):
        print(f"outside: {row.quantity}: {row.simulated.value:.4g}, range {row.low:.4g} to {row.high:.4g}")
    section = write_section(calibration.rows, about=describe(options, sizes), template=template)
    print(section)
    if not options.print_only:
        write_atomically(DOCUMENT, replace_section(DOCUMENT.read_text(), section).encode())
        draw_published(options.matrix, options.seed)
    if template is not None:
        draw_beside(calibration, template, options.beside)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--normals", type=int, default=400)
    parser.add_argument("--unilateral", type=int, default=400)
    parser.add_argument("--other-tracer", type=int, default=120, help="of them, imaged with HMPAO too")
    parser.add_argument("--matrix", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="SPM's SPECT.nii; left out where it is absent")
    parser.add_argument("--beside", type=Path, default=Path(".synspect/cohort-beside-template.png"))
    parser.add_argument("--print-only", action="store_true", help="leave docs as they are")
    return parser.parse_args()


def describe(options: argparse.Namespace, sizes: Sizes) -> str:
    return (
        f"Simulator version {SIMULATOR_VERSION}. `python benchmarks/cohort_calibration.py --normals {sizes.normals} "
        f"--unilateral {sizes.unilateral} --other-tracer {sizes.other_tracer} --matrix {options.matrix} "
        f"--seed {options.seed}`: patients that no cohort holds, {sizes.normals} normal and {sizes.unilateral} "
        f"unilateral, the first {sizes.other_tracer} of each also with HMPAO, {sizes.repeated} normals imaged twice."
    )


def draw_published(matrix: int, seed: int) -> None:
    """Draw simulated slices alone: single patients of every pattern, none of them chosen."""
    camera = Camera(matrix=matrix)
    plans = {
        pattern: plan_normals(COLUMNS, seed) if pattern is Pattern.NORMAL else plan_ill(pattern, COLUMNS, seed)
        for pattern in Pattern
    }
    blank = np.full((matrix, matrix), np.nan, dtype=np.float32)
    rows = {}
    for pattern, members in plans.items():
        patients = list(read_patients(members, camera))
        for level in Level:
            shown = [one.slices[level].counts if level in one.slices else blank for one in patients]
            if any(one is not blank for one in shown):
                rows[str(Condition(level, pattern))] = np.stack(shown)
    sheet = labelled_rows_png(
        rows,
        title=(
            f"Simulated patients of seed {seed}, none chosen: one a column within each pattern; "
            "blank: that patient has no such level"
        ),
        source="simulated",
        pixel_spacing_mm=camera.pixel_spacing_mm,
        unit=INTENSITY_UNIT,
    )
    write_atomically(IMAGES / "cohort-patients.png", sheet)
    write_atomically(IMAGES / "cohort-nuclei.png", draw_nuclei(load_template()))
    write_atomically(IMAGES / "cohort-territories.png", draw_territories(load_template()))


def draw_beside(calibration: Calibration, template: TemplateReading, path: Path) -> None:
    """Draw the template, the mean simulated HMPAO scan and one IMP patient, each on its own cortex."""
    mean = mean_in_template_space(calibration.hmpao)
    single = calibration.normals[0]
    rows = {
        "SPECT.nii (acquired, HMPAO)": scale_to_top(template.counts),
        f"mean of {len(calibration.hmpao)} simulated, {Tracer.HMPAO}": scale_to_top(mean),
        "one simulated, IMP": scale_to_top(np.stack([single.slices[level].counts for level in Level])),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = ", ".join(f"{level} {plane_mm:+.0f}" for level, plane_mm in PLANES_MM.items())
    write_atomically(path, labelled_rows_png(rows, title=f"MNI z: {planes} mm", source="simulated", unit="of the top"))
    print(f"drawn: {path}")


def mean_in_template_space(patients: tuple[ReadPatient, ...]) -> NDArray[np.float32]:
    """Mean slices, every patient's turned, scaled and shifted back to the template (pose and size, not shape)."""
    means = []
    for level, plane_mm in PLANES_MM.items():
        moved = [move_to_template(one, level, plane_mm) for one in patients]
        means.append(np.mean(moved, axis=0))
    return np.stack(means).astype(np.float32)


def move_to_template(one: ReadPatient, level: Level, plane_mm: float) -> NDArray[np.float32]:
    found, brain = one.slices[level], one.patient.brain
    counts = found.counts / found.mean_counts
    mni_mm = locate_template_plane(len(counts), plane_mm) - BRAIN_CENTER_MM.reshape(3, 1, 1)
    person_mm = np.einsum("ij,jrc->irc", np.linalg.inv(brain.to_mni), mni_mm) + brain.shift_mm.reshape(3, 1, 1)
    pixels = (len(counts) - 1) / 2 - person_mm[[1, 0]] * len(counts) / FIELD_MM
    moved: NDArray[np.float32] = scipy.ndimage.map_coordinates(counts, pixels, order=1)
    return moved


def scale_to_top(slices: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (slices / np.percentile(slices[slices > 0], 99.5)).astype(np.float32)
    return scaled


if __name__ == "__main__":
    main()
