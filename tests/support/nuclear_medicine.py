"""Conformant DICOM of brains nobody has: NM and PT objects of a scan known in the patient's own millimetres."""

import io
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

from spect.conditions import Level

Values = NDArray[np.float64]
# Counts at places in mm of DICOM's axes: to the patient's left, back and head.
Scan = Callable[[Values, Values, Values], Values]

TEMPLATE = Path(__file__).parents[3] / "shared" / "data" / "SPECT.nii"

IDENTIFIERS = {
    "PatientName": "Planted^Name",
    "PatientID": "PLANTED-ID-4711",
    "PatientBirthDate": "19010203",
    "ReferringPhysicianName": "Planted^Physician",
    "AccessionNumber": "PLANTEDACC",
    "StudyID": "PLANTEDSTUDY",
    "InstitutionName": "Planted Hospital",
    "SeriesDescription": "Planted series",
    "StudyDescription": "Planted study",
}
PLANES = {Level.BASAL_GANGLIA: 0.0, Level.CORTEX: 40.0}  # of the phantom, in mm
UID_ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's own: every UID written here begins so

# Direction of a row, then of a column, in DICOM's axes.
TRANSVERSE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TRANSVERSE_PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TRANSVERSE_FROM_ABOVE = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # rows run to the right: the normal points to the feet
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def left_hot_brain(x: Values, y: Values, z: Values) -> Values:
    """An ellipsoid: left half 150, right half 100, a bright front, a cold top."""
    inside = (x / 62) ** 2 + (y / 78) ** 2 + (z / 58) ** 2 < 1
    flow = np.where(x > 0, 150.0, 100.0)
    flow = np.where(y < -40, flow + 100, flow)
    flow = np.where(z > 30, flow - 60, flow)
    return np.where(inside, flow, 0.0)


@cache
def template_scan() -> Scan:
    """The real perfusion template where it is present, up to some 1,000 counts."""
    image = nibabel.load(TEMPLATE)
    voxels = np.asarray(image.dataobj, dtype=np.float64)
    voxels *= 1000 / voxels.max()
    inverse = np.linalg.inv(image.affine)

    def scan(x: Values, y: Values, z: Values) -> Values:
        places = np.stack([-x, -y, z, np.ones_like(x)]).reshape(4, -1)
        return scipy.ndimage.map_coordinates(voxels, (inverse @ places)[:3], order=1).reshape(x.shape)

    return scan


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of images in the patient, its middle at `centre`; a negative step runs against the normal."""

    orientation: tuple[float, ...] = TRANSVERSE
    rows: int = 48
    columns: int = 44
    frames: int = 40
    pixel_mm: float = 4.0
    step_mm: float = 4.0
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def axes(self) -> tuple[Values, Values, Values]:
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        return row, column, np.cross(row, column)

    def position(self, frame: int) -> Values:
        """The centre of the first pixel of a frame."""
        row, column, normal = self.axes()
        half = self.pixel_mm / 2
        corner = np.array(self.centre) - row * (self.columns - 1) * half - column * (self.rows - 1) * half
        return corner + normal * self.step_mm * (frame - (self.frames - 1) / 2)

    def sample(self, scan: Scan) -> Values:
        """Counts (frames, rows, columns)."""
        row, column, _ = self.axes()
        down, across = np.meshgrid(np.arange(self.rows), np.arange(self.columns), indexing="ij")
        plane = self.pixel_mm * (across[..., None] * row + down[..., None] * column)
        places = np.stack([self.position(frame) + plane for frame in range(self.frames)])
        return scan(places[..., 0], places[..., 1], places[..., 2])


def recon_tomo(scan: Scan = left_hot_brain, stack: Stack | None = None) -> Dataset:
    """One NM multi-frame object of reconstructed slices."""
    stack = stack or Stack()
    dataset = _image(stack.sample(scan), stack, NuclearMedicineImageStorage, "NM")
    _add_nuclear_medicine(dataset, stack, stack.frames, 0)
    return dataset


def nuclear_medicine_series(scan: Scan = left_hot_brain, stack: Stack | None = None) -> list[Dataset]:
    """One NM object a slice, all of one series."""
    stack = stack or Stack()
    series = _series()
    datasets = []
    for frame, counts in enumerate(stack.sample(scan)):
        dataset = _image(counts[None], stack, NuclearMedicineImageStorage, "NM", series, frame + 1)
        _add_nuclear_medicine(dataset, stack, 1, frame)
        datasets.append(dataset)
    return datasets


def positron_series(
    scan: Scan = left_hot_brain, stack: Stack | None = None, *, slopes: Sequence[float] | None = None
) -> list[Dataset]:
    """One PT object a slice, each stored with its own rescale slope."""
    stack = stack or Stack()
    slopes = slopes or [0.5 + 0.01 * frame for frame in range(stack.frames)]
    series = _series()
    datasets = []
    for frame, counts in enumerate(stack.sample(scan)):
        stored = counts[None] / slopes[frame]
        dataset = _image(stored, stack, PositronEmissionTomographyImageStorage, "PT", series, frame + 1)
        _add_positron(dataset, stack, frame, slopes[frame])
        datasets.append(dataset)
    return datasets


def to_bytes(dataset: Dataset) -> bytes:
    """Encode it as a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_files(datasets: Sequence[Dataset], directory: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """Write one file each, as a hospital does: numbered, without a suffix."""
    directory.mkdir(parents=True, exist_ok=True)
    names = names or [f"IM{number:04d}" for number in range(len(datasets))]
    paths = {name: directory / name for name in names}
    for path, dataset in zip(paths.values(), datasets, strict=True):
        path.write_bytes(to_bytes(dataset))
    return paths


def conformance_errors(path: Path) -> list[str]:
    """What dciodvfy finds against the standard."""
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]


