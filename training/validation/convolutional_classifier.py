"""Two-sample test by a small convolutional network: what a linear test cannot see (Lopez-Paz & Oquab 2017).

It trains on the slices of one half of the patients and decides on the other, then the other way round; a fixed number
of images bounds its time. It sees counts inside the reference outline, so that it must look at the brain and not at
the field's border. Slices are not shifted or turned while it learns: what a generator leaves in one place is evidence.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from registry.bundle.panel import Measurement
from training.validation.cells import all_cell, pattern_cells
from training.validation.comparison import Comparison, Pair
from training.validation.separability import Vector, judge_cells, label_first, patient_folds
from training.validation.two_sample_classifier import reference_outlines

METRIC = "c2st_auc_convolutional"
FOLDS = 2
IMAGES = 24_000  # a fold: six passes over the 4,000 slices of a full panel's half, some ten seconds at 64 x 64
PASSES = 12  # over the slices it learns from, at most: few slices are learned by heart
BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.02
WIDTHS = (16, 32, 48, 64)
DECISION_BATCH = 256


class SmallClassifier(nn.Module):
    """Four strided convolutions, the mean and the maximum over places, one logit."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
            convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.SiLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * WIDTHS[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n,) of images (n, 1, m, m)."""
        planes = self.features(images)
        logits: Tensor = self.head(torch.cat([planes.mean(dim=(2, 3)), planes.amax(dim=(2, 3))], dim=1))
        return logits[:, 0]


def measure_convolutional_classifier(comparison: Comparison, *, images: int = IMAGES) -> list[Measurement]:
    """AUC over all conditions and, of the same decisions, per pattern."""
    cells = (all_cell(comparison.conditions), *pattern_cells(comparison.conditions))
    masks = reference_outlines(comparison.reference)
    judged, halves, floor = (_balance(pair, comparison.rng(17)) for pair in comparison.pairs(cells[0]))
    pairs = (judged, halves, floor)
    decided = [decide(pair, masks, seed=comparison.seed, images=images) for pair in pairs]
    note = f"{FOLDS} folds by patient, at most {images:,} images a fold, inside the reference outline"
    return judge_cells(METRIC, cells, pairs, decided, seed=comparison.seed, note=note)


def _balance(pair: Pair, rng: np.random.Generator) -> Pair:
    """Keep equally many slices of both samples, condition by condition: a network learns little of a rare kind."""
    kept: list[list[NDArray[np.intp]]] = [[], []]
    for index in np.unique(pair[0].condition_index):
        rows = [rng.permutation(np.flatnonzero(sample.condition_index == index)) for sample in pair]
        fewest = min(map(len, rows))
        for side, chosen in zip(kept, rows, strict=True):
            side.append(chosen[:fewest])
    first, second = (sample.take(np.sort(np.concatenate(side))) for sample, side in zip(pair, kept, strict=True))
    return first, second


def decide(pair: Pair, masks: NDArray[np.bool_], *, seed: int, images: int = IMAGES) -> Vector:
    """Held-out logits (n + m,) of both samples of a pair."""
    inputs = _to_images(pair, masks)
    labels = torch.from_numpy(label_first(pair)).float()
    decisions = np.empty(len(labels))
    for fold, (fitted, held_out) in enumerate(patient_folds(pair, seed=seed, folds=FOLDS)):
        network = _train(inputs, labels, fitted, seed=seed + fold, images=min(images, PASSES * len(fitted)))
        decisions[held_out] = _decide_with(network, inputs[held_out])
    return decisions


def _to_images(pair: Pair, masks: NDArray[np.bool_]) -> Tensor:
    masked = np.concatenate([sample.counts * masks[sample.condition_index] for sample in pair]).astype(np.float32)
    brain = masked[masked > 0]
    return torch.from_numpy((masked - brain.mean()) / brain.std())[:, None]


def _train(inputs: Tensor, labels: Tensor, fitted: NDArray[np.intp], *, seed: int, images: int) -> SmallClassifier:
    rng = np.random.default_rng([seed, 11])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        network = SmallClassifier()
        steps = max(1, images // BATCH)
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
        for rows in _draw_batches(fitted, steps, rng):
            loss = nn.functional.binary_cross_entropy_with_logits(network(inputs[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


def _draw_batches(fitted: NDArray[np.intp], steps: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Pass over all rows in new orders until there are enough batches."""
    passes = -(-steps * BATCH // len(fitted))
    order = np.concatenate([rng.permutation(fitted) for _ in range(passes)])
    return [order[step * BATCH : (step + 1) * BATCH] for step in range(steps)]


@torch.no_grad()
def _decide_with(network: SmallClassifier, inputs: Tensor) -> Vector:
    parts = [network(inputs[first : first + DECISION_BATCH]) for first in range(0, len(inputs), DECISION_BATCH)]
    return np.asarray(torch.cat(parts).double().numpy())
