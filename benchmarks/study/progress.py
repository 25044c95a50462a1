"""One bar for a training and what is measured of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from synspect.screen import open_progress, words


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
