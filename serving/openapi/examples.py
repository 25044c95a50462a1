"""Examples of the JSON answers: answers of the reference model, cut short, recorded in a file beside this one."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

FILE_NAME = "examples.json"
SLICES = "SlicesAnswer"  # has no model: the writer of JSON makes it


def describe_example(model: str) -> dict[str, Any]:
    """Return what stands beside the schema of an answer."""
    return {
        "examples": {"cut short": {"summary": "of the reference model; lists are cut short", "value": _read()[model]}}
    }


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(__package__).joinpath(FILE_NAME).read_text(encoding="utf-8"))
    return found
