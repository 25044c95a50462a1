"""Which simulator the scans on either side come from, in words: slices of two simulators differ by themselves."""

from registry.bundle.manifest import Manifest
from registry.bundle.panel import Panel


def describe_source(source: str, simulator_version: str | None) -> str:
    """Name a cohort's source, with the simulator's version where it was simulated."""
    return f"{source} (simulator {simulator_version})" if simulator_version else source


def compare_simulators(manifest: Manifest, panel: Panel) -> str | None:
    """Return one sentence where the model was trained on another simulator than it is compared with, else None."""
    trained, compared = manifest.training_cohort.simulator_version, panel.cohort_simulator_version
    if trained == compared or trained is None or compared is None:
        return None
    return (
        f"The model was trained on slices of simulator {trained} and is compared with slices of simulator {compared}: "
        "part of every difference may come from the simulators; train again on the newer one."
    )
