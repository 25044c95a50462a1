"""`synspect drift check`: are new scans still like those the released model stands for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synspect.help_group import HelpGroup
from synspect.screen import open_progress, open_screen

if TYPE_CHECKING:
    from rich.table import Table

    from cohort.store import Cohort
    from spect.scan_check import ScanSet

_HEADINGS = ("condition", "test", "feature", "verdict", "slices", "score", "measured")

app = typer.Typer(cls=HelpGroup, help="Compare new scans with the reference of a released model.", no_args_is_help=True)


@app.callback()
def _group() -> None: ...


@app.command()
def check(
    cohort: Annotated[Path, typer.Argument(help="Cohort directory of the new scans.")],
    url: Annotated[str | None, typer.Option(help="Address of a service whose model is asked.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Directory of a bundle; models/reference if neither is given.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write a picture of scores and effects here, as PNG.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge a cohort of scans against the reference scans in the model's profile, patients bootstrapped on both sides.

    Shift: does any feature differ at all. Distance: do mean counts or left/right ratio differ beyond their margin.
    With --url the slices are sent to the service, patients as numbers only. A verdict of drift is an answer, not a
    failure: the exit code is 0.

    Example: synspect drift check cohorts/spring --bundle models/reference --picture spring.png
    """
    from cohort.store import load_cohort
    from spect.errors import RequestError

    if url is not None and bundle is not None:
        raise RequestError("a url and a bundle were both given; the reference is that of one of them")
    if picture is not None and not picture.absolute().parent.is_dir():
        raise RequestError(f"{picture.parent} is no directory; name a file for the picture in one that exists")
    scans = _scans_of(load_cohort(cohort))
    answer = _ask_service(url, scans) if url is not None else _check_here(bundle, scans, quiet=as_json)
    if picture is not None:
        _draw(answer, cohort, picture)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _print(answer, cohort)


def _scans_of(cohort: "Cohort") -> "ScanSet":
    import numpy as np

    from spect.drift import Comparability
    from spect.scan_check import ScanSet

    # Which slices share a patient is all that is needed of patients.
    _, number = np.unique(cohort.patient, return_inverse=True)
    return ScanSet(
        counts=cohort.counts,
        level=cohort.level,
        pattern=cohort.pattern,
        patient=number.astype(np.str_),
        measured_in=Comparability(
            intensity_unit=cohort.description.intensity_unit,
            intensity_scaling=cohort.description.intensity_scaling,
            pixel_spacing_mm=cohort.description.pixel_spacing_mm,
        ),
    )


def _check_here(bundle: Path | None, scans: "ScanSet", *, quiet: bool) -> dict[str, Any]:
    from registry.bundle.directory import load_bundle
    from spect.profile import ReferenceProfile
    from spect.scan_check import check_scans
    from synspect.source import find_reference_bundle

    released = load_bundle(bundle or find_reference_bundle())
    profile = ReferenceProfile.from_json(released.profile_path.read_bytes())
    with open_progress(quiet=quiet) as progress:
        task = progress.add_task("Measuring slices", total=len(scans))
        return check_scans(profile, scans, progress=lambda slices: progress.advance(task, slices)).to_dict()


def _ask_service(url: str, scans: "ScanSet") -> dict[str, Any]:
    from contextlib import closing

    from synspect.client import open_service

    with closing(open_service(url)) as source:
        return source.check_drift(scans)


def _draw(answer: dict[str, Any], cohort: Path, picture: Path) -> None:
    from spect.atomic import write_atomically
    from spect.errors import RequestError
    from spect.formats.drift_png import drift_check_png

    try:
        write_atomically(picture, drift_check_png(answer, title=str(cohort)))
    except OSError as error:
        raise RequestError(f"{picture} cannot be written ({error.strerror}); choose another --picture") from None


def _print(answer: dict[str, Any], cohort: Path) -> None:
    console = open_screen()
    console.print(_tabulate(answer, title=f"{cohort}: {answer['verdict']}", width=console.width))
    if answer["unmeasurable"]:
        console.print(f"{answer['unmeasurable']} of {answer['slices']} slices show no brain outline and were left out")


def _tabulate(answer: dict[str, Any], *, title: str, width: int) -> "Table":
    """Lay the judgements out; in a narrow terminal all columns but the last are as wide as their longest word."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = [_HEADINGS, *map(_describe_judgement, answer["judgements"])]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    columns = list(zip(*rows, strict=True))
    is_narrow = sum(max(map(len, cells)) + 2 for cells in columns) > width
    for heading, *cells in columns[:-1]:
        longest = max(len(word) for cell in (heading, *cells) for word in cell.split())
        table.add_column(heading, width=longest if is_narrow else None)
    table.add_column(_HEADINGS[-1], overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _describe_judgement(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{one['level']}/{one['pattern']}",
        one["test"],
        one["feature"].replace("_", " "),  # words wrap in a narrow terminal, underscores do not
        one["verdict"].replace("_", " "),
        str(one["slices"]),
        f"{one['score']:.2f} of {one['threshold']:.2f}" if "score" in one and "threshold" in one else "",
        " ".join(filter(None, (_describe_effect(one.get("effect")), one.get("note", "")))),
    )


def _describe_effect(effect: dict[str, float] | None) -> str:
    if effect is None:
        return ""
    interval = f"{effect['value']:.3f} [{effect['low']:.3f}, {effect['high']:.3f}]"
    return f"{interval}, margin {effect['margin_low']:g} to {effect['margin_high']:g}"
