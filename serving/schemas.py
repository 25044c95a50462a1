"""What a request may say and what the answers hold: bounds here, domain objects out."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict

from serving.problems import MalformedRequestError
from serving.settings import MAX_SLICES
from spect.conditions import Condition, Level, Pattern, parse_condition
from spect.density import Targets
from spect.errors import RequestError
from spect.faults import describe_fault
from spect.formats.whole import FULL_MATRIX, count_most
from spect.sampling import MAX_SEED

Matrix = Literal[64, 128, 256]
MATRICES: tuple[int, ...] = (64, 128, 256)
MAX_MIX = 64
NO_TARGETS = Targets()
MAX_PIXELS = MAX_SLICES * 128 * 128  # of one answer: what 4,096 slices have at matrix 128

Model = TypeVar("Model", bound=BaseModel)

_Word = Annotated[str, Field(max_length=40)]
_COUNT_WORDS = (
    f"slices; in all at most {MAX_SLICES}, {MAX_PIXELS // max(MATRICES) ** 2} at matrix {max(MATRICES)}; as a contact "
    f"sheet or JSON at most {count_most(FULL_MATRIX)}, {count_most(max(MATRICES))} at matrix {max(MATRICES)}"
)
_Count = Annotated[int, Field(ge=1, le=MAX_SLICES, description=_COUNT_WORDS)]
_Index = Annotated[int, Field(ge=0, le=MAX_SEED)]
_Positive = Annotated[float, Field(gt=0)]
_LevelWord = Annotated[_Word, Field(json_schema_extra={"enum": list(Level)})]
_PatternWord = Annotated[_Word, Field(json_schema_extra={"enum": list(Pattern)})]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class MixEntry(_Body):
    """One condition of a mixed batch; it counts from its own start."""

    level: _LevelWord
    pattern: _PatternWord
    count: _Count
    start: _Index = 0
    left_right_ratio: _Positive | None = None
    mean_counts: _Positive | None = None


# The rules of `_names_one_condition_or_a_mix`, in words of JSON Schema.
_ONE_CONDITION: JsonDict = {
    "required": ["level", "pattern", "count"],
    "properties": {
        "level": {"type": "string"},
        "pattern": {"type": "string"},
        "count": {"type": "integer"},
        "mix": {"type": "null"},
    },
}
_A_MIX: JsonDict = {
    "required": ["mix"],
    "properties": {"mix": {"type": "array"}, **{name: {"type": "null"} for name in MixEntry.model_fields}},
}


class SlicesRequest(_Body):
    """Body of POST /v1/slices: one condition, or a `mix` of several."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_ONE_CONDITION, _A_MIX]})

    level: _LevelWord | None = None
    pattern: _PatternWord | None = None
    count: _Count | None = None
    start: _Index | None = None
    left_right_ratio: _Positive | None = None
    mean_counts: _Positive | None = None
    mix: Annotated[tuple[MixEntry, ...], Field(min_length=1, max_length=MAX_MIX)] | None = None
    seed: _Index | None = Field(default=None, description="drawn, and told in X-Synspect-Seed, if absent")
    matrix: Matrix | None = Field(default=None, description="resample over the same field; absent: as generated")
    format: Literal["npz", "npy", "nifti", "dicom", "png", "json"] | None = Field(
        default=None, description="chosen by the query's layout or by Accept if absent; npz by default"
    )

    @model_validator(mode="after")
    def _names_one_condition_or_a_mix(self) -> Self:
        single = {name: getattr(self, name) for name in MixEntry.model_fields}
        given = [name for name, value in single.items() if value is not None]
        if self.mix is not None:
            if given:
                raise ValueError(f"{', '.join(given)} beside mix: put them into each entry of mix")
            return self
        missing = [name for name in ("level", "pattern", "count") if single[name] is None]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing: give level, pattern and count, or a mix of them")
        return self

    def entries(self) -> tuple[MixEntry, ...]:
        """Return what is asked for as a mix, of one entry where there is none."""
        if self.mix is not None:
            return self.mix
        given = {name: getattr(self, name) for name in MixEntry.model_fields}
        return (MixEntry.model_validate({name: value for name, value in given.items() if value is not None}),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Slices start to start + count - 1 of one condition."""

    condition: Condition
    seed: int
    start: int
    count: int
    targets: Targets = NO_TARGETS

    def __post_init__(self) -> None:
        if self.start > MAX_SEED - self.count:
            raise RequestError(
                f"start must be at most {MAX_SEED - self.count} where count is {self.count}, got {self.start}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request that can be served."""

    portions: tuple[Portion, ...]
    seed: int
    matrix: int | None
    format: str | None

    @property
    def count(self) -> int:
        """Slices in all."""
        return sum(portion.count for portion in self.portions)

    @property
    def has_targets(self) -> bool:
        """Whether any slice was asked to measure something."""
        return any(portion.targets != NO_TARGETS for portion in self.portions)


def draw_seed() -> int:
    """Draw a seed for a request that names none."""
    return secrets.randbelow(MAX_SEED + 1)


def parse_order(body: bytes, *, new_seed: Callable[[], int] = draw_seed) -> Order:
    """Turn a body into an order.

    Raises
    ------
    MalformedRequestError
        If the body is not JSON.
    RequestError, ConditionError
        If it is JSON that cannot be served.
    """
    request = parse_body(SlicesRequest, body)
    seed = new_seed() if request.seed is None else request.seed
    portions = tuple(
        Portion(
            condition=parse_condition(entry.level, entry.pattern),
            seed=seed,
            start=entry.start,
            count=entry.count,
            targets=Targets(mean_counts=entry.mean_counts, left_right_ratio=entry.left_right_ratio),
        )
        for entry in request.entries()
    )
    order = Order(portions=portions, seed=seed, matrix=request.matrix, format=request.format)
    if order.count > MAX_SLICES:
        raise RequestError(f"count must be at most {MAX_SLICES} in all, got {order.count}; ask in several requests")
    if order.matrix and order.count * order.matrix**2 > MAX_PIXELS:
        most = MAX_PIXELS // order.matrix**2
        raise RequestError(
            f"count must be at most {most} at matrix {order.matrix}, got {order.count}; ask in several requests"
        )
    _check_no_slice_twice(portions)
    return order


def _check_no_slice_twice(portions: Sequence[Portion]) -> None:
    """Refuse entries of a mix that name a slice twice: whoever augments with it would train on it twice."""
    for first, second in combinations(portions, 2):
        is_same = first.condition == second.condition and first.targets == second.targets
        if is_same and first.start < second.start + second.count and second.start < first.start + first.count:
            raise RequestError(
                f"mix asks for slices of {first.condition} twice, from {first.start} and from {second.start}; ask for "
                "them in one entry, or give the second another start"
            )


def parse_body(model: type[Model], body: bytes) -> Model:
    """Validate a JSON body; raise `MalformedRequestError` or `RequestError` with the first thing wrong."""
    try:
        parsed = model.model_validate_json(body)
    except ValidationError as error:
        fault, kind = describe_fault(error, whole="the body"), error.errors(include_url=False)[0]["type"]
    else:
        json.loads(body, object_pairs_hook=_check_names)
        return parsed
    if kind == "json_invalid":
        raise MalformedRequestError(f"the body is {fault}")
    # Sentences of our own validators say themselves what to do.
    raise RequestError(fault if kind == "value_error" else f"{fault}; see /docs for the fields")


def _check_names(pairs: list[tuple[str, object]]) -> None:
    """Refuse an object that says one thing twice: which of the two is meant nobody knows (RFC 8259, 4)."""
    name, times = Counter(name for name, _ in pairs).most_common(1)[0] if pairs else ("", 0)
    if times > 1:
        raise RequestError(f"the body says {name} {times} times; say it once")
