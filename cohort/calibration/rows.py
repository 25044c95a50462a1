"""One row of the calibration: a target with its source, what the simulator gives, and whether it lies inside."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A simulated value, its standard error and what it was taken over."""

    value: float
    standard_error: float | None  # None: a setting, not a sample
    n: int

    @classmethod
    def of_mean(cls, values: Sequence[float] | NDArray[np.float64]) -> "Estimate":
        """Take the mean of independent values."""
        sample = np.asarray(values, dtype=np.float64)
        return cls(
            value=float(sample.mean()), standard_error=float(sample.std(ddof=1) / np.sqrt(sample.size)), n=sample.size
        )

    @classmethod
    def of_sd(cls, values: Sequence[float] | NDArray[np.float64]) -> "Estimate":
        """Take the standard deviation of independent, nearly normal values."""
        sample = np.asarray(values, dtype=np.float64)
        sd = float(sample.std(ddof=1))
        return cls(value=sd, standard_error=sd / float(np.sqrt(2 * (sample.size - 1))), n=sample.size)

    @classmethod
    def of_share(cls, found: Sequence[bool]) -> "Estimate":
        """Take the share of patients in whom something is found."""
        share = float(np.mean(found))
        return cls(value=share, standard_error=float(np.sqrt(share * (1 - share) / len(found))), n=len(found))

    @classmethod
    def of_setting(cls, value: float) -> "Estimate":
        """Take a number that is set, not sampled."""
        return cls(value=value, standard_error=None, n=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity: what the literature says, and what the simulated patients give."""

    quantity: str
    stated: str  # the target as the source gives it
    low: float  # the range the simulated value must lie in
    high: float
    simulated: Estimate
    source: str
    scale: float = 1.0  # 100 prints a share as per cent
    decimals: int = 2

    def is_inside(self, *, standard_errors: float = 0.0) -> bool:
        """Whether the value lies in the range, give or take so many of its standard errors."""
        slack = standard_errors * (self.simulated.standard_error or 0.0)
        return self.low - slack <= self.simulated.value <= self.high + slack

    def to_markdown(self) -> str:
        """One line of a table: quantity, target, range, simulated, n, inside, source."""
        one = self.simulated
        error = "" if one.standard_error is None else f" ± {self._print(one.standard_error, more=1)}"
        sampled = "set" if one.standard_error is None else str(one.n)
        cells = (
            self.quantity,
            self.stated,
            f"{self._print(self.low)} to {self._print(self.high)}",
            f"{self._print(one.value)}{error}",
            sampled,
            "yes" if self.is_inside() else "**no**",
            self.source,
        )
        return f"| {' | '.join(cells)} |"

    def _print(self, value: float, *, more: int = 0) -> str:
        return f"{value * self.scale:.{self.decimals + more}f}"


COLUMNS = ("quantity", "stated", "range", "simulated ± SE", "n", "inside", "source")


def to_table(rows: Sequence[Row]) -> str:
    """All rows as one Markdown table."""
    return "\n".join(
        [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS), *(row.to_markdown() for row in rows)]
    )
