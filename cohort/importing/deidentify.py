"""Replace what could name a patient by a keyed hash; the key stays on the machine that imports."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from spect.errors import CohortError
from spect.home import home_directory

KEY_NAME = "import.key"
_KEY_BYTES = 32
# 80 bits: two of a million patients meet with probability 4e-13.
_DIGITS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudonyms:
    """Turns identifiers into pseudonyms: the same under one key, so that scans of one patient stay together."""

    key: bytes = field(repr=False)

    def patient(self, identifier: str) -> str:
        """Return the pseudonym of a patient's name, number or whatever stands for them."""
        return f"P{self._hash('patient', identifier)}"

    def birth(self, date: str) -> str:
        """Return the pseudonym of a birth date, by which two people who share a number are told apart."""
        return f"B{self._hash('birth', date)}"

    def file(self, name: str) -> str:
        """Return the pseudonym of a file's name, which often is the patient's."""
        return f"F{self._hash('file', name)}"

    def _hash(self, kind: str, identifier: str) -> str:
        # The kind is part of the message: a file called like a patient does not share their pseudonym.
        message = f"{kind}\0{identifier.strip()}".encode(errors="surrogateescape")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()[:_DIGITS]


def load_pseudonyms(home: Path | None = None) -> Pseudonyms:
    """Read this machine's key, made at the first import, readable by its owner only; never kept in a cohort.

    Without the key nobody can tell whether a known patient is in a cohort; with it, a later import gives a patient
    the same pseudonym. Raises `CohortError` where the key is damaged.
    """
    path = (home or home_directory()) / KEY_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise CohortError(f"{path} is damaged: {len(key)} bytes instead of {_KEY_BYTES}; restore it or move it away")
    return Pseudonyms(key=key)


def _make_key(path: Path) -> None:
    """Write a key whole; where two imports start at once, the first one's key stays."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(_KEY_BYTES))
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink(missing_ok=True)
