"""Checkpoints: private and resumable, written whole or not at all, loadable without running any code."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from spect.atomic import write_atomically
from spect.density import QuantityDensity
from spect.errors import RunError, TrainingError
from spect.intensity import IntensityScale
from training.config import TrainingConfig
from training.networks.averaging import recalibrated
from training.networks.generator import Generator
from training.quantities.principal import PrincipalBasis
from training.run import RunDirectory

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a released generator needs beside its weights; the basis never leaves the run."""

    density: QuantityDensity
    scale: IntensityScale
    latent_size: int
    matrix: int
    pixel_spacing_mm: float
    basis: PrincipalBasis
    images_seen: int


def save_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Write tensors and plain values to a temporary file, then rename it; raise `TrainingError` where that fails."""
    buffer = io.BytesIO()  # torch writes to memory: what it makes of a full disk is no one line
    torch.save({"format": FORMAT, **contents}, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written: {error.strerror}; what it held is kept: free some space and resume the run"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU; raise `RunError` where it is missing, broken or of another format."""
    try:
        contents: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; the run has not got that far, or no validation score was finite") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}); train again or use the other checkpoint"
        ) from None
    if contents.get("format") != FORMAT:
        raise RunError(f"{path} has format {contents.get('format')!r}, this synspect reads {FORMAT}; train again")
    return contents


def averaged_contents(
    generator: nn.Module, density: QuantityDensity, basis: PrincipalBasis, *, images_seen: int
) -> dict[str, Any]:
    """Return what a checkpoint says of an averaged generator."""
    return {
        "averaged": generator.state_dict(),
        "density": density.to_dict(),
        "basis": {"mean": torch.from_numpy(basis.mean), "components": torch.from_numpy(basis.components)},
        "images_seen": images_seen,
    }


def load_averaged_generator(run: RunDirectory, which: Literal["best", "last"] = "best") -> tuple[Generator, RunFacts]:
    """Load the generator to release: in eval mode, batch norms recalibrated, on the CPU.

    Raises
    ------
    RunError
        The run or its checkpoint is missing or unreadable.
    """
    record = run.record()
    contents = load_checkpoint(run.checkpoint(which))
    facts = _facts(contents, record.config, record.intensity_scale(), record.pixel_spacing_mm)
    generator = Generator(record.config)
    try:
        generator.load_state_dict(contents["averaged"])
    except RuntimeError as error:
        raise RunError(f"{run.checkpoint(which)} does not fit the run's configuration: {error}") from None
    generator.requires_grad_(requires_grad=False)
    if which == "last":
        return recalibrated(generator, facts.density), facts
    return generator.eval(), facts


def _facts(
    contents: dict[str, Any], config: TrainingConfig, scale: IntensityScale, pixel_spacing_mm: float
) -> RunFacts:
    basis = contents["basis"]
    return RunFacts(
        density=QuantityDensity.from_dict(contents["density"]),
        scale=scale,
        latent_size=config.input_latents,
        matrix=config.matrix,
        pixel_spacing_mm=pixel_spacing_mm,
        basis=PrincipalBasis(
            mean=np.asarray(basis["mean"].numpy()), components=np.asarray(basis["components"].numpy())
        ),
        images_seen=int(contents["images_seen"]),
    )
