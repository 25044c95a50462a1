"""A bundle opened as it is served: verified, profile read, graph run alone and together, pair held."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from registry.bundle.directory import Bundle, find_pair, load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.hold import DirectoryHold
from spect.conditions import CONDITIONS, Condition
from spect.errors import BundleError, InvalidOutputError
from spect.profile import ReferenceProfile
from spect.sampling import GeneratorInputs
from spect.slices import Counts

NO_PROMOTION = "none"  # of a bundle that no registry promoted
# A slice is the same alone and in a batch within this share of the model range: what the seed rule allows devices.
BATCH_LIMIT = 1e-4
_TOGETHER = CONDITIONS[::3]  # one of each level: few, for every worker runs them when it starts


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
    """Verify a bundle, open it and make one slice of every condition, and three of them together.

    Raises
    ------
    BundleError
        If the bundle or its profile is not whole, or its graph mixes the slices of a batch.
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
    slices = {condition: generator.generate(condition, seed=0).counts for condition in CONDITIONS}
    _check_unmixed(generator, {condition: slices[condition] for condition in _TOGETHER})
    return ServedModel(bundle=bundle, generator=generator, profile=profile, hold=hold)


def _check_unmixed(generator: ReleasedGenerator, alone: Mapping[Condition, Counts]) -> None:
    """Raise `BundleError` where a slice is another one in a batch than alone: no seed could repeat what is served."""
    inputs = GeneratorInputs.concatenate([generator.draw_inputs(condition, seed=0) for condition in alone])
    difference = np.abs(generator.run(inputs) - np.concatenate(list(alone.values())))
    share = float(difference.max()) / generator.manifest.max_counts
    if not share <= BATCH_LIMIT:  # also refuses NaN
        raise BundleError(
            f"the generator makes other slices in a batch than alone, by {share:.2g} of the range where "
            f"{BATCH_LIMIT:g} is allowed, so the bundle cannot be served; export a graph that does not mix the "
            "slices of a batch"
        )


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