def _series() -> dict[str, str]:
    return {
        keyword: generate_uid(prefix=UID_ROOT)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }


def _image(
    counts: Values, stack: Stack, sop_class: str, modality: str, series: dict[str, str] | None = None, number: int = 1
) -> Dataset:
    """Everything that NM and PT images have in common."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in {**IDENTIFIERS, **(series or _series())}.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid(prefix=UID_ROOT)
    dataset.Modality = modality
    dataset.PatientSex = "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20200101"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.Manufacturer = "Phantom"
    dataset.BodyPartExamined = "BRAIN"
    dataset.PositionReferenceIndicator = None
    dataset.PatientOrientationCodeSequence = [_code("102538003", "SCT", "recumbent")]
    dataset.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [
        _code("40199007", "SCT", "supine")
    ]
    dataset.PatientGantryRelationshipCodeSequence = [_code("102540008", "SCT", "headfirst")]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stack.rows, stack.columns
    dataset.PixelSpacing = [stack.pixel_mm, stack.pixel_mm]
    dataset.SliceThickness = abs(stack.step_mm)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = np.round(counts).astype("<u2").tobytes()
    return dataset


def _add_nuclear_medicine(dataset: Dataset, stack: Stack, frames: int, first: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    dataset.NumberOfFrames = frames
    dataset.FrameIncrementPointer = 0x00540080
    dataset.SliceVector, dataset.NumberOfSlices = list(range(1, frames + 1)), frames
    dataset.SpacingBetweenSlices = stack.step_mm
    dataset.NumberOfEnergyWindows = dataset.NumberOfDetectors = dataset.NumberOfRotations = 1
    dataset.CountsAccumulated = None
    detector = Dataset()
    detector.CollimatorType = "PARA"
    detector.FocalDistance = 0
    detector.ImageOrientationPatient = [_decimal(value) for value in stack.orientation]
    detector.ImagePositionPatient = [_decimal(value) for value in stack.position(first)]
    dataset.DetectorInformationSequence = [detector]
    dataset.EnergyWindowInformationSequence = []
    dataset.RadiopharmaceuticalInformationSequence = []
    dataset.RotationInformationSequence = []
    dataset.AcquisitionContextSequence = []


def _add_positron(dataset: Dataset, stack: Stack, frame: int, slope: float) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SeriesType = ["STATIC", "IMAGE"]
    dataset.Units, dataset.CountsSource, dataset.DecayCorrection = "BQML", "EMISSION", "NONE"
    dataset.NumberOfSlices, dataset.ImageIndex = stack.frames, frame + 1
    dataset.CollimatorType, dataset.CorrectedImage = "NONE", ["ATTN", "SCAT"]
    dataset.ImageOrientationPatient = [_decimal(value) for value in stack.orientation]
    dataset.ImagePositionPatient = [_decimal(value) for value in stack.position(frame)]
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, _decimal(slope)
    dataset.FrameReferenceTime, dataset.ActualFrameDuration = 0, 600000
    dataset.RadiopharmaceuticalInformationSequence = []
    dataset.AcquisitionContextSequence = []


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _decimal(value: float) -> str:
    return f"{value:.6g}"  # a decimal string holds 16 characters


def expect_no_identifier(message: str) -> None:
    """Fail where a message repeats anything that names the phantom's patient."""
    assert "planted" not in message.lower()
    assert UID_ROOT not in message
    assert "4711" not in message
    assert "1901" not in message
