"""One piece of a long benchmark brought to its result, with one bar for its training and what is measured of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from study.kept import hold

from synspect.screen import open_progress, words

StageProgress = Callable[[str, int, int], None]
Result = TypeVar("Result")
GO_ON = "stopped; the same command goes on"


class TrainingBar:
    """Images while something trains, then each stage of its measuring."""

    def __init__(self, title: str, images: int) -> None:
        self.progress = open_progress(
            words("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            words("{task.fields[speed]}"),
            TimeElapsedColumn(),
        )
        self._title = title
        self._task = self.progress.add_task(f"{title}: training", total=images, speed="")

    def update(self, images_seen: int, *, images_per_second: float, score: float | None) -> None:
        """Show how far the training is."""
        shown = f"{images_per_second:.1f} images/s" + ("" if score is None else f", score {score:.3f}")
        self.progress.update(self._task, completed=images_seen, speed=shown)

    def measure(self, stage: str, done: int, total: int) -> None:
        """Show how far the measuring is."""
        title = f"{self._title}: {stage}"
        self.progress.update(self._task, description=title, completed=done, total=total, speed="")


@contextmanager
def training_bar(title: str, images: int) -> Iterator[TrainingBar]:
    """Show a bar while the block runs."""
    bar = TrainingBar(title, images)
    with bar.progress:
        yield bar


def advance(
    name: str,
    *,
    title: str,
    images: int,
    lock: Path,
    result_path: Path,
    finish: Callable[[TrainingBar], Result | None],
    keep: Callable[[Result], None],
) -> bool:
    """Bring a piece to its result unless it has one or another process is at it; False where a signal stopped it.

    `finish` trains and measures it, `keep` writes and says the result.
    """
    with hold(lock) as is_ours:
        if result_path.exists():
            return True
        if not is_ours:
            print(f"{name}: another process is at it", flush=True)
            return True
        with training_bar(title, images) as bar:
            result = finish(bar)
        if result is None:
            print(f"{name}: {GO_ON}", file=sys.stderr)
            return False
        keep(result)
    return True
