"""promotion.json: what the registry knows of a version and an immutable bundle cannot, written beside the bundle."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from spect.errors import BundleError
from spect.faults import describe_fault

PROMOTION_NAME = "promotion.json"

# gates: every gate passed; override: promoted against the gates, with a reason; outside: moved by hand in MLflow;
# none: the candidate is followed, which nobody promoted.
PromotionKind = Literal["gates", "override", "outside", "none"]


class PromotionNote(BaseModel):
    """Version of a served bundle, and how it became champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    promotion: PromotionKind
    reason: str = ""  # of an override
    who: str = ""
    when: str = ""  # ISO 8601, UTC


def load_promotion_note(path: Path) -> PromotionNote | None:
    """Read a note; None where there is none; raise `BundleError` where it is not one."""
    try:
        return PromotionNote.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BundleError(f"{path} is no promotion: {describe_fault(error)}; follow the registry again") from None


def save_promotion_note(note: PromotionNote, path: Path) -> None:
    """Write a note; the caller makes the directory around it appear at once."""
    path.write_text(note.model_dump_json(indent=2) + "\n", encoding="utf-8")
