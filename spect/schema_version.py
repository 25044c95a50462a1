"""The version of a file's layout: the whole number 1 and nothing that only compares equal to it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator


def _check_whole(value: object) -> object:
    if type(value) is not int:  # for Python true and 1.0 are 1
        raise ValueError(f"must be the whole number 1, got {str(value).lower() if value is True else repr(value)}")
    return value


SchemaVersion = Annotated[Literal[1], BeforeValidator(_check_whole)]
