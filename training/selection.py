"""Judge a generator on the selection patients while it trains: the score that chooses the checkpoint.

It proves nothing (the proof uses a test cohort). Every term is an error in units of what is accepted in SCIENCE.md,
so that 1 means "at the margin"; the score is their mean, and lower is better. Never the training loss, never FID.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from spect.conditions import CONDITIONS, Pattern
from spect.equivalence import MEAN_COUNTS_MARGIN, SPREAD_MARGIN, log_ratio_margin
from spect.intensity import IntensityScale
from spect.quantify import quantify, union_masks
from spect.sampling import GeneratorInputs, draw_inputs
from spect.slices import Counts
from training.auc import compute_auc
from training.config import TrainingConfig
from training.networks.generator import Generator
from training.prepare import Prepared
from training.quantities.principal import PrincipalBasis, fit_basis, level_of_condition

COMPONENT_MARGIN = -np.log(0.7)
PROBE_MARGIN = 0.35  # AUC 0.85
PROBE_COMPONENTS = 50
PROBE_RIDGE = 0.1  # of the mean variance: selection is small
SELECTION_SEED = 431  # synthetic slices of every judgement differ only by the weights
GENERATION_BATCH = 64
TINY = 1e-6  # a small cohort has fewer components; their scores are all 0


@dataclass(frozen=True, slots=True)
class _Sample:
    """Slices with what the judgement reads of them."""

    counts: Counts
    condition: NDArray[np.int64]
    mean_counts: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    scores: NDArray[np.float64]  # (n, PROBE_COMPONENTS)


class SelectionJudge:
    """Compares what a generator makes with the selection patients, at every validation alike."""

    def __init__(self, prepared: Prepared, config: TrainingConfig) -> None:
        self._prepared, self._config = prepared, config
        train = prepared.train
        # Inside the union of the training outlines: light at the border is looked at by eye, not by the probe.
        self._mask = union_masks(train.counts, pixel_spacing_mm=prepared.pixel_spacing_mm).outline.mean(axis=0) > 0.05
        self._basis: PrincipalBasis = fit_basis(
            self._masked(train.counts), train.condition_index, size=PROBE_COMPONENTS
        )
        self._train_scores = self._basis.scores(self._masked(train.counts), train.condition_index)
        self._selection = self._sample(prepared.selection.counts, prepared.selection.condition_index)
        self._inputs = self._draw_inputs()

    def judge(self, generator: Generator) -> dict[str, float]:
        """Measure a generator in eval mode; "score" among the values chooses the checkpoint."""
        counts = generate_counts(generator, self._inputs, self._prepared.scale)
        synthetic = self._sample(counts, self._inputs.condition)
        values: dict[str, float] = {}
        terms: list[float] = []
        for pattern in Pattern:
            found = self._compare_pattern(pattern, synthetic)
            if found is not None:
                values |= {f"{name}/{pattern}": value for name, value in found[0].items()}
                terms.append(found[1])
        near, far = self._component_ratios(synthetic)
        auc = self._probe_auc(synthetic)
        # Where nothing is conditioned on there is one group of components, and it counts twice as both do.
        terms += [abs(np.log(near)) / COMPONENT_MARGIN, abs(np.log(far)) / COMPONENT_MARGIN]
        terms.append(max(0.0, auc - 0.5) / PROBE_MARGIN)
        outside = float(counts[:, ~self._mask].mean() / max(counts[:, self._mask].mean(), TINY))
        return values | {
            "component_sd_ratio": near,
            "component_sd_ratio_beyond_conditioned": far,
            "probe_auc": auc,
            "light_outside_brain": outside,
            "score": float(np.mean(terms)),
        }

    def _draw_inputs(self) -> GeneratorInputs:
        return GeneratorInputs.concatenate(
            [
                draw_inputs(
                    self._prepared.density,
                    condition=condition,
                    seed=SELECTION_SEED,
                    start=0,
                    count=self._config.validation_slices,
                    latent_size=self._config.input_latents,
                )
                for condition in self._prepared.density.mixtures
            ]
        )

    def _masked(self, counts: Counts) -> Counts:
        masked: Counts = counts * self._mask
        return masked

    def _sample(self, counts: Counts, condition: NDArray[np.int64]) -> _Sample:
        found = union_masks(counts, pixel_spacing_mm=self._prepared.pixel_spacing_mm).found
        counts, condition = counts[found], condition[found]
        if not len(counts):
            nothing = np.empty(0)
            return _Sample(counts, condition, nothing, nothing, np.empty((0, self._train_scores.shape[1])))
        measured = quantify(counts, pixel_spacing_mm=self._prepared.pixel_spacing_mm)
        scores = self._basis.scores(self._masked(counts), condition)
        return _Sample(counts, condition, measured.mean_counts, np.log(measured.left_right_ratio), scores)

    def _compare_pattern(self, pattern: Pattern, synthetic: _Sample) -> tuple[Mapping[str, float], float] | None:
        """Compare conditions of one pattern one by one and average: what differs between levels is no error."""
        rows = []
        for condition in CONDITIONS:
            real, made = self._selection.condition == condition.index, synthetic.condition == condition.index
            if condition.pattern is not pattern or real.sum() < 3:
                continue
            if made.sum() < 3:  # nothing that looks like a brain: as wrong as can be
                return {"mean_counts_ratio": float("nan")}, 10.0
            rows.append(_compare(self._selection, real, synthetic, made, is_signed=pattern is not Pattern.UNILATERAL))
        if not rows:
            return None
        names = ("mean_counts_ratio", "log_ratio_difference", "mean_counts_sd_ratio", "log_ratio_sd_ratio")
        errors = np.abs(
            [
                [
                    np.log(mc) / np.log(MEAN_COUNTS_MARGIN.high),
                    lr / log_ratio_margin(pattern).high,
                    *np.log(np.maximum([sd_mc, sd_lr], TINY)) / np.log(SPREAD_MARGIN.high),
                ]
                for mc, lr, sd_mc, sd_lr in rows
            ]
        )
        return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)), float(errors.mean())

    def _component_ratios(self, synthetic: _Sample) -> tuple[float, float]:
        """SD ratios synthetic/real within conditions along the level's components: conditioned ones, and the rest."""
        size = self._config.principal_scores
        logs = []
        for condition in CONDITIONS:
            real = self._selection.scores[self._selection.condition == condition.index]
            made = synthetic.scores[synthetic.condition == condition.index]
            if len(real) >= 8 and len(made) >= 8:
                logs.append(np.log((made.std(axis=0) + TINY) / (real.std(axis=0) + TINY)))
        if not logs:
            return 1.0, 1.0
        mean_logs = np.mean(logs, axis=0)
        groups = (mean_logs[:size] if size else mean_logs, mean_logs[size:])
        near, far = (float(np.exp(group.mean())) if len(group) else 1.0 for group in groups)
        return near, far

    def _probe_auc(self, synthetic: _Sample) -> float:
        """AUC of a linear probe, fitted on training slices and half of the synthetic ones, tested on the others."""
        level_of = level_of_condition()
        position = _position_within_condition(synthetic.condition)
        is_fitting = position % 2 == 0
        aucs, weights = [], []
        for level in np.unique(level_of[self._selection.condition]):
            members = [c.index for c in CONDITIONS if level_of[c.index] == level]
            direction = self._probe_direction(members, synthetic, is_fitting)
            if direction is None:
                continue
            for index in members:
                real = self._selection.scores[self._selection.condition == index]
                made = synthetic.scores[(synthetic.condition == index) & ~is_fitting]
                if len(real) and len(made):
                    aucs.append(compute_auc(real @ direction, made @ direction))
                    weights.append(len(real))
        return float(np.average(aucs, weights=weights)) if aucs else 1.0

    def _probe_direction(
        self, members: list[int], synthetic: _Sample, is_fitting: NDArray[np.bool_]
    ) -> NDArray[np.float64] | None:
        """Fisher's discriminant of one level: mean difference within conditions over the pooled covariance."""
        difference = np.zeros(self._train_scores.shape[1])
        residuals = []
        for index in members:
            real = self._train_scores[self._prepared.train.condition_index == index]
            made = synthetic.scores[(synthetic.condition == index) & is_fitting]
            if len(real) < 3 or len(made) < 3:
                continue
            difference += len(real) * (real.mean(axis=0) - made.mean(axis=0))
            residuals += [real - real.mean(axis=0), made - made.mean(axis=0)]
        if not residuals:
            return None
        covariance = np.cov(np.concatenate(residuals), rowvar=False)
        ridge = PROBE_RIDGE * np.trace(covariance) / len(covariance)
        direction: NDArray[np.float64] = np.linalg.solve(
            covariance + (ridge + TINY) * np.eye(len(covariance)), difference
        )
        return direction


