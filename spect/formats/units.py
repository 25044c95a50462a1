"""Which intensity units scans come in: those of one cohort must have one, and a unit nobody knows is refused."""

from collections.abc import Mapping
from types import MappingProxyType

from spect.slices import DEFAULT_UNIT

FLOW_UNIT = "mL/100g/min"  # of quantified perfusion
# A picture says no more than its depth, and values of 8 and of 16 bits lie on different scales.
GRAY_UNITS: Mapping[int, str] = MappingProxyType({8: "8-bit gray values", 16: "16-bit gray values"})

# Units (0054,1001), PS3.3 C.8.9.1.1.3; SUV by its type (0054,1006), C.8.9.1.1.4, body weight where there is none.
DICOM_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "CNTS": DEFAULT_UNIT,
        "NONE": "unitless values",
        "CM2": "cm2",
        "CM2ML": "cm2/mL (SUV, BSA)",
        "PCNT": "percent",
        "CPS": "counts per second",
        "BQML": "Bq/mL",
        "MGMINML": "mg/min/mL",
        "UMOLMINML": "umol/min/mL",
        "MLMING": "mL/min/g",
        "MLG": "mL/g",
        "1CM": "1/cm",
        "UMOLML": "umol/mL",
        "PROPCNTS": "values proportional to counts",
        "PROPCPS": "values proportional to counts per second",
        "MLMINML": "mL/min/mL",
        "MLML": "mL/mL",
        "STDDEV": "standard deviations",
    }
)
SUV = "GML"
SUV_UNITS: Mapping[str, str] = MappingProxyType(
    {kind: f"g/mL (SUV, {kind})" for kind in ("BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW")}
)
DEFAULT_SUV = "BW"

# Codes of UCUM, in which a Real World Value Mapping (0040,9096) names a unit.
UCUM_CODES: Mapping[str, str] = MappingProxyType({DEFAULT_UNIT: "{counts}", FLOW_UNIT: "mL/(100.g)/min"})

KNOWN_UNITS = (*DICOM_UNITS.values(), *SUV_UNITS.values(), FLOW_UNIT, *GRAY_UNITS.values())
