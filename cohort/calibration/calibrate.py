"""Every target of the simulated cohort against what it gives: the rows of docs/cohort.md."""

from collections.abc import Sequence
from dataclasses import dataclass

from cohort.calibration.disease import disease_rows
from cohort.calibration.flow import flow_rows
from cohort.calibration.rows import Row
from cohort.calibration.sample import ReadPatient, plan_ill, plan_normals, read_patients
from cohort.calibration.scanner import scanner_rows
from cohort.calibration.symmetry import symmetry_rows
from cohort.simulator.anatomy import load_template
from cohort.simulator.imaging import Camera
from cohort.simulator.perfusion import Tracer
from spect.conditions import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many simulated patients each part is read from."""

    normals: int = 400
    other_tracer: int = 120  # of the normals, imaged with HMPAO too
    unilateral: int = 400
    repeated: int = 40  # of the normals, imaged once more


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The patients read, and the rows."""

    normals: tuple[ReadPatient, ...]
    hmpao: tuple[ReadPatient, ...]
    unilateral: tuple[ReadPatient, ...]
    rows: tuple[Row, ...]


def calibrate_cohort(sizes: Sizes, *, matrix: int, seed: int, workers: int = 1) -> Calibration:
    """Simulate, image and read patients that no cohort holds, and lay every row beside its target."""
    camera = Camera(matrix=matrix)
    plans = plan_normals(sizes.normals, seed)
    normals = tuple(read_patients(plans, camera, workers=workers))
    hmpao = tuple(read_patients(plans[: sizes.other_tracer], camera, tracer=Tracer.HMPAO, workers=workers))
    again = tuple(read_patients(plans[: sizes.repeated], camera, repeat=1, workers=workers))
    ill = plan_ill(Pattern.UNILATERAL, sizes.unilateral, seed)
    unilateral = tuple(read_patients(ill, camera, workers=workers))
    ill_hmpao = tuple(read_patients(ill[: sizes.other_tracer], camera, tracer=Tracer.HMPAO, workers=workers))
    rows = (
        *flow_rows(normals, again, hmpao, load_template()),
        *scanner_rows(camera, normals),
        *symmetry_rows(normals),
        *disease_rows(unilateral, ill_hmpao),
    )
    return Calibration(normals=normals, hmpao=hmpao, unilateral=unilateral, rows=rows)


def outside(rows: Sequence[Row], *, standard_errors: float = 0.0) -> list[Row]:
    """Rows whose value is not in its range."""
    return [row for row in rows if not row.is_inside(standard_errors=standard_errors)]
