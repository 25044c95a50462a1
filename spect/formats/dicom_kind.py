"""Which DICOM objects hold reconstructed counts, and why every other is refused."""

from pydicom.uid import (
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

from spect.errors import FormatError
from spect.formats.dicom_file import Attributes, known_uid_words, tag_words

_CAPTURES = (
    SecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
_ENHANCED = (EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage)
_RECONSTRUCTED = "RECON TOMO"
# ImageType value 3 of NM (PS3.3 C.8.4.9.1.1). No other word of a header is ever quoted: it may be a patient's name.
_NOT_RECONSTRUCTED = {
    "STATIC": "a planar image, not slices",
    "WHOLE BODY": "a planar image, not slices",
    "DYNAMIC": "a series of planar images in time, not slices",
    "GATED": "planar images of a heart's cycle, not slices",
    "TOMO": "the projections of a tomography, not its slices",
    "GATED TOMO": "the gated projections of a tomography, not its slices",
    "RECON GATED TOMO": "slices of a heart's cycle, not of a brain",
}
# SeriesType of PT (PS3.3 C.8.9.1.1.1), either value.
_NOT_ONE_VOLUME = {
    "DYNAMIC": "a series of volumes in time",
    "GATED": "a series of volumes of a heart's cycle",
    "REPROJECTION": "projections made of a volume",
}
_GRAYSCALE = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "HSV", "CMYK")
_BITS = (8, 16, 32)


def check_kind(header: Attributes) -> None:
    """Raise `FormatError`, saying what it is and what to give instead, unless it is reconstructed NM or PT."""
    _check_class(header)
    _check_grayscale(header)
    if is_nuclear_medicine(header):
        _check_reconstructed(header)
    else:
        _check_one_volume(header)


def is_nuclear_medicine(header: Attributes) -> bool:
    """Whether it is of the NM class, whose geometry stands with its detectors."""
    return header.word("SOPClassUID") == NuclearMedicineImageStorage


def _check_class(header: Attributes) -> None:
    sop_class, name = header.word("SOPClassUID"), header.name
    if sop_class in _CAPTURES:
        raise FormatError(
            f"{name} is a Secondary Capture: a picture of a screen holds no counts and does not say which side is "
            "left; export the reconstructed slices (NM or PT)"
        )
    if sop_class in _ENHANCED:
        raise FormatError(f"{name} is an enhanced multi-frame PET, which is not read; export it as single-frame PT")
    if sop_class not in (NuclearMedicineImageStorage, PositronEmissionTomographyImageStorage):
        words = known_uid_words(sop_class) or f"of an unknown class, {tag_words('SOPClassUID')}"
        raise FormatError(f"{name} is {words}; only reconstructed slices of NM and PT are read")


def _check_grayscale(header: Attributes) -> None:
    photometric = header.word("PhotometricInterpretation")
    if photometric not in _GRAYSCALE or header.whole("SamplesPerPixel", 1) != 1:
        words = f"in colour ({photometric})" if photometric in _COLOUR else "not plainly grayscale"
        raise FormatError(f"{header.name} is {words}: its values are no counts; export the original grayscale slices")
    bits = header.whole("BitsAllocated")
    if bits not in _BITS:
        raise FormatError(f"{header.name} has {bits} bits a pixel; 8, 16 and 32 are read: export it again")


def _check_reconstructed(header: Attributes) -> None:
    words = header.words("ImageType")
    kind = words[2].strip() if len(words) > 2 else ""
    if kind in _NOT_RECONSTRUCTED:
        raise FormatError(
            f"{header.name} is NM of type {kind}: {_NOT_RECONSTRUCTED[kind]}; give the reconstructed transverse "
            f"slices ({_RECONSTRUCTED})"
        )
    if kind != _RECONSTRUCTED:
        raise FormatError(
            f"{header.name} does not say it is reconstructed: value 3 of {tag_words('ImageType')} must be "
            f"{_RECONSTRUCTED}; give the reconstructed slices"
        )


def _check_one_volume(header: Attributes) -> None:
    for word in header.words("SeriesType"):
        if word.strip() in _NOT_ONE_VOLUME:
            raise FormatError(
                f"{header.name} is PT of type {word.strip()}: {_NOT_ONE_VOLUME[word.strip()]}; give one static volume"
            )
    if header.whole("NumberOfFrames", 1) != 1:
        raise FormatError(f"{header.name} is PT of several frames without a place each; export it as single-frame PT")
