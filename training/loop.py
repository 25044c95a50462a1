"""Runs the steps of a training run: when to log, draw, judge, save, roll back and stop. No maths, no paths."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric

from spect.atomic import write_atomically
from spect.conditions import Condition
from spect.errors import DivergenceError, TrainingError
from spect.formats.png import labelled_rows_png
from spect.sampling import GeneratorInputs, draw_inputs
from spect.slices import Counts
from training.batches import Batch, BatchSource
from training.calibration.calibrate import TrainingStatistics, calibrate_output
from training.checkpoint import averaged_contents, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.devices import any_device, check_alike, check_devices, on_first
from training.networks.averaging import recalibrated, start_averaging
from training.networks.build import build_networks
from training.networks.generator import Generator
from training.networks.shared_norm import share_batch_norms
from training.prepare import Prepared
from training.quantities.differentiable import DifferentiableQuantifier, emphasis_by_condition
from training.run import RunDirectory
from training.selection import SelectionJudge, generate_counts
from training.step import Networks, Stepper
from training.tracking.reporting import UNIX_TIME, RunTracker
from training.watch import Watch

log = logging.getLogger(__name__)

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
    is_finished: bool  # False: stopped, resumable
    best_score: float
    is_terminated: bool = False  # stopped by SIGTERM, not by hand


class TrainingLoop:
    """One run from its present state to its end, or until it is asked to stop.

    Every process of a run holds one; files are written and slices judged by the first alone.
    """

    def __init__(
        self, *, run: RunDirectory, prepared: Prepared, config: TrainingConfig, seed: int, fabric: Fabric
    ) -> None:
        check_devices(config, fabric.world_size)
        self._run, self._prepared, self._config, self._fabric = run, prepared, config, fabric
        self.networks = set_up_networks(config, seed, fabric)
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
        self._training = TrainingStatistics.of(prepared.slices.model_images[:, 0].numpy(), prepared.slices.condition)
        self._watch = Watch(config)
        self._grid_inputs = _grid_inputs(prepared, config)
        self._sums = _RunningMeans()
        self.images_seen = 0
        self.best_score = float("inf")
        self.roll_backs = 0

    def resume(self) -> None:
        """Take up the last checkpoint; where a process was killed before its first, begin at the beginning."""
        if self._has_begun():
            self._load("last")

    def run(self, tracker: RunTracker, progress: ProgressReporter, should_stop: Callable[[], bool]) -> Outcome:
        """Train until the end of the configuration or until `should_stop`; the state is saved either way.

        Raises
        ------
        DivergenceError
            It diverged or collapsed, and was not to be rolled back (again).
        TrainingError
            Its files could not be written, or no validation score was finite to the end.
        """
        if not self._has_begun():
            self._save_as_good()
        while True:
            try:
                self._train(tracker, progress, should_stop)
                break
            except DivergenceError as error:
                self._roll_back(error, tracker)
        self.save()
        is_finished = self.images_seen >= self._config.images
        if is_finished and not np.isfinite(self.best_score):
            raise TrainingError(
                f"no validation score was finite in {self.images_seen:,} images, so no generator was kept; see the "
                f"selection values in {self._run.metrics}, and train with another preset, seed or cohort"
            )
        return Outcome(self.images_seen, is_finished, self.best_score)

    def _has_begun(self) -> bool:
        return on_first(self._fabric, self._run.checkpoint("last").exists)

    def save(self) -> None:
        """Write last.pt: everything that resuming needs."""
        on_first(self._fabric, lambda: self._write("last"))

    def _train(self, tracker: RunTracker, progress: ProgressReporter, should_stop: Callable[[], bool]) -> None:
        score: float | None = None if np.isinf(self.best_score) else self.best_score
        size, fabric = self._config.batch_size, self._fabric
        started, seen_at_start = time.monotonic(), self.images_seen
        while self.images_seen < self._config.images and not any_device(fabric, is_so=should_stop()):
            self._sums.add(self._step())
            self.images_seen += size
            speed = (self.images_seen - seen_at_start) / (time.monotonic() - started)
            if self._is_due(self._config.log_every):
                self._log(tracker, speed)
            is_last = self.images_seen >= self._config.images
            if is_last or self._is_due(self._config.validate_every):
                score = on_first(fabric, lambda: self._validate(tracker))
                self._keep_best(score)
                check_alike(fabric, self.networks.generator)
                self._save_as_good()
            elif self._is_due(self._config.checkpoint_every):
                self.save()
            progress.update(self.images_seen, images_per_second=speed, score=score)

    def _step(self) -> Mapping[str, float]:
        others = map(self._draw, range(1, self._config.discriminator_steps))  # one at a time: none waits in memory
        batch = self._draw(0)
        return self._stepper.step(self.networks, batch, images_seen=self.images_seen, discriminator_batches=others)

    def _draw(self, turn: int) -> Batch:
        """Draw this process's share of the next batch, on its device."""
        batch = self._batches.draw(self.images_seen, roll_backs=self.roll_backs, turn=turn)
        return batch.share(self._fabric.global_rank, self._fabric.world_size).to(self._fabric.device)

    def _log(self, tracker: RunTracker, speed: float) -> None:
        means = self._sums.take()
        tracker.log(means | {"images_per_second": speed, UNIX_TIME: time.time()}, at=self.images_seen)
        self._watch.check_losses(means, images_seen=self.images_seen)

    def _roll_back(self, error: DivergenceError, tracker: RunTracker) -> None:
        """Go back to the last good checkpoint and on by another stream of batches."""
        if self.roll_backs >= self._config.roll_backs:
            rolled = f", after {self.roll_backs} roll-backs" if self.roll_backs else ""
            raise DivergenceError(
                f"{error}{rolled}; resume to try again from the last checkpoint, or train anew with another seed, "
                "lower learning rates or a higher roll_backs"
            ) from error
        seen, attempt = self.images_seen, self.roll_backs + 1
        self._load("good")
        self.roll_backs = attempt
        log.warning("%s; back to %s images, by another stream of batches", error, f"{self.images_seen:,}")
        tracker.roll_back(str(error), at=seen, to=self.images_seen)
        self.save()

    def _save_as_good(self) -> None:
        on_first(self._fabric, lambda: self._write("last"))
        if self._config.roll_backs:
            on_first(self._fabric, lambda: self._write("good"))

    def _write(self, which: Literal["good", "last"]) -> None:
        networks = self.networks
        save_checkpoint(
            self._run.checkpoint(which),
            {
                **self._averaged_contents(networks.averaged),
                "generator": networks.generator.state_dict(),
                "discriminator": networks.discriminator.state_dict(),
                "generator_optimizer": networks.generator_optimizer.state_dict(),
                "discriminator_optimizer": networks.discriminator_optimizer.state_dict(),
                "anchors": networks.anchors,
                "best_score": self.best_score,
                "roll_backs": self.roll_backs,
                "sums": self._sums.values,
            },
        )

    def _load(self, which: Literal["good", "last"]) -> None:
        contents = load_checkpoint(self._run.checkpoint(which))
        networks = self.networks
        networks.generator.load_state_dict(contents["generator"])
        networks.discriminator.load_state_dict(contents["discriminator"])
        networks.averaged.load_state_dict(contents["averaged"])
        networks.generator_optimizer.load_state_dict(contents["generator_optimizer"])
        networks.discriminator_optimizer.load_state_dict(contents["discriminator_optimizer"])
        networks.anchors.copy_(contents["anchors"])
        self.images_seen = contents["images_seen"]
        self.best_score = contents["best_score"]
        # Checkpoints of the first synspect hold neither: it had no roll-backs, and began its means anew.
        self.roll_backs = contents.get("roll_backs", 0)
        self._sums = _RunningMeans(contents.get("sums", {}))

    def _is_due(self, cadence: int) -> bool:
        return self.images_seen // cadence > (self.images_seen - self._config.batch_size) // cadence

    def _validate(self, tracker: RunTracker) -> float:
        generator = recalibrated(self.networks.averaged, self._prepared.density)
        calibrate_output(
            generator,
            self._training,
            self._prepared.density,
            spectrum=self._config.corrects_spectrum,
            mean_slices=self._config.corrects_mean_slices,
        )
        values = self._judge.judge(generator)
        reported = {f"selection/{name}": value for name, value in values.items()} | {UNIX_TIME: time.time()}
        tracker.log(reported, at=self.images_seen)
        self._draw_grid(generator, tracker)
        self._watch.check_judgement(values, images_seen=self.images_seen)
        if self._is_kept(values["score"]):
            save_checkpoint(self._run.checkpoint("best"), self._averaged_contents(generator))
        return values["score"]

    def _is_kept(self, score: float) -> bool:
        return score < self.best_score or (self._config.kept_checkpoint == "last" and bool(np.isfinite(score)))

    def _keep_best(self, score: float) -> None:
        if self._is_kept(score):
            self.best_score = score

    def _averaged_contents(self, averaged: Generator) -> dict[str, Any]:
        return averaged_contents(averaged, self._prepared.density, self._prepared.basis, images_seen=self.images_seen)

    def _draw_grid(self, generator: Generator, tracker: RunTracker) -> None:
        counts = generate_counts(generator, self._grid_inputs, self._prepared.scale)
        picture = grid_png(counts, self._prepared, images_seen=self.images_seen)
        path = self._run.figures / f"grid-{self.images_seen:08d}.png"
        try:
            write_atomically(path, picture)
        except OSError as error:
            raise TrainingError(
                f"{path} could not be written: {error.strerror}; free some space and resume the run"
            ) from error
        tracker.log_figure(path, at=self.images_seen)


