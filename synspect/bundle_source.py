"""A bundle on disk answers as the service would: the same seed gives the same slices; needs ONNX Runtime, no torch."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from spect.conditions import CONDITIONS
from spect.density import LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS, Targets
from spect.errors import RequestError
from spect.finishing import finish_batch
from spect.formats.npz import NOTICE
from spect.profile import ReferenceProfile
from spect.quantify import quantify
from spect.slices import Counts, SyntheticBatch
from synspect.source import Order


class BundleSource:
    """A verified bundle and its generator, opened once."""

    def __init__(self, directory: Path, *, threads: int | None = None) -> None:
        self._bundle = load_bundle(directory)
        self._generator = ReleasedGenerator(self._bundle, threads=threads)

    def generate(self, order: Order) -> SyntheticBatch:
        """Generate on this machine; measured where a quantity is asked for, resampled where another matrix is."""
        batch = self._generator.generate(
            order.condition, seed=order.seed, start=order.start, count=order.count, targets=order.targets
        )
        return finish_batch(batch, measure=order.targets != Targets(), matrix=order.matrix)

    def conditions(self) -> list[dict[str, Any]]:
        """Return the served conditions with their reference and the ranges that may be asked for."""
        profile = self._profile()
        support = self._bundle.manifest.density().support
        return [
            {
                "level": str(condition.level),
                "pattern": str(condition.pattern),
                "reference_slices": described.reference.slices if described else 0,
                "reference_source": profile.reference_source,
                "mean_counts": list(support[condition][MEAN_COUNTS]),
                "left_right_ratio": [round(math.exp(edge), 4) for edge in support[condition][LOG_LEFT_RIGHT_RATIO]],
                "reference_quantiles": profile.reference_quantiles(condition),
            }
            for condition in CONDITIONS
            for described in [profile.conditions.get(str(condition))]
        ]

    def model(self) -> dict[str, Any]:
        """Return what a service says of its model: version, provider, promotion, manifest and card."""
        manifest, note = self._bundle.manifest, self._bundle.promotion
        return {
            "name": manifest.name,
            "version": self._bundle.version,
            "sha256": self._bundle.sha256,
            "provider": self._generator.provider,
            "promotion": note.promotion if note else "none",
            "promotion_reason": note.reason if note else "",
            "promoted_by": note.who if note else "",
            "promoted_at": note.when if note else "",
            "reference_source": self._profile().reference_source,
            "matrix": manifest.matrix,
            "pixel_spacing_mm": manifest.pixel_spacing_mm,
            "intensity_unit": manifest.training_cohort.intensity_unit,
            "notice": NOTICE,
            "manifest": manifest.model_dump(mode="json"),
            "card": self._bundle.card,
        }

    def _profile(self) -> ReferenceProfile:
        return ReferenceProfile.from_json(self._bundle.profile_path.read_bytes())

    def quantify(self, counts: Counts, *, pixel_spacing_mm: float) -> list[dict[str, float]]:
        """Measure slices on this machine."""
        measured = asdict(quantify(counts, pixel_spacing_mm=pixel_spacing_mm))
        rows = zip(*(column.tolist() for column in measured.values()), strict=True)
        return [dict(zip(measured, row, strict=True)) for row in rows]

    def drift(self) -> dict[str, Any]:
        """Raise `RequestError`: drift is watched where slices are served."""
        raise RequestError("a bundle on disk serves nobody, so nothing can drift; ask a service with url=")

    def close(self) -> None:
        """Nothing to let go of."""
