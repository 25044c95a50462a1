"""What a worker holds in memory, and waits for at its start: nothing that few requests need."""

import subprocess
import sys

import pytest

# Of each a fifth of a second at least, and 20 to 70 MiB a worker.
LARGE = {"matplotlib", "mlflow", "nibabel", "pandas", "pydicom", "scipy.optimize", "scipy.stats", "torch"}


@pytest.mark.parametrize(
    ("process", "modules", "kept_out"),
    [
        ("worker", "serving.service, serving.routes, serving.worker", LARGE),
        # It reads DICOM and NIfTI; nothing else is its business.
        (
            "measuring",
            "serving.uploads.measuring_process, serving.uploads.measuring",
            LARGE - {"nibabel", "pydicom"} | {"bentoml"},
        ),
    ],
)
def test_a_process_of_the_service_starts_without_what_few_requests_need(
    process: str, modules: str, kept_out: set[str]
) -> None:
    listing = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "numpy" in (loaded := set(listing.stdout.split())), process
    assert not loaded & kept_out
