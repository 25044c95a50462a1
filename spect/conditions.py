"""Levels, patterns and the eight conditions that patients show; the only place that knows their order."""

from dataclasses import dataclass
from enum import StrEnum

from spect.errors import ConditionError


class Level(StrEnum):
    """Axial level of a slice."""

    CEREBELLUM = "CER"
    BASAL_GANGLIA = "BG"
    CORTEX = "COR"


class Pattern(StrEnum):
    """Pattern of perfusion."""

    NORMAL = "normal"
    UNILATERAL = "unilateral"
    BILATERAL = "bilateral"


# Werner et al., Sci Rep 2022;12:18787, table of slices: no patient shows it.
ABSENT_REASON = "CER x bilateral has no data: the reference study holds no bilateral cerebellar slice"


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """A level and a pattern that occur together."""

    level: Level
    pattern: Pattern

    def __post_init__(self) -> None:
        if self.level is Level.CEREBELLUM and self.pattern is Pattern.BILATERAL:
            raise ConditionError(f"{ABSENT_REASON}; ask for one of {', '.join(map(str, CONDITIONS))}")

    def __str__(self) -> str:
        return f"{self.level}/{self.pattern}"

    @property
    def index(self) -> int:
        """Position in `CONDITIONS`: part of every seed and an input of the generator."""
        return CONDITIONS.index(self)


CONDITIONS: tuple[Condition, ...] = ()
CONDITIONS = tuple(
    Condition(level, pattern)
    for level in Level
    for pattern in Pattern
    if (level, pattern) != (Level.CEREBELLUM, Pattern.BILATERAL)
)


def parse_level(level: str) -> Level:
    """Turn "COR" into `Level.CORTEX`; raise `ConditionError` naming the choices."""
    try:
        return Level(level)
    except ValueError:
        raise ConditionError(f"unknown level {level!r}; use one of {', '.join(Level)}") from None


def parse_pattern(pattern: str) -> Pattern:
    """Turn "normal" into `Pattern.NORMAL`; raise `ConditionError` naming the choices."""
    try:
        return Pattern(pattern)
    except ValueError:
        raise ConditionError(f"unknown pattern {pattern!r}; use one of {', '.join(Pattern)}") from None


def parse_condition(level: str, pattern: str) -> Condition:
    """Turn two words into a condition; raise `ConditionError` for unknown words and for CER x bilateral."""
    return Condition(parse_level(level), parse_pattern(pattern))
