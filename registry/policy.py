"""The promotion policy as read from policy.yaml: which measurements are gates, and within which limits."""

import hashlib
import os
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spect.conditions import CONDITIONS, Pattern
from spect.errors import ConfigurationError
from spect.faults import describe_fault
from spect.home import expand_path
from spect.schema_version import SchemaVersion

SHIPPED_POLICY = Path(__file__).with_name("policy.yaml")
SETTING = "SYNSPECT_POLICY"


class Judged(StrEnum):
    """What of a measurement is held against the limits."""

    VALUE = "value"
    INTERVAL = "interval"
    LOWER_BOUND = "lower_bound"
    DIGESTS = "digests"
    CHAMPION = "champion"


CELLS = ("all", *map(str, Pattern), *map(str, CONDITIONS))


class _Record(BaseModel):
    # A limit that is not a number is never passed, or never failed.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GateRule(_Record):
    """One metric in some cells, held against limits."""

    metric: str
    cells: tuple[str, ...] = Field(min_length=1)
    judged: Judged
    low: float | None = None
    high: float | None = None
    ideal: float | None = None  # no difference; compared with the champion where given
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _cells_exist(self) -> "GateRule":
        if unknown := [cell for cell in self.cells if cell not in CELLS]:
            raise ValueError(f"{self.metric} names the cell {unknown[0]!r}; use {', '.join(CELLS)}")
        return self

    @model_validator(mode="after")
    def _limits_enclose_the_ideal(self) -> "GateRule":
        low, ideal, high = self.low, self.ideal, self.high
        known = [value for value in (low, ideal, high) if value is not None]
        if known != sorted(known):
            raise ValueError(f"{self.metric} needs low <= ideal <= high, got {low}, {ideal}, {high}")
        return self

    @model_validator(mode="after")
    def _limits_fit_the_judgement(self) -> "GateRule":
        measured = self.judged in {Judged.VALUE, Judged.INTERVAL, Judged.LOWER_BOUND}
        if measured and self.high is None:
            raise ValueError(f"{self.metric}, judged by {self.judged}, needs an upper limit")
        if self.judged is Judged.INTERVAL and self.low is None:
            raise ValueError(f"{self.metric}, judged by its interval, needs a lower limit")
        if self.judged is Judged.INTERVAL and self.ideal is None:
            raise ValueError(f"{self.metric}, judged by its interval, needs the value of no difference as ideal")
        return self

    @property
    def limit(self) -> str:
        """The limits in a few characters, as the table prints them."""
        if self.high is None:
            return "none"
        if self.low is None:
            return f"<= {self.high:g}"
        return f"{self.low:g} to {self.high:g}"


class Policy(_Record):
    """Every gate of a promotion."""

    schema_version: SchemaVersion
    required_power: float = Field(gt=0, lt=1)
    require_gates: bool = False
    gates: tuple[GateRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_cell_is_judged_once(self) -> "Policy":
        cells = [(rule.metric, cell) for rule in self.gates for cell in rule.cells]
        if twice := [f"{metric} ({cell})" for metric, cell in cells if cells.count((metric, cell)) > 1]:
            raise ValueError(f"{twice[0]} is judged twice; keep one of the two")
        return self

    @property
    def digest(self) -> str:
        """Which policy this is, whatever the file's comments and order of fields: the first 12 digits of a sha256."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def find_policy() -> Path:
    """Return the file that SYNSPECT_POLICY names, or the policy that comes with synspect."""
    named = os.environ.get(SETTING)
    return expand_path(named, SETTING) if named else SHIPPED_POLICY


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy, `find_policy()` where none is named; raise `ConfigurationError` naming what is wrong first."""
    path = path or find_policy()
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ConfigurationError(f"{path} is no policy: {describe_fault(error)}; mend it") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        raise ConfigurationError(f"{path} is not YAML: {_describe_yaml_fault(error)}; mend the policy") from None
    except OSError as error:
        do = "install synspect again" if path == SHIPPED_POLICY else f"name a policy in {SETTING}, or unset it"
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); {do}") from None


def _describe_yaml_fault(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]
