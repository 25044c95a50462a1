"""What every command writes on: names, paths and other people's words are printed as they are, never as markup.

Rich reads `[bold]` and `:smile:` in a path as its own; here nothing but a `rich.text.Text` carries a style.
"""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn


def open_screen(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console that prints text as it is; `soft_wrap` leaves long lines whole, as a script wants them."""
    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)


def words(text: str) -> TextColumn:
    """Return a column of a progress bar that shows text as it is."""
    return TextColumn(text, markup=False)


def open_progress(*columns: ProgressColumn, quiet: bool = False) -> Progress:
    """Return bars on standard error: gone when done, and none at all where nobody watches.

    Without columns they show description, bar, share and time left.
    """
    console = open_screen(stderr=True)
    shown = columns or (words("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*shown, console=console, transient=True, disable=quiet or not console.is_terminal)
