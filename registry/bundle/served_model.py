"""A bundle opened as it is served: verified, profile read, graph run once for every condition, pair held."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from registry.bundle.directory import Bundle, find_pair, load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.hold import DirectoryHold
from spect.conditions import CONDITIONS
from spect.errors import BundleError, InvalidOutputError
from spect.profile import ReferenceProfile

NO_PROMOTION = "none"  # of a bundle that no registry promoted


@dataclass(frozen=True)
class ServedModel:
    """A verified bundle, its open generator and its profile; requests keep the one they began with."""

    bundle: Bundle
    generator: ReleasedGenerator
    profile: ReferenceProfile
    hold: DirectoryHold | None = None  # of a followed pair: it is not removed while this object lives

    @property
    def version(self) -> str:
        """Version in the registry, or "unregistered"."""
        return self.bundle.version

    @property
    def promotion(self) -> str:
        """How the version became champion: gates, override, outside or none."""
        return self.bundle.promotion.promotion if self.bundle.promotion else NO_PROMOTION

    @cached_property
    def profile_json(self) -> bytes:
        """The profile as another process reads it."""
        return self.profile.to_json()

    @cached_property
    def reference_slices(self) -> dict[str, int]:
        """Slices of the reference scans behind each condition."""
        return {name: entry.reference.slices for name, entry in self.profile.conditions.items()}


def open_model(directory: Path, *, require_gpu: bool = False, threads: int | None = None) -> ServedModel:
    """Verify a bundle, open it and make one slice of every condition.

    Raises
    ------
    BundleError
        If the bundle or its profile is not whole.
    DeviceError
        If a GPU is required and not used.
    InferenceError
        If its graph cannot be run.
    InvalidOutputError
        If what it makes must not be sent.
    """
    pair = find_pair(directory)
    hold = _hold(pair) if pair is not None else None
    bundle = load_bundle(pair or directory)
    profile = ReferenceProfile.from_json(bundle.profile_path.read_bytes())
    generator = ReleasedGenerator(bundle, require_gpu=require_gpu, threads=threads)
    for condition in CONDITIONS:
        generator.generate(condition, seed=0)
    return ServedModel(bundle=bundle, generator=generator, profile=profile, hold=hold)


def load_servable_bundle(directory: Path) -> Bundle:
    """Open a bundle as a server will, and return it verified: what is registered, promoted or built can be served.

    Raises
    ------
    BundleError
        If it is not whole, or makes what must not be sent.
    InferenceError
        If its graph cannot be run.
    """
    try:
        return open_model(directory, threads=1).bundle
    except InvalidOutputError as error:
        what = str(error).partition(";")[0]
        raise BundleError(f"{what}, so the bundle cannot be served; release another run") from None


def _hold(pair: Path) -> DirectoryHold:
    try:
        return DirectoryHold(pair)
    except OSError as error:
        raise BundleError(f"{pair} cannot be opened ({error.strerror}); follow the registry again") from None
