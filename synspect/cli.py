"""The `synspect` command: registers the groups, and turns every expected error into one line and an exit code."""

import sys
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from spect.errors import SynspectError
from synspect.commands import cohort, demo, drift, generate, registry, release, serve, train, validate
from synspect.help_group import HelpGroup
from synspect.screen import open_screen

app = typer.Typer(
    name="synspect",
    cls=HelpGroup,
    help="Synthetic cerebral-blood-flow (123I-IMP) brain SPECT slices: train, prove, release, serve, watch.\n\n"
    "Research use only, never for diagnosis; every output is marked synthetic.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"synspect {version('synspect')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None: ...


app.command()(demo.demo)
app.add_typer(cohort.app, name="cohort")
app.command()(train.train)
app.command()(validate.validate)
app.command()(release.release)
app.add_typer(registry.app, name="registry")
app.command()(registry.build)
app.command()(serve.serve)
app.command()(generate.generate)
app.add_typer(drift.app, name="drift")


def main() -> None:
    """Run the command line: exit code 2 for bad input, 1 for failed work."""
    try:
        app()
    except SynspectError as error:
        _stop(str(error), error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written: the user can act on it
        _stop(f"{error.strerror or error}: {error.filename or 'no file named'}; nothing was half-written", 1)


def _stop(message: str, exit_code: int) -> NoReturn:
    line = Text.assemble(("error: ", "bold red"), " ".join(message.split()))
    open_screen(stderr=True, soft_wrap=True).print(line)
    sys.exit(exit_code)
