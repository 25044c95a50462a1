"""Synthetic brain SPECT slices for Python: `Client` asks a service or a bundle, `SyntheticSlices` feeds torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synspect.client import Client
    from synspect.dataset import SyntheticSlices

__all__ = ["Client", "SyntheticSlices"]

_HOMES = {"Client": "synspect.client", "SyntheticSlices": "synspect.dataset"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 — a module's attribute may be anything
    """Import the named class when it is first asked for: only `SyntheticSlices` needs torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'synspect' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
