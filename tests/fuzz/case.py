"""One damaged import: the files to write, the source to name, and how a case follows from (format, seed, index)."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Rng = np.random.Generator
LABELS_NAME = "labels.csv"
Builder = Callable[[Rng], "Case"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Files of one import. `scans` are written below the source; `how` says in words what was done to them."""

    scans: dict[str, bytes]
    how: str
    labels: bytes | None = None
    pattern: str | None = None
    whole_directory: bool = False  # import the folder; otherwise its one file

    def write(self, directory: Path) -> tuple[Path, Path | None]:
        """Write the files; return the source to import and the labels."""
        source = directory / "scans"
        for name, content in self.scans.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        labels = None
        if self.labels is not None:
            labels = directory / LABELS_NAME
            labels.write_bytes(self.labels)
        return (source if self.whole_directory else source / next(iter(self.scans))), labels


def case_rng(format_name: str, seed: int, index: int) -> Rng:
    """Randomness of one case: it depends on nothing but its name, its seed and its index."""
    return np.random.default_rng([zlib.crc32(format_name.encode()), seed, index])
