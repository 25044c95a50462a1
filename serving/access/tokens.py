"""Who holds a bearer token, and how much each holder may ask: read once at start, compared in constant time."""

import hashlib
import hmac
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from spect.errors import ConfigurationError
from spect.faults import Place, describe_fault

_FILE_SETTING = "SYNSPECT_TOKENS_FILE"


def _must_match(pattern: str, words: str) -> AfterValidator:
    """Refuse text of another form, in words instead of the pattern."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError("form", "Value should be {words}", {"words": words})
        return text

    return AfterValidator(check)


Sha256 = Annotated[str, _must_match("[0-9a-f]{64}", "64 characters of 0-9 and a-f: the token's sha256 in hexadecimal")]
_Name = Annotated[
    str,
    _must_match("[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "1 to 40 letters, digits, '.', '_' or '-', no sign at the start"),
]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Token(_Entry):
    """One holder of a token. None is no limit."""

    name: _Name
    sha256: Sha256  # of the token, in hexadecimal: the token is kept nowhere
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    slices_per_day: Annotated[int, Field(ge=1, le=10**12)] | None = None


class _TokensFile(_Entry):
    token: Annotated[list[Token], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Every token that is let in; none where no token is asked for."""

    entries: tuple[Token, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def find(self, presented: str) -> Token | None:
        """Return the entry of a token; how long that takes tells nothing of which, nor how nearly, it is."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for entry in self.entries:  # always all of them
            if hmac.compare_digest(digest, entry.sha256):
                found = entry
        return found


def read_tokens(*, file: Path | None, sha256: str | None) -> Tokens:
    """Return the tokens of a file (TOML, one table `[[token]]` each), or the one without limits.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, says something else, or both are given. It holds no word of the file's values.
    """
    if file is None:
        return Tokens(() if sha256 is None else (Token(name="default", sha256=sha256),))
    if sha256 is not None:
        raise ConfigurationError(f"{_FILE_SETTING} and SYNSPECT_TOKEN_SHA256 are both set; put that token in the file")
    try:
        entries = _TokensFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))).token
    except OSError as error:
        raise ConfigurationError(f"{_FILE_SETTING}: {file} cannot be read ({error.strerror}); check it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigurationError(f"{_FILE_SETTING}: {file} is not TOML; docs/security.md shows one") from None
    except ValidationError as error:
        what = describe_fault(error, name=_in_words, is_secret=lambda _where: True)
        raise ConfigurationError(f"{_FILE_SETTING}: {file}: {what}; docs/security.md shows one") from None
    _check_distinct(entries, file)
    return Tokens(tuple(entries))


def _in_words(place: Place) -> str:
    return " ".join(f"number {part + 1}" if isinstance(part, int) else part for part in place)


def _check_distinct(entries: list[Token], file: Path) -> None:
    for field in ("name", "sha256"):
        value, times = Counter(getattr(entry, field) for entry in entries).most_common(1)[0]
        if times > 1:
            which = f"the name {value}" if field == "name" else "one sha256"
            raise ConfigurationError(f"{_FILE_SETTING}: {file} gives {which} to {times} tokens; each needs its own")
