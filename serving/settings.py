"""What an operator can set: one frozen object, read from SYNSPECT_* once when a process starts."""

import os
import tempfile
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.access.tokens import Sha256, Tokens, read_tokens
from spect.errors import ConfigurationError
from spect.faults import Place, describe_fault

PREFIX = "SYNSPECT_"
MAX_SLICES = 4096  # of one request
WHOLE_SLICES = 512  # an answer of more is sent while it is made

# Beside this package in a source tree; a Bento holds the same tree with the champion's bundle added to it.
_ROOT = Path(__file__).resolve().parent.parent
_BAKED = (_ROOT / "models" / "champion", _ROOT / "models" / "reference")


class ServiceSettings(BaseSettings):
    """Settings of one server process and its workers.

    Attributes
    ----------
    bundle_dir
        A bundle, or a directory that `synspect registry follow` keeps; None takes the bundle baked into the Bento,
        else models/reference.
    token_sha256
        Hexadecimal sha256 of the one bearer token that every request must carry.
    tokens_file
        TOML file of several tokens, each with a name and its limits, instead of that one; neither asks for a token.
    allow_anonymous
        Serve peers on other machines although no token is set.
    max_waiting_slices, max_waiting_seconds
        Slices that may wait in one worker, and the longest that a request may wait there for the slices of others, by
        the speed measured; what would pass either is answered 503.
    batch_slices
        Slices of one run of the generator: the longest that a small request waits for a large one, in slices.
    deadline_seconds
        A request is given up where its slices (those of a long answer: the next of them) are not made by then, and a
        connection is closed where its client lets this pass without sending its request or reading on.
    stream_seconds
        The longest that an answer of more than 512 slices takes in all, and that sending a shorter one takes.
    drift_sample_every, drift_window_slices, drift_cpu_share
        One slice in this many is measured for drift; slices of a window; the share of a core for measuring.
    state_dir
        Where the workers of one server share drift windows and the use of quotas; None keeps them beside BentoML's
        shared metrics, and forgets them with the server.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", protected_namespaces=())

    bundle_dir: Path | None = None
    workers: int = Field(default=1, ge=1, le=64)
    require_gpu: bool = False
    token_sha256: Sha256 | None = None
    tokens_file: Path | None = None
    allow_anonymous: bool = False
    max_waiting_slices: int = Field(default=2 * MAX_SLICES, ge=WHOLE_SLICES)
    max_waiting_seconds: float = Field(default=1.5, gt=0, le=3600)
    batch_slices: int = Field(default=16, ge=1, le=1024)
    deadline_seconds: float = Field(default=120.0, gt=0, le=3600)
    stream_seconds: float = Field(default=1800.0, gt=0, le=86400)
    max_upload_bytes: int = Field(default=256 * 2**20, gt=0)
    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    drift_sample_every: int = Field(default=64, ge=1)
    drift_window_slices: int = Field(default=512, ge=32, le=2048)
    drift_cpu_share: float = Field(default=0.05, gt=0, le=1)
    state_dir: Path | None = None

    def find_state_dir(self) -> Path:
        """Return where the workers of this server share files: each server process has a directory of its own."""
        if self.state_dir is not None:
            return self.state_dir
        shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        return Path(shared).parent / "synspect" if shared else Path(tempfile.mkdtemp(prefix="synspect-"))

    @cached_property
    def tokens(self) -> Tokens:
        """Tokens that are let in, read once; raises `ConfigurationError` for what cannot be read or meant."""
        return read_tokens(file=self.tokens_file, sha256=self.token_sha256)

    def find_bundle_dir(self) -> Path:
        """Return the directory to serve: the setting, else the baked bundle, else models/reference."""
        if self.bundle_dir is not None:
            return self.bundle_dir
        return next((path for path in _BAKED if path.exists()), Path.cwd() / "models" / "reference")


def load_settings() -> ServiceSettings:
    """Read the environment; raise `ConfigurationError` naming the first setting that is wrong."""
    try:
        settings = ServiceSettings()
        _ = settings.tokens  # read now: what is wrong with them is said before anything starts
    except ValidationError as error:
        what = describe_fault(error, name=_variable, is_secret=lambda where: "TOKEN" in where)
        raise ConfigurationError(f"{what}; set it anew, or unset it") from None
    return settings


def _variable(place: Place) -> str:
    return PREFIX + "_".join(map(str, place)).upper()
