"""What is read of a registered model: names of aliases and tags, and the facts of a version at one moment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from spect.errors import ConfigurationError

DEFAULT_NAME = "synspect"


class Alias(StrEnum):
    """What a version can be called beside its number, and what can be followed."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"


CANDIDATE: Final = Alias.CANDIDATE.value
CHAMPION: Final = Alias.CHAMPION.value
ALIASES = tuple(alias.value for alias in Alias)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

MANIFEST_TAG = "manifest_sha256"
GENERATOR_TAG = "generator_sha256"
RUN_TAG = "run"
GATES_TAG = "gates"
PROMOTION_TAG = "promotion"  # when this version was last made champion, by whom and how


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One registered version."""

    version: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_at: str  # ISO 8601, UTC
    mlflow_run_id: str | None = None
    logged_model_id: str | None = None  # None: not registered by synspect


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Aliases and tags of the registered model, read together."""

    aliases: Mapping[str, str]
    tags: Mapping[str, str]


def check_name(name: str) -> str:
    """Return the name of a model as it came; raise `ConfigurationError` for one that could lead out of a folder."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"a model is named by 1 to 100 letters, digits, hyphens and underscores, got {name!r}")
    return name


def to_facts(version: Any, aliases: Mapping[str, str]) -> VersionFacts:  # noqa: ANN401 — an MLflow entity
    """Return the facts of MLflow's version, which knows nothing of the model's aliases."""
    return VersionFacts(
        version=str(version.version),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if str(target) == str(version.version))),
        tags=dict(version.tags),
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC).isoformat(timespec="seconds"),
        mlflow_run_id=version.run_id or None,
        logged_model_id=_find_logged_model(version.source or ""),
    )


def _find_logged_model(source: str) -> str | None:
    # MLflow's database keeps no model id of a version but in its source.
    found = re.fullmatch(r"models:/(m-[0-9a-f]+)", source)
    return found[1] if found else None
