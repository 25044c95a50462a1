"""Every format the fuzz test knows, and the case of a given number."""

from dataclasses import replace

from tests.fuzz import arrays, nuclear_medicine, pictures, tables, volumes
from tests.fuzz.case import Builder, Case, case_rng

FORMATS: dict[str, Builder] = {
    "npy": arrays.npy_case,
    "npz": arrays.npz_case,
    "nifti": volumes.nifti_case,
    "nifti-gz": volumes.gzipped_nifti_case,
    "dicom": nuclear_medicine.multi_frame_case,
    "dicom-series": nuclear_medicine.series_case,
    "png": pictures.png_case,
    "tiff": pictures.tiff_case,
    "labels": tables.labels_case,
}


def build_case(format_name: str, seed: int, index: int) -> Case:
    """Return case `index` of a format, the same whenever and wherever it is asked for.

    Every fourth one is imported as a folder, where a file that cannot be read is skipped instead of raised.
    """
    case = FORMATS[format_name](case_rng(format_name, seed, index))
    return replace(case, whole_directory=True) if index % 4 == 3 else case
