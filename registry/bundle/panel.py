"""The validation panel of a bundle: what was measured of one ONNX file on one cohort, as the gates read it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from spect.errors import BundleError


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

    schema_version: Literal[1] = 1
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
        first = error.errors()[0]
        raise BundleError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; validate again") from None
