r"""Write synthetic slices as DICOM: a zip of single-frame NM objects, no clock in them, that say what they are.

Slices of unrelated synthetic patients are no volume, so each has a patient, a study, a series and a frame of reference
of its own. Every identifier is a hash of what made the slice: the same slice gives the same bytes.

ImageType is DERIVED\SECONDARY: PRIMARY, the only second value that the NM class names (PS3.3 C.8.4.9.1.1), would say
that the image came of a patient's examination. A checker of the class reports that word, and nothing else as wrong.
"""

import hashlib
import io
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, NuclearMedicineImageStorage

from spect.formats.dicom_header import SYNTHETIC_PATIENT, SYNTHETIC_TYPE
from spect.formats.heading import Heading, check_parts
from spect.formats.units import UCUM_CODES
from spect.formats.zip_stream import Member, stream_zip
from spect.slices import SyntheticBatch

NOTICE = "SYNTHETIC, research use only, never for diagnosis"

_STORED_MOST = 2**16 - 1
# Of half a step of the stored integers: what the reader's float32 and the three digits of the statement add.
_ERROR_MARGIN = 1.02
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:synspect:dicom")
_IMPLEMENTATION = "synspect"


def write(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[bytes]:
    """Yield a zip of one NM object a slice, named by condition, seed and index."""
    return stream_zip(_members(heading, parts))


def _members(heading: Heading, parts: Iterable[SyntheticBatch]) -> Iterator[Member]:
    number = 0
    for part in check_parts(heading, parts):
        for row in range(len(part)):
            source = _Source.of(part, row)
            # Two entries of a mix may ask for one slice: its place in the answer keeps their names apart.
            name = f"synthetic-{number:05d}-{source.level}-{source.pattern}-{source.seed}-{source.index}.dcm"
            yield Member.of(name, to_object(part.counts[row], source))
            number += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What made one slice, and in what it is measured."""

    level: str
    pattern: str
    seed: int
    index: int
    pixel_spacing_mm: float
    model_version: str
    model_sha256: str
    intensity_unit: str

    @classmethod
    def of(cls, batch: SyntheticBatch, row: int) -> "_Source":
        return cls(
            level=str(batch.level[row]),
            pattern=str(batch.pattern[row]),
            seed=int(batch.seed[row]),
            index=int(batch.index[row]),
            pixel_spacing_mm=batch.pixel_spacing_mm,
            model_version=batch.model_version,
            model_sha256=batch.model_sha256,
            intensity_unit=batch.intensity_unit,
        )

    @property
    def name(self) -> str:
        """What the seed rule needs to make the slice again."""
        return f"{self.model_sha256}/{self.level}/{self.pattern}/{self.seed}/{self.index}"

    @property
    def patient(self) -> str:
        """One synthetic patient a slice; at another matrix, or with another quantity asked for, it is the same one."""
        return SYNTHETIC_PATIENT + hashlib.sha256(self.name.encode()).hexdigest()[:24].upper()


def to_object(counts: NDArray[np.float32], source: _Source) -> bytes:
    """Return one slice (rows, columns) as the bytes of an NM object."""
    slope = _slope(counts)
    stored = np.rint(counts / slope).astype("<u2")
    image = Dataset()
    _identify(image, source, stored.tobytes())
    _describe(image, source, slope)
    _place(image, counts, source.pixel_spacing_mm)
    _nuclear_medicine(image)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    _scale(image, slope, source.intensity_unit)
    image.PixelData = stored.tobytes()
    return _to_file(image)


def _slope(counts: NDArray[np.float32]) -> float:
    """Return counts per stored step, as its sixteen characters in the header say it."""
    highest = float(counts.max())
    slope = float(f"{highest / _STORED_MOST:.9e}")
    return slope if slope > 0 else 1.0


def _scale(image: Dataset, slope: float, unit: str) -> None:
    """State the slope as nearly every program looks for it, and, with its unit, as the NM class has it.

    The Modality LUT is no part of the NM class (PS3.3 A.5.2); the Real World Value Mapping is (C.7.6.1).
    """
    image.RescaleSlope, image.RescaleIntercept = f"{slope:.9e}", "0"
    if unit not in UCUM_CODES:
        return
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = UCUM_CODES[unit], "UCUM", unit
    mapping = Dataset()
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", _STORED_MOST)
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 0.0
    mapping.LUTExplanation, mapping.LUTLabel = unit, "COUNTS"
    mapping.MeasurementUnitsCodeSequence = Sequence([code])
    image.RealWorldValueMappingSequence = Sequence([mapping])


def _identify(image: Dataset, source: _Source, pixels: bytes) -> None:
    image.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: a unit may be written in any letters
    content = hashlib.sha256(pixels).hexdigest()  # another matrix or another quantity asked for: another image
    image.SOPClassUID = NuclearMedicineImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        name = f"{keyword}/{source.name}/{source.pixel_spacing_mm!r}/{content}"
        setattr(image, keyword, UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"))
    image.PatientID = source.patient
    image.PatientName = "SYNTHETIC^NO PATIENT"
    # No clock and no person: what the classes ask for and nobody can say stays empty.
    image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
    image.ReferringPhysicianName = image.AccessionNumber = image.PositionReferenceIndicator = ""
    image.StudyID = "SYNTHETIC"
    image.SeriesNumber = image.InstanceNumber = 1
    image.Modality, image.BodyPartExamined = "NM", "BRAIN"


def _describe(image: Dataset, source: _Source, slope: float) -> None:
    image.ImageType = [*SYNTHETIC_TYPE, "RECON TOMO", "EMISSION"]
    image.Manufacturer = "synspect"
    image.ManufacturerModelName = "synthetic slices"
    image.SoftwareVersions = f"model {source.model_version}"[:64]
    image.StudyDescription = "SYNTHETIC brain SPECT, no patient"
    image.SeriesDescription = f"SYNTHETIC {source.level} {source.pattern} {source.seed} {source.index}"[:64]
    image.ImageComments = NOTICE
    error, unit = slope / 2 * _ERROR_MARGIN, source.intensity_unit[:60]
    image.DerivationDescription = (
        f"Made by a generator, not acquired: level {source.level}, pattern {source.pattern}, seed {source.seed}, "
        f"index {source.index}, model {source.model_version[:60]}, sha256 {source.model_sha256}. Value = stored x "
        f"{slope:.9e} {unit}, rounded: error at most {error:.3g} {unit}."
    )
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"


def _place(image: Dataset, counts: NDArray[np.float32], pixel_spacing_mm: float) -> None:
    """Row 0 anterior and the patient's left on image right; the middle of the field is the origin."""
    image.Rows, image.Columns = counts.shape
    image.PixelSpacing = [f"{pixel_spacing_mm:.10g}"] * 2
    left, front = (-(side - 1) / 2 * pixel_spacing_mm for side in (image.Columns, image.Rows))
    image.PatientOrientation = ["L", "P"]
    detector = Dataset()
    detector.CollimatorType = "NONE"
    detector.FocalDistance = None
    detector.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    detector.ImagePositionPatient = [f"{left:.10g}", f"{front:.10g}", "0"]
    image.DetectorInformationSequence = Sequence([detector])
    image.PatientOrientationCodeSequence = Sequence()
    image.PatientGantryRelationshipCodeSequence = Sequence()


def _nuclear_medicine(image: Dataset) -> None:
    """Fill in what an acquisition would say: one slice, no energy window, no tracer, no time."""
    image.NumberOfFrames = 1
    image.FrameIncrementPointer = 0x00540080  # SliceVector
    image.SliceVector = 1
    image.NumberOfSlices = image.NumberOfDetectors = image.NumberOfRotations = 1
    image.SpacingBetweenSlices = image.SliceThickness = None
    image.CountsAccumulated = None
    image.NumberOfEnergyWindows = 1
    image.EnergyWindowInformationSequence = Sequence()
    tracer = Dataset()
    tracer.RadionuclideCodeSequence = Sequence()
    tracer.Radiopharmaceutical = "none: synthetic, imitates 123I-IMP"
    image.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    image.RotationInformationSequence = Sequence()


def _to_file(image: Dataset) -> bytes:
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = UID(f"2.25.{_NAMESPACE.int}")
    image.file_meta.ImplementationVersionName = _IMPLEMENTATION
    buffer = io.BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()
