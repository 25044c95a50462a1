"""The manifest of a bundle: what a released model says about itself, checked when read."""

import json
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from spect.conditions import CONDITIONS
from spect.density import QuantityDensity
from spect.errors import BundleError, ConfigurationError
from spect.faults import describe_fault
from spect.intensity import IntensityScale
from spect.schema_version import SchemaVersion

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
GENERATOR_NAME = "generator.onnx"
PROFILE_NAME = "reference_profile.json"
PANEL_NAME = "panel.json"
CARD_NAME = "card.md"

# The released graph agrees with the network that was trained within this share of the model range.
PARITY_LIMIT = 1e-4

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]

# Nothing that a reader would unpack, import or run.
_FILE_NAMES = (GENERATOR_NAME, PROFILE_NAME, PANEL_NAME, CARD_NAME)
_BATCH_SIZE = re.compile("[1-9][0-9]*")
_FIGURE_NAME = re.compile(r"figures/[a-z0-9][a-z0-9_-]*\.png")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class TrainingCohort(_Record):
    """The cohort a model was trained on; a fingerprint, never a path or a patient."""

    fingerprint: str
    source: Literal["acquired", "simulated"]
    simulator_version: str | None
    slices: int = Field(gt=0)
    intensity_unit: str
    intensity_scaling: Literal["whole-cohort", "per-slice"]


class GraphTensor(_Record):
    """Name, element type and shape of one input or output of the graph; "batch" is free."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int | Literal["batch"], ...]


class Manifest(_Record):
    """Everything a server needs to know of a generator besides the graph itself."""

    schema_version: SchemaVersion = SCHEMA_VERSION
    name: str
    created_at: str
    git_commit: str
    run_id: str
    training_cohort: TrainingCohort
    conditions: tuple[str, ...]
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    quantity_density: dict[str, Any]
    latent_size: int = Field(gt=0)
    matrix: int = Field(gt=0)
    pixel_spacing_mm: float = Field(gt=0)
    max_counts: float = Field(gt=0)
    parity: dict[str, float]  # batch size -> largest difference, as a share of the model range
    validation: dict[str, Any]  # the gates' inputs in short; panel.json is the whole
    files: dict[str, Sha256]

    @field_validator("conditions")
    @classmethod
    def _conditions_are_ours(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        expected = tuple(map(str, CONDITIONS))
        if conditions != expected:
            raise ValueError(f"conditions must be {expected} in this order, got {conditions}")
        return conditions

    @field_validator("parity")
    @classmethod
    def _parity_is_within_its_limit(cls, parity: dict[str, float]) -> dict[str, float]:
        if not all(_BATCH_SIZE.fullmatch(size) and value >= 0 for size, value in parity.items()):
            raise ValueError(f"parity must be differences of 0 or more by batch sizes from 1 on, got {parity}")
        worst = max(parity.values(), default=math.nan)
        if not worst <= PARITY_LIMIT:
            raise ValueError(f"parity must be measured and at most {PARITY_LIMIT:g}, got {parity}")
        return parity

    @model_validator(mode="after")
    def _density_is_readable(self) -> "Manifest":
        try:
            self.density()
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _graph_fits_the_sizes(self) -> "Manifest":
        expected = describe_graph(self.latent_size, len(self.density().names), self.matrix)
        for kind, stated, right in zip(("inputs", "outputs"), (self.inputs, self.outputs), expected, strict=True):
            if stated != right:
                raise ValueError(f"{kind} must be {in_words(right)} for these sizes, got {in_words(stated)}")
        return self

    @field_validator("files")
    @classmethod
    def _files_are_those_of_a_bundle(cls, files: dict[str, Sha256]) -> dict[str, Sha256]:
        for name in files:
            try:
                check_file_name(name)
            except BundleError as error:
                raise ValueError(str(error)) from error
        return files

    def untaught(self) -> tuple[str, ...]:
        """Conditions the generator was not taught: none of a bundle's, but a model can be validated in the others."""
        taught = self.density().conditions
        return tuple(str(condition) for condition in CONDITIONS if condition not in taught)

    def density(self) -> QuantityDensity:
        """Return the quantity density as an object that draws."""
        return QuantityDensity.from_dict(self.quantity_density)

    def intensity_scale(self) -> IntensityScale:
        """Return the map from the graph's output to counts."""
        return IntensityScale(max_counts=self.max_counts)


def check_file_name(name: str) -> None:
    """Raise `BundleError` for a file that has no place in a bundle."""
    if name not in _FILE_NAMES and not _FIGURE_NAME.fullmatch(name):
        allowed = ", ".join(_FILE_NAMES)
        raise BundleError(f"{name!r} cannot be a file of a bundle: it holds {allowed} and figures/NAME.png only")


def describe_graph(
    latent_size: int, quantities: int, matrix: int
) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
    """Return inputs and outputs of a graph for these sizes; the service feeds and reads them by these names."""
    inputs = (
        GraphTensor(name="latents", dtype="float32", shape=("batch", latent_size)),
        GraphTensor(name="condition", dtype="int64", shape=("batch",)),
        GraphTensor(name="quantities", dtype="float32", shape=("batch", quantities)),
    )
    outputs = (GraphTensor(name="model_images", dtype="float32", shape=("batch", 1, matrix, matrix)),)
    return inputs, outputs


def in_words(tensors: tuple[GraphTensor, ...]) -> str:
    """Return names, types and shapes in one line."""
    return ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)


def check_manifest_there(path: Path) -> None:
    """Raise `BundleError` where nothing has the name of a manifest."""
    if not os.path.lexists(path):
        raise _missing(path)


def _missing(path: Path) -> BundleError:
    return BundleError(f"{path} is missing; a bundle is a directory that holds {MANIFEST_NAME}")


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; raise `BundleError` with the first thing wrong."""
    try:
        _check_schema_version(path)
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _missing(path) from None
    except ValidationError as error:
        fault = describe_fault(error)
        raise BundleError(f"{path} is no manifest: {fault}; release the model again or update synspect") from None
    if missing := manifest.untaught():
        raise BundleError(
            f"{path}: quantity_density lacks {', '.join(missing)}, which every bundle serves; release the model again"
        )
    return manifest


def _check_schema_version(path: Path) -> None:
    try:
        version = json.loads(path.read_bytes())["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return  # not a manifest: validation says why
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}, this synspect reads up to {SCHEMA_VERSION}; update synspect"
        )
