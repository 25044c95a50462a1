"""Sees when training leaves the path and says so in words: a discriminator that has won, slices that are all alike."""

from collections.abc import Mapping

import numpy as np

from spect.conditions import Pattern
from spect.errors import DivergenceError
from training.config import TrainingConfig

# What must not collapse: name among the judge's values, and in words.
SPREADS = {"mean_counts_sd_ratio": "mean counts", "log_ratio_sd_ratio": "left/right ratio"}


class Watch:
    """Holds the limits of a run; values that are not finite are noticed by the step itself."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config

    def check_losses(self, values: Mapping[str, float], *, images_seen: int) -> None:
        """Raise `DivergenceError` where the discriminator has won: it no longer teaches the generator anything."""
        limit, margin = self._config.margin_limit, values["margin"]
        if limit is not None and margin > limit:
            raise DivergenceError(
                f"training diverged after {images_seen:,} images: the discriminator puts acquired slices "
                f"{margin:.1f} above synthetic ones, at most {limit:g} is allowed"
            )

    def check_judgement(self, values: Mapping[str, float], *, images_seen: int) -> None:
        """Raise `DivergenceError` where the slices of a pattern show no brain or have become alike."""
        limit = self._config.collapse_limit
        if limit is None or images_seen < self._config.collapse_after_share * self._config.images:
            return
        for pattern in Pattern:
            if np.isnan(values.get(f"mean_counts_ratio/{pattern}", 1.0)):
                raise DivergenceError(
                    f"training collapsed after {images_seen:,} images: {pattern} slices show no brain"
                )
            for name, words in SPREADS.items():
                ratio = values.get(f"{name}/{pattern}", 1.0)
                if ratio < limit:
                    raise DivergenceError(
                        f"training collapsed after {images_seen:,} images: the {words} of {pattern} slices spreads "
                        f"{ratio:.2f} times as far as that of the selection patients, at least {limit:g} is asked"
                    )
