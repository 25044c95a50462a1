"""Runs the steps of a training run: when to log, draw, judge, save and stop. No maths, no paths of its own."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric

from spect.atomic import write_atomically
from spect.conditions import Condition
from spect.errors import TrainingError
from spect.formats.png import labelled_rows_png
from spect.sampling import GeneratorInputs, draw_inputs
from spect.slices import Counts
from training.averaging import recalibrated, start_averaging
from training.batches import BatchSource
from training.checkpoint import averaged_contents, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.networks import Generator, build_networks
from training.prepare import Prepared
from training.quantities import DifferentiableQuantifier, emphasis_by_condition
from training.run import RunDirectory
from training.selection import SelectionJudge, generate_counts
from training.step import Networks, Stepper
from training.tracking import RunTracker

GRID_SLICES = 8  # a condition, on fixed latents
GRID_SEED = 7


class ProgressReporter(Protocol):
    """Shows how far a run is."""

    def update(self, images_seen: int, *, images_per_second: float, score: float | None) -> None:
        """Show images seen, speed and the last validation score."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training loop ended."""

    images_seen: int
    is_finished: bool  # False: stopped by hand, resumable
    best_score: float


class TrainingLoop:
    """One run from its present state to its end, or until it is asked to stop."""

    def __init__(
        self, *, run: RunDirectory, prepared: Prepared, config: TrainingConfig, seed: int, fabric: Fabric
    ) -> None:
        self._run, self._prepared, self._config, self._fabric = run, prepared, config, fabric
        self._networks = _set_up(config, seed, fabric)
        self._batches = BatchSource(prepared.slices, prepared.density, config, seed)
        quantifier = DifferentiableQuantifier(
            scale=prepared.scale,
            density=prepared.density,
            basis=prepared.basis,
            pixel_spacing_mm=prepared.pixel_spacing_mm,
            device=fabric.device,
        )
        emphasis = torch.from_numpy(emphasis_by_condition(prepared.density)).to(fabric.device)
        self._stepper = Stepper(fabric, config, quantifier, emphasis)
        self._judge = SelectionJudge(prepared, config)
        self._grid_inputs = _grid_inputs(prepared, config)
        self.images_seen = 0
        self.best_score = float("inf")

    def resume(self) -> None:
        """Take up the last checkpoint."""
        contents = load_checkpoint(self._run.checkpoint("last"))
        networks = self._networks
        networks.generator.load_state_dict(contents["generator"])
        networks.discriminator.load_state_dict(contents["discriminator"])
        networks.averaged.load_state_dict(contents["averaged"])
        networks.generator_optimizer.load_state_dict(contents["generator_optimizer"])
        networks.discriminator_optimizer.load_state_dict(contents["discriminator_optimizer"])
        networks.anchors.copy_(contents["anchors"])
        self.images_seen = contents["images_seen"]
        self.best_score = contents["best_score"]

    def run(self, tracker: RunTracker, progress: ProgressReporter, should_stop: Callable[[], bool]) -> Outcome:
        """Train until the end of the configuration or until `should_stop`; the state is saved either way.

        Raises
        ------
        TrainingError
            It diverged, its files could not be written, or no validation score was finite to the end.
        """
        sums = _RunningMeans()
        score: float | None = None if np.isinf(self.best_score) else self.best_score
        started, seen_at_start = time.monotonic(), self.images_seen
        size = self._config.batch_size
        while self.images_seen < self._config.images and not should_stop():
            batch = self._batches.draw(self.images_seen).to(self._fabric.device)
            sums.add(self._stepper.step(self._networks, batch, images_seen=self.images_seen))
            self.images_seen += size
            speed = (self.images_seen - seen_at_start) / (time.monotonic() - started)
            if self._is_due(self._config.log_every):
                tracker.log(sums.take() | {"images_per_second": speed}, at=self.images_seen)
            is_last = self.images_seen >= self._config.images
            if is_last or self._is_due(self._config.validate_every):
                score = self._validate(tracker)
            if is_last or self._is_due(self._config.checkpoint_every):
                self.save()
            progress.update(self.images_seen, images_per_second=speed, score=score)
        self.save()
        is_finished = self.images_seen >= self._config.images
        if is_finished and not np.isfinite(self.best_score):
            raise TrainingError(
                f"no validation score was finite in {self.images_seen:,} images, so no generator was kept; see the "
                f"selection values in {self._run.metrics}, and train with another preset, seed or cohort"
            )
        return Outcome(self.images_seen, is_finished, self.best_score)

    def save(self) -> None:
        """Write last.pt: everything that resuming needs."""
        networks = self._networks
        save_checkpoint(
            self._run.checkpoint("last"),
            {
                **self._averaged_contents(networks.averaged),
                "generator": networks.generator.state_dict(),
                "discriminator": networks.discriminator.state_dict(),
                "generator_optimizer": networks.generator_optimizer.state_dict(),
                "discriminator_optimizer": networks.discriminator_optimizer.state_dict(),
                "anchors": networks.anchors,
                "best_score": self.best_score,
            },
        )

    def _is_due(self, cadence: int) -> bool:
        return self.images_seen // cadence > (self.images_seen - self._config.batch_size) // cadence

    def _validate(self, tracker: RunTracker) -> float:
        generator = recalibrated(self._networks.averaged, self._prepared.density)
        values = self._judge.judge(generator)
        tracker.log({f"selection/{name}": value for name, value in values.items()}, at=self.images_seen)
        self._draw_grid(generator, tracker)
        if values["score"] < self.best_score:
            self.best_score = values["score"]
            save_checkpoint(self._run.checkpoint("best"), self._averaged_contents(generator))
        return values["score"]

    def _averaged_contents(self, averaged: Generator) -> dict[str, Any]:
        return averaged_contents(averaged, self._prepared.density, self._prepared.basis, images_seen=self.images_seen)

    def _draw_grid(self, generator: Generator, tracker: RunTracker) -> None:
        counts = generate_counts(generator, self._grid_inputs, self._prepared.scale)
        picture = labelled_rows_png(
            _rows(counts, self._prepared.density.mixtures),
            title=f"after {self.images_seen:,} images",
            pixel_spacing_mm=self._prepared.pixel_spacing_mm,
        )
        path = self._run.figures / f"grid-{self.images_seen:08d}.png"
        write_atomically(path, picture)
        tracker.log_figure(path, at=self.images_seen)