class _RunningMeans:
    """Means of what was added since the last `take`; a value that is not in every step averages over its own."""

    def __init__(self, values: Mapping[str, list[float]] | None = None) -> None:
        self.values = {name: list(numbers) for name, numbers in (values or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: float(np.mean(values)) for name, values in self.values.items()}
        self.values = {}
        return means


def set_up_networks(config: TrainingConfig, seed: int, fabric: Fabric) -> Networks:
    """Build networks and optimisers on the device of a process, in the layout that is fastest there."""
    generator, discriminator = build_networks(config, seed)
    # Measured on a CPU: convolutions alone prefer channels last, batch norms undo the gain.
    discriminator = discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = start_averaging(generator)
    if fabric.world_size > 1:
        share_batch_norms(generator)
        share_batch_norms(discriminator)
    betas = (config.adam_beta1, config.adam_beta2)
    # Fused: one pass over the weights instead of one for each operation of Adam.
    generator_optimizer = torch.optim.Adam(generator.parameters(), config.generator_learning_rate, betas, fused=True)
    discriminator_optimizer = torch.optim.Adam(
        discriminator.parameters(), config.discriminator_learning_rate, betas, fused=True
    )
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


def grid_png(counts: Counts, prepared: Prepared, *, images_seen: int) -> bytes:
    """Draw `GRID_SLICES` slices of each condition, in the unit of the cohort they were learnt from."""
    return labelled_rows_png(
        _rows(counts, prepared.density.mixtures),
        title=f"after {images_seen:,} images",
        pixel_spacing_mm=prepared.pixel_spacing_mm,
        unit=prepared.train.description.intensity_unit,
    )


def _rows(counts: Counts, conditions: Mapping[Condition, object]) -> dict[str, Counts]:
    return {str(c): counts[i * GRID_SLICES : (i + 1) * GRID_SLICES] for i, c in enumerate(conditions)}
