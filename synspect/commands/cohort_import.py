"""`synspect cohort import`: acquired scans to a de-identified cohort."""

from pathlib import Path
from typing import Annotated

import typer

from synspect.screen import open_progress


def import_scans(
    source: Annotated[Path, typer.Argument(help="A DICOM, NIfTI, npz, npy, PNG or TIFF file, or a directory of them.")],
    directory: Annotated[
        Path,
        typer.Argument(
            help="Directory to write: new, empty, or a simulated cohort to replace; an imported one is never."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV, one row a scan: file,pattern and optionally level, patient, pixel_spacing_mm, "
            "left (image-right or image-left), cer_mm, bg_mm, cor_mm. Pictures "
            "must give pixel_spacing_mm and left; npy left."
        ),
    ] = None,
    pattern: Annotated[str | None, typer.Option(help="Pattern of every file: normal, unilateral or bilateral.")] = None,
    planes: Annotated[
        str | None,
        typer.Option(
            help="Heights in mm at which volumes are cut, like CER=-36,BG=6,COR=40, the default of NIfTI (MNI z). "
            "DICOM, which lies in the scanner's space, must name them here or in the labels.",
            show_default=False,
        ),
    ] = None,
    scaling: Annotated[
        str, typer.Option(help="whole-cohort keeps counts; per-slice divides each slice by its maximum.")
    ] = "whole-cohort",
    seed: Annotated[int, typer.Option(help="Of the split of patients into train, selection and test.")] = 0,
) -> None:
    """Import acquired scans: cut, fitted into the field, de-identified, split by patient.

    Patients become keyed hashes; the key stays in SYNSPECT_HOME. What was read, mended, flagged and skipped is printed
    and kept in import-report.json, by place and never by name. docs/import.md has all of it.

    Example: synspect cohort import scans/ cohorts/ours --labels labels.csv
    """
    from cohort.importing.deidentify import load_pseudonyms
    from cohort.importing.importer import ImportSettings, import_cohort, parse_scaling
    from cohort.importing.report import check_import_destination, save_import
    from spect.formats.planes import parse_planes
    from spect.sampling import check_seed

    settings = ImportSettings(
        labels=labels,
        pattern=pattern,
        planes=None if planes is None else parse_planes(planes),
        scaling=parse_scaling(scaling),
        seed=check_seed(seed),
    )
    check_import_destination(directory)
    with open_progress() as bar:
        task = bar.add_task("Reading", total=None)
        cohort, report = import_cohort(
            source,
            settings,
            load_pseudonyms(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    save_import(cohort, report, directory)
    for line in report.lines():
        typer.echo(line)
