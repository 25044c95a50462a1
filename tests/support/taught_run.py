"""A run without hours of training: its generator is taught to draw the toy patients it is asked for, by regression."""

from pathlib import Path

import numpy as np
import torch

from cohort.store import load_cohort, save_cohort
from spect.slices import FIELD_MM
from tests.support.toy_slices import toy_cohort
from training.checkpoint import averaged_contents, save_checkpoint
from training.config import TrainingConfig
from training.networks.averaging import recalibrated
from training.networks.build import build_networks
from training.networks.generator import Generator
from training.prepare import Dataset, Prepared, prepare
from training.run import RunDirectory, RunRecord

CONFIG = TrainingConfig(matrix=64, width=2, latent_size=8, embedding_size=16, principal_scores=4, images=960)
STEPS = 120
BATCH = 16


def build_taught_run(directory: Path, *, dataset: Dataset = "A") -> RunDirectory:
    """Write a toy training cohort and a finished run beside it."""
    cohort = toy_cohort(24, seed=11, split="train", name="paper")
    save_cohort(cohort, directory / "train")
    cohort = load_cohort(directory / "train")
    prepared = prepare(cohort, CONFIG, dataset=dataset)
    run = RunDirectory.create(directory / "taught", _record(cohort, prepared, directory / "train", dataset))
    generator = recalibrated(_teach(prepared), prepared.density)
    contents = averaged_contents(generator, prepared.density, prepared.basis, images_seen=STEPS * BATCH)
    save_checkpoint(run.checkpoint("best"), contents)
    run.metrics.write_text(
        '{"images_seen": 960, "loss": 1.0, "images_per_second": 8.0, "unix_time": 1767225600.0}\n', encoding="utf-8"
    )
    run.set_status("finished")
    return run


def _teach(prepared: Prepared) -> Generator:
    generator, _ = build_networks(CONFIG, seed=0)
    optimiser = torch.optim.Adam(generator.parameters(), lr=4e-3)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        rows = rng.choice(len(prepared.slices.condition), BATCH)
        latents = torch.from_numpy(rng.standard_normal((BATCH, CONFIG.input_latents)).astype(np.float32))
        condition = torch.from_numpy(prepared.slices.condition[rows])
        made = generator(latents, condition, torch.from_numpy(prepared.slices.quantities[rows]))
        loss = (made - prepared.slices.model_images[rows]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return generator


def _record(cohort, prepared: Prepared, path: Path, dataset: Dataset) -> RunRecord:
    return RunRecord(
        name="taught",
        preset="smoke",
        dataset=dataset,
        seed=0,
        config=CONFIG,
        cohort_path=str(path),
        cohort_fingerprint=cohort.description.fingerprint,
        cohort_source=cohort.description.source,
        simulator_version=cohort.description.simulator_version,
        intensity_unit=cohort.description.intensity_unit,
        intensity_scaling=cohort.description.intensity_scaling,
        training_slices=len(prepared.train),
        max_counts=prepared.scale.max_counts,
        matrix=CONFIG.matrix,
        pixel_spacing_mm=FIELD_MM / CONFIG.matrix,
        git_commit="0" * 40,
        precision="32-true",
        created_at="2026-01-01T00:00:00+00:00",
        changed_settings={"width": CONFIG.width},
        machine="2 cores of an abacus",
    )
