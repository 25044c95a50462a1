"""`synspect generate`: a batch of synthetic slices as one file, from a service or from a bundle."""

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synspect.screen import open_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from spect.errors import RequestError
    from spect.formats.writer import Format
    from spect.slices import SyntheticBatch
    from synspect.source import Order

_QUIET = 256  # fewer slices are there before a bar could be read


class OutputFormat(StrEnum):
    """What a batch can be written as."""

    NPZ = "npz"
    NPY = "npy"
    NIFTI = "nifti"
    DICOM = "dicom"
    PNG = "png"


class Layout(StrEnum):
    """How pictures are laid out."""

    SHEET = "sheet"
    SINGLE = "single"


def generate(  # noqa: PLR0917 — one parameter an option
    level: Annotated[str, typer.Option(help="CER, BG or COR.")],
    pattern: Annotated[str, typer.Option(help="normal, unilateral or bilateral.")],
    out: Annotated[Path, typer.Option(help="File to write; written whole or not at all.")],
    count: Annotated[int, typer.Option(help="Slices.")] = 1,
    seed: Annotated[int | None, typer.Option(help="0 to 2^53 - 1; drawn and printed if absent.")] = None,
    start: Annotated[int, typer.Option(help="Index of the first slice.")] = 0,
    left_right_ratio: Annotated[float | None, typer.Option(help="Ask for this ratio of left to right.")] = None,
    mean_counts: Annotated[float | None, typer.Option(help="Ask for these mean counts.")] = None,
    matrix: Annotated[int | None, typer.Option(help="64, 128 or 256; as generated if absent.")] = None,
    format_: Annotated[OutputFormat | None, typer.Option("--format", help="By the file's name if absent.")] = None,
    layout: Annotated[
        Layout | None, typer.Option(help="Of png: one contact sheet (if absent), or single pictures in a zip.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of a service.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Directory of a bundle; models/reference if neither is given.")
    ] = None,
) -> None:
    """Generate synthetic slices into one file; the same command gives the same slices.

    Example: synspect generate --level COR --pattern unilateral --count 64 --seed 7 --out batch.npz
    """
    from secrets import randbelow

    from spect.conditions import parse_condition
    from spect.density import Targets
    from spect.formats.heading import Heading
    from spect.sampling import MAX_SEED
    from synspect.source import Order

    order = Order(
        condition=parse_condition(level, pattern),
        count=count,
        seed=randbelow(MAX_SEED + 1) if seed is None else seed,
        start=start,
        targets=Targets(mean_counts=mean_counts, left_right_ratio=left_right_ratio),
        matrix=matrix,
    )
    chosen = _choose_format(out, format_, layout)
    chosen.check_count(count, matrix)
    with _opened(out) as file:  # before any work: a place that cannot be written is told at once
        batch = _generate_with_progress(order, url, bundle)
        file.writelines(chosen.encode(Heading.of(batch), [batch]))
    where = f"model {batch.model_version} ({batch.model_sha256[:12]})"
    typer.echo(f"{out}: {count} synthetic slices of {order.condition}, seed {order.seed}, start {start}, {where}")


def _choose_format(out: Path, asked: OutputFormat | None, layout: Layout | None) -> "Format":
    """Return the format, refusing before any work what could not be written."""
    from spect.errors import RequestError
    from spect.formats.writer import FORMATS, PNG_SINGLE

    _check_place(out)
    suffixes = {FORMATS[known].suffix: known for known in OutputFormat}
    chosen = asked or next((known for suffix, known in suffixes.items() if out.name.lower().endswith(suffix)), None)
    if layout is not None and chosen not in {None, OutputFormat.PNG}:
        raise RequestError(f"--layout is of pictures, but the format is {chosen}; give --format png, or leave it out")
    if layout is Layout.SINGLE:
        return FORMATS[PNG_SINGLE]
    if chosen is None and layout is None:
        formats = ", ".join(OutputFormat)
        raise RequestError(
            f"--out {out} ends in none of {', '.join(suffixes)}; end it so, or give --format ({formats})"
        )
    if chosen is OutputFormat.NPY and "synthetic" not in out.name.lower():
        better = out.with_name(f"{out.stem}.synthetic.npy")
        raise RequestError(f"an npy file cannot say inside that it is synthetic, so its name must: use --out {better}")
    return FORMATS[chosen or OutputFormat.PNG]


def _check_place(out: Path) -> None:
    from spect.errors import RequestError

    try:
        is_folder = out.is_dir() or not out.absolute().parent.is_dir()
        is_device = out.exists() and not out.is_file()
    except OSError as error:  # a name that no file can have
        raise _unwritable(out, error) from None
    if is_folder:
        raise RequestError(f"--out {out} is a folder or lies in none; name a file in a folder that exists")
    if is_device:  # what is written takes its place: a device would be gone
        raise RequestError(f"--out {out} is a device or a pipe, which a file would replace; name a file")


def _unwritable(out: Path, error: OSError) -> "RequestError":
    from spect.errors import RequestError

    return RequestError(f"--out {out} cannot be written ({error.strerror}); name another place")


@contextmanager
def _opened(out: Path) -> "Iterator[BinaryIO]":
    """Open what takes the place of `out` at the end, whole or not at all."""
    from spect.atomic import replacing

    with replacing(out) as partial:
        try:
            file = partial.open("wb")
        except OSError as error:
            raise _unwritable(out, error) from None
        with file:
            yield file


def _generate_with_progress(order: "Order", url: str | None, bundle: Path | None) -> "SyntheticBatch":
    from contextlib import closing

    from synspect.client import open_source
    from synspect.source import generate_in_parts

    with (
        closing(open_source(url=url, bundle=bundle)) as source,
        open_progress(quiet=order.count < _QUIET) as progress,
    ):
        task = progress.add_task("slices", total=order.count)
        return generate_in_parts(source, order, progress=lambda slices: progress.update(task, completed=slices))