def _compare(
    selection: _Sample, real: NDArray[np.bool_], synthetic: _Sample, made: NDArray[np.bool_], *, is_signed: bool
) -> tuple[float, float, float, float]:
    """MC ratio, LR difference, SD ratios of MC and log LR; |log LR| where defects take either side."""
    real_ratio, made_ratio = selection.log_ratio[real], synthetic.log_ratio[made]
    if not is_signed:
        real_location, made_location = np.abs(real_ratio).mean(), np.abs(made_ratio).mean()
    else:
        real_location, made_location = real_ratio.mean(), made_ratio.mean()
    return (
        float(synthetic.mean_counts[made].mean() / selection.mean_counts[real].mean()),
        float(made_location - real_location),
        float(synthetic.mean_counts[made].std() / selection.mean_counts[real].std()),
        float(made_ratio.std() / real_ratio.std()),
    )


def _position_within_condition(condition: NDArray[np.int64]) -> NDArray[np.int64]:
    position = np.zeros(len(condition), dtype=np.int64)
    for index in np.unique(condition):
        rows = condition == index
        position[rows] = np.arange(rows.sum())
    return position


@torch.no_grad()
def generate_counts(generator: Generator, inputs: GeneratorInputs, scale: IntensityScale) -> Counts:
    """Generate counts (n, m, m) with a generator in eval mode."""
    device = next(generator.parameters()).device
    made = []
    for start in range(0, len(inputs), GENERATION_BATCH):
        part = inputs[slice(start, start + GENERATION_BATCH)]
        images = generator(
            torch.from_numpy(part.latents).to(device),
            torch.from_numpy(part.condition).to(device),
            torch.from_numpy(part.quantities).to(device),
        )
        made.append(scale.to_counts(images.float().cpu().numpy()))
    return np.concatenate(made)
