"""Parity: what was measured at export, as the panel reports it."""

from collections.abc import Mapping

from registry.bundle.panel import Measurement

METRIC = "onnx_parity"


def describe_parity(parity: Mapping[str, float]) -> Measurement:
    """Largest difference between torch and ONNX Runtime over all batch sizes, as a share of the model range."""
    sizes = ", ".join(f"n={size}: {difference:.1e}" for size, difference in parity.items())
    return Measurement(metric=METRIC, cell="all", value=max(parity.values()), note=f"share of the model range; {sizes}")