class _RunningMeans:
    """Means of what was added since the last `take`; a value that is not in every step averages over its own."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: float(np.mean(values)) for name, values in self._values.items()}
        self._values = {}
        return means


def _set_up(config: TrainingConfig, seed: int, fabric: Fabric) -> Networks:
    generator, discriminator = build_networks(config, seed)
    # Measured on a CPU: convolutions alone prefer channels last, batch norms undo the gain.
    discriminator = discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = start_averaging(generator)
    betas = (0.0, 0.99)
    generator_optimizer = torch.optim.Adam(generator.parameters(), config.generator_learning_rate, betas)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), config.discriminator_learning_rate, betas)
    wrapped_generator, generator_optimizer = fabric.setup(generator, generator_optimizer)
    wrapped_discriminator, discriminator_optimizer = fabric.setup(discriminator, discriminator_optimizer)
    return Networks(
        generator=wrapped_generator,
        discriminator=wrapped_discriminator,
        averaged=averaged.to(fabric.device),
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
        anchors=torch.zeros(2, device=fabric.device),
    )


def _grid_inputs(prepared: Prepared, config: TrainingConfig) -> GeneratorInputs:
    return GeneratorInputs.concatenate(
        [
            draw_inputs(
                prepared.density,
                condition=condition,
                seed=GRID_SEED,
                start=0,
                count=GRID_SLICES,
                latent_size=config.input_latents,
            )
            for condition in prepared.density.mixtures
        ]
    )


def _rows(counts: Counts, conditions: Mapping[Condition, object]) -> dict[str, Counts]:
    return {str(c): counts[i * GRID_SLICES : (i + 1) * GRID_SLICES] for i, c in enumerate(conditions)}
