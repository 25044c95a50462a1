"""The validation panel of a bundle: what was measured of one ONNX file on one cohort, as the gates read it."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from spect.errors import BundleError, ConfigurationError
from spect.faults import describe_fault
from spect.schema_version import SchemaVersion


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measurement(_Record):
    """One number about one cell; a cell is a condition ("COR/normal"), a pattern ("normal") or "all".

    `value` is None where the metric could not be measured, and `note` then says why.
    """

    metric: str  # snake_case, for example mean_counts_ratio
    cell: str
    value: float | None
    low: float | None = None  # interval: 90 % for equivalence, else as `note` says
    high: float | None = None
    null: float | None = None  # the same metric, real against real, split by patient
    floor: float | None = None  # the same metric for the per-condition PCA-Gaussian
    power: float | None = None  # probability that a perfect generator would pass
    slices_synthetic: int = 0
    slices_reference: int = 0
    verdict: Literal["equivalent", "different", "inconclusive"] | None = None
    note: str = ""


class Panel(_Record):
    """Measurements bound to the file, the cohort and the code that made them."""

    schema_version: SchemaVersion = 1
    onnx_sha256: str
    cohort_fingerprint: str
    cohort_source: Literal["acquired", "simulated"]
    cohort_simulator_version: str | None = None  # None: acquired, or measured before panels named it
    training_fingerprint: str | None
    git_commit: str
    created_at: str
    quick: bool
    seed: int
    seconds: float
    measurements: tuple[Measurement, ...]

    def find(self, metric: str, cell: str) -> Measurement | None:
        """Return the measurement of one metric in one cell, if there is one."""
        for measurement in self.measurements:
            if (measurement.metric, measurement.cell) == (metric, cell):
                return measurement
        return None


def load_panel(path: Path) -> Panel:
    """Read a panel; raise `BundleError` where it is missing or not one."""
    try:
        return Panel.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; validate the model again") from None
    except ValidationError as error:
        raise BundleError(f"{path} is no panel: {describe_fault(error)}; validate the model again") from None


def load_printed_panel(path: Path) -> Panel:
    """Read what `synspect validate --json` printed, or a panel.json; raise `ConfigurationError` where it is none."""
    try:
        printed = json.loads(path.read_bytes())
        return Panel.model_validate(printed["panel"] if isinstance(printed, dict) and "panel" in printed else printed)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); name a file that holds a panel") from None
    except ValidationError as error:
        what = describe_fault(error)
    except (ValueError, RecursionError) as error:
        what = f"not JSON ({error})"
    raise ConfigurationError(f"{path} is no panel: {what}; write one with `synspect validate BUNDLE DIR --json`")
